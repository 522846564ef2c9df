"""A roofline: what a device could do at most, and what was measured (Williams, Waterman & Patterson 2009)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from jaxcnn.report.style import COLOURS, WIDTH, house_style, to_png

MARKERS = "osD^vP*X"


class Point(NamedTuple):
    """Something measured.

    Attributes:
      intensity: operations a byte.
      gflops: 10^9 operations a second.
      kind: points of one kind have one colour.
    """

    intensity: float
    gflops: float
    kind: str


@house_style()
def draw(file: Path, peak: float, bandwidth: float, points: dict[str, list[Point]]) -> None:
    """A PNG file with a marker shape for each name and a colour for each kind.

    Args:
      file: where it is kept.
      peak: GFLOP/s.
      bandwidth: GB/s.
      points: by name.
    """
    figure = Figure(figsize=(WIDTH, 0.7 * WIDTH), layout="constrained")
    axes = figure.subplots()
    every = [point for several in points.values() for point in several]
    kinds = list(dict.fromkeys(point.kind for point in every))
    colours = dict(zip(kinds, COLOURS, strict=False))
    markers = dict(zip(points, MARKERS, strict=False))
    edges = np.array([point.intensity for point in every] + [peak / bandwidth])
    x = np.geomspace(edges.min() / 1.5, edges.max() * 1.5, 200)
    axes.loglog(x, np.minimum(peak, bandwidth * x), color="#444444")
    for name, several in points.items():
        for point in several:
            axes.plot(point.intensity, point.gflops, markers[name], color=colours[point.kind], alpha=0.8, markersize=5)
    axes.set_title(f"{peak:.3g} GFLOP/s of a matrix product, {bandwidth:.3g} GB/s of a copy")
    axes.set_xlabel("FLOP/byte, with every array moved once")
    axes.set_ylabel("GFLOP/s")
    for axis in (
        axes.xaxis,
        axes.yaxis,
    ):  # matplotlib's own labels of powers are TeX, which the house style leaves as is
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    shapes = [Line2D([], [], linestyle="", color="#444444", marker=markers[name], label=name) for name in points]
    kinds_shown = [Line2D([], [], linestyle="", color=colours[kind], marker="o", label=kind) for kind in kinds]
    figure.legend(handles=shapes + kinds_shown, loc="outside lower center", ncols=4)
    file.write_bytes(to_png(figure))
