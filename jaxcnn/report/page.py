"""The page of a run: one HTML file that needs no other, no script and no network."""

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

import jinja2

from jaxcnn.report.command import command
from jaxcnn.report.summary import summary
from jaxcnn.train import TrainConfig

METRICS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "macro_precision": "precision (macro)",
    "macro_recall": "recall (macro)",
    "macro_f1": "F1 (macro)",
    "weighted_precision": "precision (weighted)",
    "weighted_recall": "recall (weighted)",
    "weighted_f1": "F1 (weighted)",
    "roc_auc": "ROC AUC",
}
"""What the metrics are called, in the order of the table."""

PARTS = {"train": "training", "val": "validation", "test": "test"}

_UNFINISHED = "Training diverged: this is the network of the last step whose loss was finite."


class Picture(NamedTuple):
    """A figure of the page.

    Attributes:
      name: of its file, without the ending.
      png: the file.
      alt: what is on it, for those who cannot see it.
      caption: how to read it.
    """

    name: str
    png: bytes
    alt: str
    caption: str

    @property
    def base64(self) -> str:
        """The file, as text."""
        return base64.b64encode(self.png).decode("ascii")

    @property
    def width(self) -> int:
        """In CSS pixels: smaller by a fifth than in the file, whose header says it, so that text stays sharp."""
        return int.from_bytes(self.png[16:20], "big") * 4 // 5


class Table(NamedTuple):
    """Names of columns, and rows that begin with their own name."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def render_page(
    config: TrainConfig,
    record: Mapping,
    metrics: dict,
    counts: Mapping[str, int],
    pictures: Sequence[Picture],
) -> str:
    """The page's HTML.

    Args:
      config: what the network was trained with.
      record: what the run's config.json holds.
      metrics: what its metrics.json holds; empty if training diverged.
      counts: images in each part, under the names of metrics.json.
      pictures: the figures, in their order.
    """
    template = resources.files("jaxcnn.report").joinpath("index.html.jinja").read_text("utf-8")
    # Names of classes, data and files come from outside: autoescape makes text of whatever is in them.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        title=f"{config.data} · {config.model}",
        result=summary(metrics) if metrics else _UNFINISHED,
        data=describe_data(record, counts),
        metrics=metrics and metrics_table(metrics, counts),
        figures=pictures,
        inference=metrics and inference_table(metrics["inference"]),
        settings=(config_rows(config), environment_rows(record)),
        command=command(config),
    )


def describe_data(record: Mapping, counts: Mapping[str, int]) -> str:
    """Sizes and classes in one line."""
    parts = ", ".join(f"{counts[part]} {name}" for part, name in PARTS.items() if counts[part])
    size = "×".join(map(str, record["image_shape"]))
    names = record["class_names"]
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return f"{parts} images of {size} (height × width × channels); {len(names)} classes: {listed}"


def metrics_table(metrics: dict, counts: Mapping[str, int]) -> Table:
    """The parts of the data side by side."""
    parts = [part for part in PARTS if part in metrics]
    found = metrics[parts[0]]
    rows = [
        [label, *(score(metrics[part][name]) for part in parts)] for name, label in METRICS.items() if name in found
    ]
    return Table([PARTS[part] for part in parts], [["images", *(str(counts[part]) for part in parts)], *rows])


def inference_table(inference: Mapping[str, float]) -> Table:
    """What a prediction costs, as it usually is and as 95 of 100 calls are or better; to compile it is apart."""
    batch = f"{inference['throughput_batch_size']:.0f}"
    return Table(
        ["median", "95 % of calls"],
        [
            [
                "latency of one image",
                duration(inference["latency_median"]),
                f"≤ {duration(inference['latency_p95'])}",
            ],
            [
                f"images a second, in batches of {batch}",
                rounded(inference["throughput_median"]),
                f"≥ {rounded(inference['throughput_p95'])}",
            ],
            ["compilation, once", duration(inference["compile"]), ""],
        ],
    )


def config_rows(config: TrainConfig) -> list[tuple[str, str]]:
    """Each field and its value, as on the command line."""
    return [(name.replace("_", " "), setting(value)) for name, value in dataclasses.asdict(config).items()]


def environment_rows(record: Mapping) -> list[tuple[str, str]]:
    """Device, key and versions."""
    device, key = record["device"], record["key"]
    kind = "" if device["kind"] == device["platform"] else f" ({device['kind']})"
    return [
        ("ran on", device["platform"] + kind),
        ("key", f"{key['impl']} {key['data']}"),
        *record["versions"].items(),
    ]


def setting(value: object) -> str:
    """A value of a config.

    >>> setting((32, 64)), setting(()), setting(None), setting(0.002)
    ('32 64', 'none', 'not given', '0.002')
    """
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "not given" if value is None else str(value)


def score(value: float) -> str:
    """A loss or a metric to four decimals.

    >>> score(0.98765), score(float("nan"))
    ('0.9877', '–')
    """
    return f"{value:.4f}" if math.isfinite(value) else "–"


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(1.5), duration(0.0124), duration(8.7654e-5), duration(2e-9)
    ('1.5 s', '12.4 ms', '87.7 µs', '0.002 µs')
    """
    unit, size = next((u for u in (("s", 1.0), ("ms", 1e-3)) if seconds >= u[1]), ("µs", 1e-6))
    return f"{rounded(seconds / size)} {unit}"


def rounded(value: float) -> str:
    """Three digits, thousands apart.

    >>> rounded(90647.4), rounded(12.345), rounded(1234567)
    ('90,600', '12.3', '1,230,000')
    """
    return f"{float(f'{value:.3g}'):,.15g}"
