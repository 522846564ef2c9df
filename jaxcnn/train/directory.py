"""A run's directory: what it holds, and how it is made, replaced and read.

config.json    the config, the model's input and output, key, device and versions
history.csv    a row an epoch, written as it happens
checkpoints/   the parameters that were chosen
metrics.json   scores on the three parts of the data, and what a prediction costs
figures/       pictures, and index.html, the page that shows them
"""

import csv
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError
from jaxcnn.train.loop import Epoch

CONTENTS = ("config.json", "history.csv", "checkpoints", "metrics.json", "figures", "index.html")


def make_run_directory(directory: Path, *, overwrite: bool) -> Path:
    """Create it, or make sure that what is there is a run and may be overwritten."""
    if not directory.exists():
        directory.mkdir(parents=True)
        return directory
    if not overwrite:
        raise FileExistsError(f"run directory {directory}: expected none yet, found one (use another, or --overwrite)")
    if read_config(directory) is None:
        raise InputError(f"run directory {directory}: expected a run to overwrite, found no config.json of one in it")
    return directory


@contextmanager
def replacing_run(directory: Path) -> Iterator[None]:
    """Set a run's files aside while another is made in their place; they come back if that leaves no checkpoint."""
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".replaced-") as folder:
        aside = Path(folder)
        _move_contents(directory, aside)
        try:
            yield
        finally:
            if any(aside.iterdir()) and not (directory / "checkpoints").exists():
                with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".failed-") as failed:
                    _move_contents(directory, Path(failed))
                _move_contents(aside, directory)


def _move_contents(source: Path, target: Path) -> None:
    for name in CONTENTS:
        if (source / name).exists():
            shutil.move(source / name, target / name)


def make_numbered_directory(first: Path) -> Path:
    """Create ``first``-1, or with the first number after it that is free, also when others do the same meanwhile."""
    first.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        directory = first.with_name(f"{first.name}-{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory
    raise AssertionError("the numbers do not end")


def read_config(directory: Path) -> dict[str, Any] | None:
    """What its config.json holds; None where that is no run's."""
    try:
        record = json.loads((directory / "config.json").read_text())
    except (ValueError, OSError):
        return None
    return record if isinstance(record, dict) and {"config", "class_names", "versions"} <= record.keys() else None


def write_json(path: Path, value: dict) -> None:
    """Readable by people too."""
    path.write_text(json.dumps(value, indent=2) + "\n")


@contextmanager
def history_writer(path: Path) -> Iterator[Callable[[Epoch], None]]:
    """Rows reach the disk one by one, so that a run that is cut short leaves what it did."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Epoch._fields)

        def write(epoch: Epoch) -> None:
            writer.writerow(epoch)
            file.flush()

        yield write
