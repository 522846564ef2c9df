"""What a network learned, in pictures: its first kernels, and the images it is wrong about."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.report.style import WIDTH, house_style, shortened

MOST_FILTERS = 64
MOST_WRONG = 25


@house_style()
def filters(kernel: Float[np.ndarray, "h w c n"]) -> Figure:
    """The kernels of a convolution, one panel a filter, all on one scale in which 0 is in the middle.

    Kernels over red, green and blue are shown as colours, where grey is 0; of any other number of channels, the
    channels stand side by side. Of more than 64 filters, the first 64.

    Args:
      kernel: HWIO.
    """
    c, n = kernel.shape[2:]
    limit = float(np.abs(kernel).max()) or 1.0
    pictures = np.moveaxis(kernel, -1, 0)[:MOST_FILTERS]
    if c == 3:
        figure, _ = _draw_panels(0.5 + pictures / (2 * limit), columns=8)
    else:
        strips = np.stack([_side_by_side(picture) for picture in pictures])
        figure, panels = _draw_panels(strips, max(1, 8 // c), right=0.9, cmap="RdBu_r", vmin=-limit, vmax=limit)
        _draw_scale(figure, panels)
    count = f"{min(n, MOST_FILTERS)} of {n} filters" if n > MOST_FILTERS else f"{n} filter{'s' * (n != 1)}"
    _title(figure, f"{count}; grey is 0, full colour ±{limit:.2g}" if c == 3 else count)
    return figure


@house_style()
def wrong(
    images: Float[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    predictions: Int[np.ndarray, " n"],
    confidences: Float[np.ndarray, " n"],
    class_names: Sequence[str],
) -> Figure:
    """The images whose prediction is not their label, the most confident first, 25 at most.

    Args:
      images: NHWC; black is 0 and white 1, or the smallest and the largest pixel where these are beyond.
      labels: the true classes.
      predictions: the predicted classes.
      confidences: the predicted classes' probabilities.
      class_names: one name a class.
    """
    found = np.flatnonzero(labels != predictions)
    if not len(found):
        return _sentence(f"None of the {len(labels)} images is wrong.")
    shown = found[np.argsort(-confidences[found], kind="stable")][:MOST_WRONG]
    pairs = zip(labels[shown].tolist(), predictions[shown].tolist(), confidences[shown].tolist(), strict=True)
    titles = [_title_of_wrong(class_names, *pair) for pair in pairs]
    lines = max(title.count("\n") + 1 for title in titles)
    figure, panels = _draw_panels(_visible(images[shown]), 5, 0.1 + 0.16 * lines, cmap="gray", vmin=0, vmax=1)
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, loc="center", fontsize=9, pad=3)
    rest = f", the {MOST_WRONG} most confident of them" if len(found) > MOST_WRONG else ""
    _title(figure, f"{len(found)} of {len(labels)} images {'are' if len(found) > 1 else 'is'} wrong{rest}")
    return figure


def _draw_panels(
    pictures: Float[np.ndarray, "n h w ..."], columns: int, above: float = 0.08, right: float = 1.0, **scale
) -> tuple[Figure, list[Axes]]:
    """Pictures row by row, with ``above`` inches over each, in the part of the figure that is left of ``right``.

    Everything is where it is computed to be: to search for a layout takes seconds with so many panels.
    """
    n, h, w = pictures.shape[:3]
    rows, width = math.ceil(n / columns), WIDTH * right / columns - 0.08
    step = width * h / w + above
    height = 0.35 + rows * step
    figure = Figure(figsize=(WIDTH, height))
    panels = []
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        left, bottom = 0.04 + column * (width + 0.08), height - 0.3 - (row + 1) * step
        axes = figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, (step - above) / height))
        axes.imshow(picture, aspect="auto", **scale)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.6)
        panels.append(axes)
    return figure, panels


def _draw_scale(figure: Figure, panels: Sequence[Axes]) -> None:
    """A colour bar right of the panels, as high as they are."""
    top, bottom = panels[0].get_position().y1, panels[-1].get_position().y0
    axes = figure.add_axes((0.91, bottom, 0.015, top - bottom))
    bar = figure.colorbar(panels[0].images[0], cax=axes, label="weight")
    bar.outline.set_visible(False)


def _title(figure: Figure, text: str) -> None:
    figure.text(0.04 / WIDTH, 1 - 0.04 / figure.get_figheight(), text, va="top", fontsize=11)


def _side_by_side(kernel: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h all_w"]:
    """Channels in a row, with a thin empty column between them."""
    h, w, c = kernel.shape
    fine = np.repeat(np.repeat(np.moveaxis(kernel, -1, 1), 10, axis=0), 10, axis=2)
    return np.pad(fine, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan).reshape(10 * h, c * (10 * w + 1))[:, :-1]


def _visible(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w ..."]:
    """Pixels in [0, 1]: colours, with or without opacity, as they are; any other number of channels as their mean."""
    low, high = min(0.0, float(images.min())), max(1.0, float(images.max()))
    scaled = (images - low) / (high - low)
    return scaled if images.shape[-1] in (3, 4) else scaled.mean(axis=-1)


def _title_of_wrong(class_names: Sequence[str], label: int, prediction: int, p: float) -> str:
    """What it is and what it was taken for, in two lines where one would be too long."""
    true, predicted = class_names[label], class_names[prediction]
    gap = " " if len(true) + len(predicted) <= 10 else "\n"
    return f"{shortened(true, 18)} →{gap}{shortened(predicted, 13)} ({p:.2f})"


def _sentence(text: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.5))
    figure.text(0.04 / WIDTH, 0.5, text, va="center", fontsize=11)
    return figure
