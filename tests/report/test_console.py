from jaxcnn.report.console import print_table


def test_brackets_are_text_and_not_markup(capsys):
    print_table("runs/x[dim]", ["image[0]"], [["[/x]"], ["a[b].png"]])
    out = capsys.readouterr().out
    for text in ("runs/x[dim]", "image[0]", "[/x]", "a[b].png"):
        assert text in out


def test_what_another_program_reads_is_not_folded(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    path = "a/very/long/path/" + 30 * "x" + ".png"
    print_table("title", ["image", "class"], [[path, "dark"]])
    assert path in capsys.readouterr().out
