import base64
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from jaxcnn.report.page import Picture, render_page
from jaxcnn.report.style import to_png
from jaxcnn.train import TrainConfig, lab_config

ATTACK = "<script>alert('x')</script>\"&"
COUNTS = {"train": 10, "val": 200, "test": 1000}
PNG = to_png(Figure(figsize=(2, 1)))
PICTURES = [Picture("roc", PNG, "The ROC curve.", "How to read it."), Picture("wrong", PNG, "Wrong ones.", "Look.")]


class Page(HTMLParser):
    """Tags with their attributes, and the text of each table row."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.in_cell = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag in ("th", "td")
        if self.in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.in_cell = False

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


def render(record, metrics, config=None, pictures=PICTURES, counts=COUNTS):
    return render_page(config or lab_config(), record, metrics, counts, pictures)


def test_the_page_needs_nothing_but_itself(record, metrics):
    html = render(record, metrics)
    assert not re.search(r"https?:|//|@import|url\(", re.sub('base64,[^"]*', "", html))
    tags = Page(html).tags
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    sources = [attributes["src"] for _, attributes in tags if "src" in attributes]
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_every_figure_is_in_the_page_with_its_alternative_text(record, metrics):
    html = render(record, metrics)
    images = [attributes for tag, attributes in Page(html).tags if tag == "img"]
    assert [image["alt"] for image in images] == [picture.alt for picture in PICTURES]
    assert base64.b64decode(images[0]["src"].partition(",")[2]) == PNG
    assert images[0]["width"] == "208"  # 2 inches of 130 dots, at 1.25 dots a pixel
    assert all(picture.caption in html for picture in PICTURES)


def test_the_parts_of_the_data_are_side_by_side(record, metrics):
    rows = Page(render(record, metrics)).rows
    assert ["", "training", "validation", "test"] in rows
    assert ["images", "10", "200", "1000"] in rows
    assert ["loss", "0.2500", "0.5000", "0.2500"] in rows
    assert ["ROC AUC", "0.8750", "0.8750", "–"] in rows


def test_a_part_without_images_has_no_column(record, metrics):
    del metrics["test"]
    html = render(record, metrics, counts=COUNTS | {"test": 0})
    assert ["images", "10", "200"] in Page(html).rows
    assert "10 training, 200 validation images of 8×8×1" in html


def test_metrics_of_more_classes_have_names(record, metrics):
    for part in ("train", "val", "test"):
        metrics[part] = {"accuracy": 1.0, "loss": 0.1, "macro_f1": 0.9, "weighted_f1": 0.8}
    rows = Page(render(record, metrics)).rows
    assert [row[0] for row in rows if row[1:] and row[1].startswith(("0.", "1.0"))][:4] == [
        "loss",
        "accuracy",
        "F1 (macro)",
        "F1 (weighted)",
    ]


def test_the_result_and_the_data_are_sentences(record, metrics):
    html = render(record, metrics)
    assert "98.4 % of the test images right" in html
    assert "10 training, 200 validation, 1000 test images of 8×8×1 (height × width × channels); " in html
    assert "2 classes: dark, bright" in html


def test_of_many_classes_ten_are_named(record, metrics):
    record["class_names"] = [f"c{k}" for k in range(100)]
    html = render(record, metrics)
    assert "100 classes: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, …" in html


def test_inference_is_in_units_for_people(record, metrics):
    rows = Page(render(record, metrics)).rows
    assert ["latency of one image", "87.1 µs", "≤ 120 µs"] in rows
    assert ["images a second, in batches of 64", "12,300", "≥ 9,880"] in rows
    assert ["compilation, once", "410 ms", ""] in rows


def test_config_device_key_versions_and_command_are_there(record, metrics):
    html = render(record, metrics, TrainConfig(features=(8, 16), hidden=()))
    rows = Page(html).rows
    for row in (
        ["features", "8 16"],
        ["hidden", "none"],
        ["device", "not given"],
        ["ran on", "cpu"],
        ["jax", "0.10.2"],
    ):
        assert row in rows
    assert ["key", "threefry2x32 [0, 0]"] in rows
    assert "<code>jaxcnn train --features 8 16 --hidden</code>" in html


def test_a_device_of_a_kind_is_named(record, metrics):
    record["device"] = {"platform": "gpu", "kind": "NVIDIA H200"}
    assert ["ran on", "gpu (NVIDIA H200)"] in Page(render(record, metrics)).rows


def test_a_run_that_diverged_says_so(record):
    html = render(record, {})
    assert "Training diverged" in html
    assert "<h2>Metrics</h2>" not in html
    assert "<h2>Inference</h2>" not in html


@pytest.mark.parametrize("where", ["class", "data", "device", "alt", "version"])
def test_what_comes_from_outside_is_text_and_never_markup(record, metrics, where):
    config, pictures = lab_config(), PICTURES
    if where == "class":
        record["class_names"][0] = ATTACK
    elif where == "data":
        config = TrainConfig(data=ATTACK)
    elif where == "device":
        record["device"]["kind"] = ATTACK
    elif where == "alt":
        pictures = [Picture("roc", PNG, ATTACK, ATTACK)]
    else:
        record["versions"][ATTACK] = ATTACK
    html = render(record, metrics, config, pictures)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert len(Page(html).tags) >= 50


def test_light_dark_and_narrow_are_thought_of(record, metrics):
    html = render(record, metrics)
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html
