"""Winograd's transforms of arrays: the matrices of :mod:`jaxcnn.ops.cook_toom` along every spatial axis.

They are applied one axis at a time, with a barrier after each, so that XLA makes loops over contiguous channels. A
transform is a list of arrays, one for each point, in row-major order. All points that are made of the same arrays can
be made in one loop (:mod:`jaxcnn.ops.loops`): kernel gradients take a half to nine tenths of the time so, convolutions
up to 1.2.
"""

import functools
from collections.abc import Sequence

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array

from jaxcnn.ops.cook_toom import Matrix, Transforms, transpose
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.loops import in_one_loop


def tiles_along(axis: WindowAxis, t: Transforms) -> int:
    """Tiles of m outputs that cover the axis."""
    return -(-axis.output_size // len(t.output))


def kernel_points(kernel: Array, per_axis: Sequence[Transforms]) -> list[Array]:
    """U = G w Gᵀ: for each point an array of C_in, C_out."""
    arrays = list(kernel.reshape(-1, *kernel.shape[-2:]))
    for t in per_axis:
        arrays = lax.optimization_barrier([p for column in _along_first(t.kernel, arrays) for p in in_one_loop(column)])
    return arrays


def input_tiles(
    x: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms], *, in_one: bool = False
) -> list[Array]:
    """V = Bᵀ d B: for each point an array of N, tiles, C_in; ``in_one`` loop, those of the same arrays."""
    pads = []
    for axis, t in zip(geometry.axes, per_axis, strict=True):
        needed = tiles_along(axis, t) * len(t.output) + axis.window - 1
        pads.append((axis.pad_lo, needed - axis.size - axis.pad_lo, 0))
    return _cut([t.input for t in per_axis], _pad(x, pads), geometry, per_axis, in_one)


def cotangent_tiles(g: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[Array]:
    """Z = A g Aᵀ: for each point an array of N, tiles, C_out."""
    pads = [
        (0, tiles_along(axis, t) * len(t.output) - axis.output_size, 0)
        for axis, t in zip(geometry.axes, per_axis, strict=True)
    ]
    return _cut([transpose(t.output) for t in per_axis], _pad(g, pads), geometry, per_axis, in_one=True)


def _pad(array: Array, pads) -> Array:
    return lax.optimization_barrier(lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))


def _cut(matrices: Sequence[Matrix], padded: Array, geometry: ConvGeometry, per_axis, in_one: bool) -> list[Array]:
    """Along each axis, the matrix times the elements of every tile; tiles start m elements apart."""
    arrays = [padded]
    for number, (matrix, axis, t) in enumerate(zip(matrices, geometry.axes, per_axis, strict=True), start=1):
        m, last = len(t.output), (tiles_along(axis, t) - 1) * len(t.output)
        elements = [
            [lax.slice_in_dim(array, j, j + last + 1, m, number) for j in range(len(matrix[0]))] for array in arrays
        ]
        columns = [_combine(matrix, column) for column in elements]
        arrays = [point for column in columns for point in (in_one_loop(column) if in_one else column)]
        arrays = lax.optimization_barrier(arrays)
    return arrays


def output_tiles(points: list[Array], per_axis: Sequence[Transforms]) -> Array:
    """Aᵀ [·] A for every tile, and the tiles put together."""
    arrays = points
    for number, t in enumerate(per_axis, start=1):
        rest = len(arrays) // t.points
        arrays = [_interleave(_combine(t.output, arrays[i::rest]), number) for i in range(rest)]
        if rest > 1:
            arrays = lax.optimization_barrier(arrays)
    (y,) = arrays
    return y


def window(points: list[Array], per_axis: Sequence[Transforms]) -> Array:
    """Gᵀ [·] G: the taps of the window, along the first axis."""
    arrays = points
    for t in per_axis:
        arrays = [tap for column in _along_first(transpose(t.kernel), arrays) for tap in column]
    return jnp.stack(arrays)


def _interleave(arrays: list[Array], axis: int) -> Array:
    """The j-th array's elements become every len(arrays)-th of the axis, beginning with j."""
    *before, count = arrays[0].shape[: axis + 1]
    return jnp.stack(arrays, axis + 1).reshape(*before, count * len(arrays), *arrays[0].shape[axis + 1 :])


def _along_first(matrix: Matrix, arrays: list[Array]) -> list[list[Array]]:
    """The matrix along the first axis of arrays in row-major order: a list for each place along the other axes.

    One after the other they have that axis last, and the second first: once for each axis, and all are in order again.
    """
    rest = len(arrays) // len(matrix[0])
    return [_combine(matrix, arrays[i::rest]) for i in range(rest)]


def _combine(matrix: Matrix, arrays: Sequence[Array]) -> list[Array]:
    """The matrix times a column of arrays, without its zeros."""
    return [
        functools.reduce(jnp.add, [_times(entry, array) for entry, array in zip(row, arrays, strict=True) if entry])
        for row in matrix
    ]


def _times(entry, array: Array) -> Array:
    if abs(entry) == 1:
        return array if entry == 1 else -array
    return array * float(entry)
