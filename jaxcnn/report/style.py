"""How every figure looks. matplotlib is imported here: whoever only trains never imports this file."""

import io
import warnings
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

WIDTH = 8.0
"""Inches: the width of a figure that fills a page's column."""

COLOURS = matplotlib.color_sequences["petroff10"]
"""Ten that the colour-blind can tell apart (Petroff 2021, "Accessible Color Sequences for Data Visualization")."""

_DOTS_PER_INCH = 130
_HOUSE: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.parse_math": False,  # a class may be called $5
    "figure.facecolor": "white",
}


def house_style():
    """A context, or the decorator of a function, in which figures are drawn; nothing of it is left afterwards."""
    return matplotlib.rc_context(_HOUSE)


@house_style()
def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks: boxes, no error
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def shortened(name: str, length: int) -> str:
    """A name of at most ``length`` characters.

    >>> shortened("dark", 8), shortened("very dark indeed", 8)
    ('dark', 'very da…')
    """
    return name if len(name) <= length else name[: length - 1] + "…"
