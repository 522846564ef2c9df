"""Winograd's transforms of arrays: the matrices of :mod:`jaxcnn.ops.cook_toom` along every spatial axis.

They are applied one axis at a time, with a barrier after each, so that XLA makes of each a loop over contiguous
channels. Along the last axis the points are an axis of an array or, ``apart``, an array each; along the others always
an array each. So a transform is a list of arrays, in the order of the points: of one point, or of all of the last axis.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array

from jaxcnn.ops.cook_toom import Matrix, Transforms, transpose
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis


def tiles_along(axis: WindowAxis, t: Transforms) -> int:
    """Tiles of m outputs that cover the axis."""
    return -(-axis.output_size // len(t.output))


def kernel_points(kernel: Array, per_axis: Sequence[Transforms], apart: bool) -> list[Array]:
    """U = G w Gᵀ: for each point of the outer axes arrays of the last axis' points, C_in, C_out."""
    *outer, last = (t.kernel for t in per_axis)
    rows = list(kernel.reshape(-1, *kernel.shape[-3:]))
    return [points for row in _along_axes(outer, rows) for points in _last(last, list(row), apart)]


def input_tiles(x: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms], apart: bool = False) -> list[Array]:
    """V = Bᵀ d B: for each point of the outer axes arrays of the last axis' points, N, tiles, C_in."""
    pads = []
    for axis, t in zip(geometry.axes, per_axis, strict=True):
        needed = tiles_along(axis, t) * len(t.output) + axis.window - 1
        pads.append((axis.pad_lo, needed - axis.size - axis.pad_lo, 0))
    return _cut([t.input for t in per_axis], _pad(x, pads), geometry, per_axis, apart)


def cotangent_tiles(g: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[Array]:
    """Z = A g Aᵀ: for each point of the outer axes an array of the last axis' points, N, tiles, C_out."""
    pads = [
        (0, tiles_along(axis, t) * len(t.output) - axis.output_size, 0)
        for axis, t in zip(geometry.axes, per_axis, strict=True)
    ]
    return _cut([transpose(t.output) for t in per_axis], _pad(g, pads), geometry, per_axis, apart=False)


def _pad(array: Array, pads) -> Array:
    return lax.optimization_barrier(lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))


def _cut(matrices: Sequence[Matrix], padded: Array, geometry: ConvGeometry, per_axis, apart: bool) -> list[Array]:
    """Along each axis, the matrix times the elements of every tile; tiles start m elements apart."""
    arrays = [padded]
    rank = len(matrices)
    for number, (matrix, axis, t) in enumerate(zip(matrices, geometry.axes, per_axis, strict=True), start=1):
        m, last = len(t.output), (tiles_along(axis, t) - 1) * len(t.output)
        elements = [
            [lax.slice_in_dim(array, j, j + last + 1, m, number) for j in range(len(matrix[0]))] for array in arrays
        ]
        if number < rank:
            arrays = [row for column in elements for row in _combine(matrix, column)]
        else:
            arrays = [points for column in elements for points in _last(matrix, column, apart)]
        arrays = lax.optimization_barrier(arrays)
    return arrays


def output_tiles(points: list[Array], per_axis: Sequence[Transforms], first: int) -> Array:
    """Aᵀ [·] A for every tile, and the tiles put together; images are along axis ``first`` of the points."""
    arrays = points
    *outer, last = per_axis
    for number, t in enumerate(outer, start=first + 1):
        rest = len(arrays) // t.points
        arrays = [_interleave(_combine(t.output, arrays[i::rest]), number) for i in range(rest)]
        arrays = lax.optimization_barrier(arrays)
    return _interleave(_combine(last.output, list(arrays[0]) if first else arrays), len(per_axis))


def window(arrays: list[Array], per_axis: Sequence[Transforms]) -> Array:
    """Gᵀ [·] G: the taps of the window, along the first axis, from arrays of the last axis' points."""
    *outer, last = (transpose(t.kernel) for t in per_axis)
    taps = [jnp.stack(_combine(last, list(row))) for row in _along_axes(outer, arrays)]
    return jnp.stack(taps)


def _interleave(arrays: list[Array], axis: int) -> Array:
    """The j-th array's elements become every len(arrays)-th of the axis, beginning with j."""
    *before, count = arrays[0].shape[: axis + 1]
    return jnp.stack(arrays, axis + 1).reshape(*before, count * len(arrays), *arrays[0].shape[axis + 1 :])


def _along_axes(matrices: Sequence[Matrix], arrays: list[Array]) -> list[Array]:
    """(M₀ ⊗ M₁ ⊗ …) of arrays whose index runs over the axes in row-major order, as that of the results does."""
    for matrix in matrices:
        rest = len(arrays) // len(matrix[0])
        columns = [_combine(matrix, arrays[i::rest]) for i in range(rest)]
        arrays = [row for column in columns for row in column]
    return arrays


def _combine(matrix: Matrix, arrays: Sequence[Array]) -> list[Array]:
    """The matrix times a column of arrays, without its zeros."""
    return [
        functools.reduce(jnp.add, [_times(entry, array) for entry, array in zip(row, arrays, strict=True) if entry])
        for row in matrix
    ]


def _last(matrix: Matrix, arrays: Sequence[Array], apart: bool) -> list[Array]:
    """The same for the last axis: its points apart, or along a new first axis of one array."""
    return _combine(matrix, arrays) if apart else [_stacked(matrix, arrays)]


def _stacked(matrix: Matrix, arrays: Sequence[Array]) -> Array:
    """The same with the results along a new first axis, made in one loop: its zeros are multiplied too."""
    dtype, outer = arrays[0].dtype, range(1, arrays[0].ndim + 1)
    columns = [jnp.expand_dims(np.array(column, dtype), outer) for column in zip(*matrix, strict=True)]
    return functools.reduce(jnp.add, [c * array[None] for c, array in zip(columns, arrays, strict=True)])


def _times(entry, array: Array) -> Array:
    if abs(entry) == 1:
        return array if entry == 1 else -array
    return array * float(entry)
