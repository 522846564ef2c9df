"""From a run's directory to its figures and its page."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcnn.errors import InputError
from jaxcnn.train import Epoch, Run
from jaxcnn.train.loop import as_arrays
from jaxcnn.train.run import named_parts


def write_report(run: Run) -> Path:
    """Draw a run's figures and write its page; what was there of them is replaced.

    Predictions are those of the test images, or of the training images where there are no others.

    Args:
      run: its directory holds config.json and history.csv, and metrics.json unless training diverged.

    Returns:
      The page: index.html in the run's directory, beside figures/.

    Raises:
      InputError: a file of the run is damaged.
      FileNotFoundError: a file of the run, or of its data, is not there any more.
    """
    # matplotlib and jinja2 take time to import, and only those wait for them who want to see something.
    from jaxcnn.report.page import render_page
    from jaxcnn.report.pictures import draw_pictures

    record = _read_json(run.directory / "config.json")
    metrics_path = run.directory / "metrics.json"
    metrics = _read_json(metrics_path) if metrics_path.exists() else {}
    history = read_history(run.directory / "history.csv")
    parts = named_parts(run.splits())
    pictures = list(draw_pictures(run, parts, history, metrics.get("best_epoch")))
    counts = {name: len(part) for name, part in parts.items()}
    page = render_page(run.config, record, metrics, counts, pictures)
    figures = run.directory / "figures"
    figures.mkdir(exist_ok=True)
    for picture in pictures:
        (figures / f"{picture.name}.png").write_bytes(picture.png)
    index = run.directory / "index.html"
    index.write_text(page, "utf-8")
    return index


def read_history(path: Path) -> dict[str, Float[np.ndarray, " epochs"]]:
    """The columns of a history.csv.

    Raises:
      InputError: it is not as training writes it.
      FileNotFoundError: it is not there.
    """
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != Epoch._fields:
            raise ValueError(f"columns {', '.join(header)}")
        return as_arrays([Epoch(int(number), *map(float, values)) for number, *values in rows])
    except (ValueError, TypeError, csv.Error) as error:
        expected = ", ".join(Epoch._fields)
        raise InputError(f"{path}: expected a line {expected} and as many numbers a row, found {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: expected JSON as jaxcnn writes it, found {error}") from error
