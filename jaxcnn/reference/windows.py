"""Where a sliding window meets its input: the index arithmetic that convolution and pooling share.

On a spatial axis of a elements, with window k, stride s, dilation d and pads (p, p_hi), the window's tap t at output o
looks at the input

    i = s·o + d·t − p,    t = 0 … k − 1,    o = 0 … ⌊(a + p + p_hi − (d (k − 1) + 1)) / s⌋

(Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 15, gives the number of
outputs). An i outside 0 … a − 1 is padding. Over several axes, i, o and t are tuples of one number an axis.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

Index = tuple[int, ...]
Padding = str | int | Sequence[int | tuple[int, int]]


class Axis(NamedTuple):
    """One spatial axis of a sliding window; negative pads crop."""

    size: int
    window: int
    stride: int
    dilation: int
    p: int = 0
    p_hi: int = 0

    @property
    def extent(self) -> int:
        """Elements from a window's first tap to its last: d (k − 1) + 1."""
        return self.dilation * (self.window - 1) + 1

    @property
    def outputs(self) -> int:
        """Positions of the window."""
        return (self.size + self.p + self.p_hi - self.extent) // self.stride + 1

    def input_index(self, o: int, t: int) -> int:
        """i = s·o + d·t − p."""
        return self.stride * o + self.dilation * t - self.p


def resolve(sizes: Sequence[int], window: Sequence[int], *, strides, padding: Padding, dilation=1) -> tuple[Axis, ...]:
    """The spatial axes of a window.

    Raises:
      ValueError: an option is out of range or has not one entry an axis, or no window fits.
    """
    rank = len(sizes)
    options = (_per_axis(name, v, rank) for name, v in (("strides", strides), ("kernel_dilation", dilation)))
    axes = [Axis(*row) for row in zip(sizes, _per_axis("window", window, rank), *options, strict=True)]
    pads = _pads(axes, padding)
    axes = tuple(axis._replace(p=p, p_hi=p_hi) for axis, (p, p_hi) in zip(axes, pads, strict=True))
    for axis in axes:
        if axis.outputs < 1:
            raise ValueError(
                f"a window must fit the padded input, found a span of {axis.extent} elements over "
                f"{axis.size} + {axis.p} + {axis.p_hi}: spatial sizes {tuple(sizes)}, window {tuple(window)}"
            )
    return axes


def output_indices(axes: Sequence[Axis]) -> Iterator[Index]:
    """Every o, in row-major order."""
    return product(*(range(axis.outputs) for axis in axes))


def meetings(axes: Sequence[Axis]) -> Iterator[tuple[Index, Index, Index]]:
    """Every (o, t, i) with i = s·o + d·t − p an element of the input; o, and t within it, in row-major order."""
    for o in output_indices(axes):
        for t in product(*(range(axis.window) for axis in axes)):
            i = tuple(axis.input_index(*ot) for axis, *ot in zip(axes, o, t, strict=True))
            if all(0 <= i_a < axis.size for axis, i_a in zip(axes, i, strict=True)):
                yield o, t, i


def output_shape(n: int, axes: Sequence[Axis], features: int) -> tuple[int, ...]:
    """N, outputs, features."""
    return (n, *(axis.outputs for axis in axes), features)


def _pads(axes: Sequence[Axis], padding) -> list[tuple[int, ...]]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f'padding must be "SAME", "VALID", a number or numbers, found {padding!r}')
        return [_same_pads(axis) if padding.upper() == "SAME" else (0, 0) for axis in axes]
    pairs = [_repeat(entry, 2) for entry in _repeat(padding, len(axes))]
    if len(pairs) != len(axes) or not all(len(pair) == 2 and all(map(_is_integer, pair)) for pair in pairs):
        raise ValueError(f"padding must be p or (lo, hi) for each of {len(axes)} spatial axes, found {padding!r}")
    return pairs


def _same_pads(axis: Axis) -> tuple[int, int]:
    """The pads that give ⌈size / s⌉ outputs; an odd one goes to the end."""
    outputs = -(-axis.size // axis.stride)
    total = max(axis.stride * (outputs - 1) + axis.extent - axis.size, 0)
    return total // 2, total - total // 2


def _per_axis(name: str, value, rank: int) -> tuple[int, ...]:
    values = _repeat(value, rank)
    if len(values) != rank or not all(_is_integer(v) and v > 0 for v in values):
        raise ValueError(f"{name} must be a positive integer, or one for each of {rank} spatial axes, found {value!r}")
    return values


def _repeat(value, count: int) -> tuple:
    """An integer so many times; what is not an integer, as it comes."""
    if _is_integer(value):
        return (value,) * count
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _is_integer(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
