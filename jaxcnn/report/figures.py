"""What a network learned, in numbers: its losses over time, its ROC curves, its confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxcnn.metrics import roc_curve
from jaxcnn.report.style import COLOURS, WIDTH, house_style, shortened

MOST_CURVES = 10
"""ROC curves in one figure: as many as there are colours."""

_TRAIN, _VALIDATION = COLOURS[0], COLOURS[1]
_GREY = "#666666"
_LONGEST_NAME = 14


@house_style()
def learning_curves(history: Mapping[str, Float[np.ndarray, " epochs"]], best_epoch: int | None = None) -> Figure:
    """Losses over the epochs, the gap between them shaded; beside them the validation accuracy, where there is one.

    Args:
      history: an array for each field of :class:`jaxcnn.train.Epoch`, of one epoch or more.
      best_epoch: the epoch to mark; None for none.
    """
    validated = bool(np.isfinite(history["val_loss"]).all())
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    loss, *others = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    _draw_losses(loss, history, best_epoch, validated)
    for accuracy in others:
        _draw_accuracy(accuracy, history)
    for axes in (loss, *others):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        if best_epoch is not None:
            axes.axvline(best_epoch, color=_GREY, linewidth=1, linestyle="--", label=f"best epoch: {best_epoch}")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside upper left", ncols=4, columnspacing=1.5)
    return figure


@house_style()
def roc(
    labels: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"] | Float[np.ndarray, "n k"],
    class_names: Sequence[str],
) -> Figure:
    """True against false positive rates at every threshold, with the area under each curve (AUC).

    One curve for two classes, one against the rest for each of more; of more than ten classes, those with the
    smallest areas. Where all areas are near 1, the corner that then counts is shown a second time, magnified.
    A class of which there is no image, or nothing else, has no curve.

    Args:
      labels: the true classes.
      scores: of class 1, (n,), or of each class, (n, k): what :func:`jaxcnn.losses.probabilities` gives.
      class_names: one name a class.
    """
    curves = _roc_curves(labels, scores, class_names)
    areas = [curve.area for curve in curves if math.isfinite(curve.area)]
    magnified = bool(areas) and min(areas) > 0.95
    figure = Figure(figsize=(WIDTH, 3.4) if magnified else (0.85 * WIDTH, 3.8), layout="constrained")
    for axes, size in zip(figure.subplots(1, 1 + magnified, squeeze=False)[0], (1.0, 0.1), strict=False):
        _draw_roc(axes, curves, size)
    handles, names = figure.axes[0].get_legend_handles_labels()
    shown = f"\n({len(curves)} of {len(class_names)}, the lowest)" if len(class_names) > MOST_CURVES else ""
    figure.legend(handles, names, title=f"AUC  class{shown}", alignment="left", loc="outside right upper")
    return figure


@house_style()
def confusion(matrix: Int[np.ndarray, "k k"], class_names: Sequence[str]) -> Figure:
    """The counts of a confusion matrix, each cell coloured by its share of its row.

    Args:
      matrix: row i, column j counts what is of class i and predicted as j.
      class_names: one name a class.
    """
    names = [shortened(name, _LONGEST_NAME) for name in class_names]
    side, room = float(np.clip(0.42 * len(matrix), 2.2, 8)), 0.09 * max(map(len, names))  # inches
    figure = Figure(figsize=(side + room + 1.6, side + room + 0.7), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, label="share of the true class", format=PercentFormatter(1), shrink=0.8)
    bar.outline.set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    cell = 0.9 * 72 * side / len(matrix)
    _name_classes(axes, names, cell)
    _write_counts(axes, matrix, shares, cell)
    return figure


def _draw_losses(axes: Axes, history, best_epoch: int | None, validated: bool) -> None:
    epochs, train, val = history["epoch"], history["train_loss"], history["val_loss"]
    axes.plot(epochs, train, color=_TRAIN, label="training loss", **_markers(epochs))
    if validated:
        axes.plot(epochs, val, color=_VALIDATION, label="validation loss", **_markers(epochs))
        at = len(epochs) - 1 if best_epoch is None else best_epoch - 1
        label = f"gap at epoch {at + 1}: {val[at] - train[at]:.3g}"
        axes.fill_between(epochs, train, val, color=_GREY, alpha=0.15, linewidth=0, label=label)
        axes.vlines(epochs[at], *sorted((train[at], val[at])), color=_GREY, linewidth=3)
    drawn = np.concatenate([train, val]) if validated else train
    if drawn.min() > 0 and drawn.max() > 20 * drawn.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("mean loss of an image [nats]")


def _draw_accuracy(axes: Axes, history) -> None:
    epochs, accuracy = history["epoch"], history["val_accuracy"]
    axes.plot(epochs, accuracy, color=_VALIDATION, **_markers(epochs))
    low = min(float(accuracy.min()), 0.9)
    margin = 0.04 * (1 - low)
    axes.set_ylim(low - margin, 1 + margin)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.set_ylabel("validation accuracy")


def _markers(epochs: np.ndarray) -> dict:
    """Dots, as long as there is room for them: the line of a single epoch cannot be seen."""
    return {"marker": "o", "markersize": 4} if len(epochs) <= 20 else {}


class _RocCurve(NamedTuple):
    name: str
    false_positive_rate: Float[np.ndarray, " points"]
    true_positive_rate: Float[np.ndarray, " points"]
    area: float


def _roc_curves(labels, scores, class_names: Sequence[str]) -> list[_RocCurve]:
    """The curve of class 1, or those of all classes: the MOST_CURVES with the smallest areas, without area last."""
    if scores.ndim == 1:
        return [_roc_curve(class_names[1], labels == 1, scores)]
    curves = [_roc_curve(name, labels == k, scores[:, k]) for k, name in enumerate(class_names)]
    if len(curves) <= MOST_CURVES:
        return curves
    return sorted(curves, key=lambda curve: np.nan_to_num(curve.area, nan=np.inf))[:MOST_CURVES]


_compiled_roc_curve = jax.jit(roc_curve)


def _roc_curve(name: str, is_class, scores) -> _RocCurve:
    false_positive_rate, true_positive_rate, _ = jax.device_get(_compiled_roc_curve(is_class, scores))
    area = np.trapezoid(true_positive_rate.astype(float), false_positive_rate.astype(float))
    return _RocCurve(shortened(name, _LONGEST_NAME), false_positive_rate, true_positive_rate, float(area))


def _draw_roc(axes: Axes, curves: list[_RocCurve], size: float) -> None:
    """The upper left corner of ``size``; the whole square where it is 1."""
    for number, (name, false_positive_rate, true_positive_rate, area) in enumerate(curves):
        label = f"{area:.4f}  {name}" if math.isfinite(area) else f"none    {name}"
        style = {"color": COLOURS[number], "linestyle": "--" if number % 2 else "-"}
        axes.plot(false_positive_rate, true_positive_rate, label=label, clip_on=size < 1, **style)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=":", label="0.5       chance")
    axes.set(xlim=(0, size), ylim=(1 - size, 1), xlabel="false positive rate", box_aspect=1)
    axes.set_ylabel("true positive rate" if size == 1 else "")
    axes.set_title("" if size == 1 else "the corner, magnified")


def _name_classes(axes: Axes, names: Sequence[str], cell: float) -> None:
    """Names beside rows and under columns of ``cell`` points, upright where they are too long, some where too many."""
    shown = slice(None, None, math.ceil(8 / cell))
    longest = max(len(name) for name in names)
    axes.set_xticks(range(len(names))[shown], names[shown], rotation=90 if 7 * longest > cell else 0)
    axes.set_yticks(range(len(names))[shown], names[shown])
    axes.tick_params(length=0, labelsize=min(10, max(cell, 7)))


def _write_counts(axes: Axes, matrix: Int[np.ndarray, "k k"], shares: Float[np.ndarray, "k k"], cell: float) -> None:
    """A number in each cell of ``cell`` points, unless there is no room for it."""
    size = min(10, 0.8 * cell, cell / (0.7 * len(str(matrix.max()))))
    if size < 5:
        return
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "#1a1a1a" if count else "#bbbbbb"
        axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)
