"""What a person sees while a run goes on, and when it is done."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jaxcnn.train.loop import Epoch

WIDE = 10_000
"""Characters: a table for another program is not folded to a screen that is not there."""


@contextmanager
def progress(epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """A bar on stderr with epoch, losses, accuracy and time left; silent where stderr is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=epochs, loss="…")
        yield lambda epoch: bar.update(task, completed=epoch.epoch, loss=_losses(epoch))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; floats to four significant digits."""
    table = Table(title=Text(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def print_scores(title: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    """A row a metric, a column a part of the data."""
    parts = list(scores)
    names = list(scores[parts[0]])
    print_table(title, ["", *parts], [[name, *(scores[part][name] for part in parts)] for name in names])


def _losses(epoch: Epoch) -> str:
    train = f"train {epoch.train_loss:.4f}"
    if epoch.val_loss != epoch.val_loss:  # NaN: there are no validation images
        return train
    return f"{train}  val {epoch.val_loss:.4f}  accuracy {epoch.val_accuracy:.3f}"


def _cell(value: object) -> Text:
    """Text, for in a plain string rich would read what is in brackets as markup."""
    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))
