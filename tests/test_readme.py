"""What the README says can be done is done."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_library_example_runs_as_printed():
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_files_that_are_named_exist():
    root = Path(__file__).parent.parent
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / path).exists(), path
    for path in re.findall(r"python ((?:experiments|benchmarks)/\w+\.py)", README):
        assert (root / path).exists(), path
