"""Winograd's transforms of arrays: the matrices of :mod:`jaxcnn.ops.cook_toom` along every spatial axis.

They are applied one axis at a time, with a barrier after each, so that XLA makes loops over contiguous channels. A
transform is a list of arrays, one for each point, in row-major order. The arrays along an axis are all alike: what is
done to one is jitted, to be traced once for all. The points that are made of one array are made in one loop
(:mod:`jaxcnn.ops.loops`), which reads it once. A kernel is cut as images are: it is a single tile.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial, reduce
from itertools import pairwise
from typing import NamedTuple

import jax
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
    points = _cut(kernel, [_Cut(axis, t.kernel, 1, 1) for axis, t in enumerate(per_axis)])
    return [u.reshape(kernel.shape[-2:]) for u in points]


def input_tiles(x: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[Array]:
    """V = Bᵀ d B: for each point an array of N, tiles, C_in."""
    pads = []
    for axis, t in zip(geometry.axes, per_axis, strict=True):
        needed = tiles_along(axis, t) * len(t.output) + axis.window - 1
        pads.append((axis.pad_lo, needed - axis.size - axis.pad_lo, 0))
    return _cut(_pad(x, pads), _cuts([t.input for t in per_axis], geometry, per_axis))


def cotangent_tiles(g: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[Array]:
    """Z = A g Aᵀ: for each point an array of N, tiles, C_out."""
    pads = [
        (0, tiles_along(axis, t) * len(t.output) - axis.output_size, 0)
        for axis, t in zip(geometry.axes, per_axis, strict=True)
    ]
    return _cut(_pad(g, pads), _cuts([transpose(t.output) for t in per_axis], geometry, per_axis))


def _pad(array: Array, pads) -> Array:
    return lax.optimization_barrier(lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))


class _Cut(NamedTuple):
    """How an axis is cut in tiles, and what they are multiplied with."""

    axis: int
    matrix: Matrix
    tiles: int
    step: int


def _cuts(matrices: Sequence[Matrix], geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[_Cut]:
    """Of images: tiles start m elements apart."""
    axes = zip(matrices, geometry.axes, per_axis, strict=True)
    return [_Cut(n, matrix, tiles_along(axis, t), len(t.output)) for n, (matrix, axis, t) in enumerate(axes, start=1)]


def _cut(array: Array, cuts: Sequence[_Cut]) -> list[Array]:
    """Along each axis, the matrix times the elements of every tile."""
    arrays = [array]
    for cut in cuts:
        arrays = lax.optimization_barrier([point for array in arrays for point in _points(cut, array)])
    return arrays


@partial(jax.jit, static_argnums=0)
def _points(cut: _Cut, array: Array) -> list[Array]:
    """The matrix times the elements of every tile. Rows of points p and −p, which differ in signs, are s + d, s − d."""
    axis, matrix, tiles, step = cut
    first = [i for i, (a, b) in enumerate(pairwise(matrix)) if _differ_in_signs(a, b)]
    rows = list(matrix)
    for i in first:
        a, b = rows[i : i + 2]
        rows[i : i + 2] = [tuple((p + sign * q) / 2 for p, q in zip(a, b, strict=True)) for sign in (1, -1)]

    last = (tiles - 1) * step
    column = [lax.slice_in_dim(array, j, j + last + 1, step, axis) for j in range(len(matrix[0]))]
    results = _times(tuple(rows), column)
    for i in first:
        s, d = results[i : i + 2]
        results[i : i + 2] = [lax.add(s, d), lax.sub(s, d)]
    return in_one_loop(results)


def _differ_in_signs(a: Sequence[Fraction], b: Sequence[Fraction]) -> bool:
    """Whether a and b are the same but for signs, of which some differ and some do not."""
    signs = {p / q if abs(p) == abs(q) else 0 for p, q in zip(a, b, strict=True) if p or q}
    return signs == {1, -1}


def output_tiles(points: list[Array], per_axis: Sequence[Transforms], axis: int = 1) -> Array:
    """Aᵀ [·] A for every tile, and the tiles put together, along ``axis`` and those after it.

    Row i of the first axis' results is every m-th of the outputs' rows, from i on.
    """
    if not per_axis:
        (output,) = points
        return output
    t, *others = per_axis
    rest = len(points) // t.points
    columns = lax.optimization_barrier([_outputs(t.output, points[i::rest]) for i in range(rest)])
    rows = [output_tiles(list(row), others, axis + 1) for row in zip(*columns, strict=True)]
    return _interleaved(rows, axis)


@partial(jax.jit, static_argnums=0)
def _outputs(matrix: Matrix, column: Sequence[Array]) -> list[Array]:
    """The matrix times a column of arrays, which are read once for all results.

    They are not put together here: the first and the last column, each of which only one row along the next axis needs,
    would be fused into the loop that reads them, in spite of the barrier, and made again by each of its branches.
    """
    return in_one_loop(_times(matrix, column))


def rows_of_taps(points: list[Array], per_axis: Sequence[Transforms]) -> list[Array]:
    """Gᵀ [·] along the first axis, what :func:`window` begins with: the rows of taps for each point of the others."""
    tiles = [point.reshape(*(1,) * len(per_axis), *point.shape) for point in points]
    return _along(0, transpose(per_axis[0].kernel), tiles)


def window(rows: list[Array], per_axis: Sequence[Transforms]) -> Array:
    """[·] G along the other axes: the kernel."""
    arrays = rows
    for axis, t in enumerate(per_axis[1:], start=1):
        arrays = _along(axis, transpose(t.kernel), arrays)
        if len(arrays) > 1:  # what is done with the last may be part of its loop
            arrays = lax.optimization_barrier(arrays)
    (kernel,) = arrays
    return kernel


def _along(axis: int, matrix: Matrix, arrays: list[Array]) -> list[Array]:
    """The matrix times columns of arrays, in row-major order along the first of their axes; one array for each column.

    They are in row-major order along the others.
    """
    rest = len(arrays) // len(matrix[0])
    return [_taps(matrix, arrays[i::rest], axis) for i in range(rest)]


@partial(jax.jit, static_argnums=(0, 2))
def _taps(matrix: Matrix, column: Sequence[Array], axis: int) -> Array:
    """The matrix times a column of arrays, one after the other along the axis."""
    return _interleaved(_times(matrix, column), axis)


def _interleaved(arrays: Sequence[Array], axis: int) -> Array:
    """Array j is every len(arrays)-th element along the axis, from j on."""
    *before, count = arrays[0].shape[: axis + 1]
    return jnp.stack(arrays, axis + 1).reshape(*before, count * len(arrays), *arrays[0].shape[axis + 1 :])


def _times(matrix: Matrix, column: Sequence[Array]) -> list[Array]:
    """The matrix times a column of arrays, each row by itself and without its zeros."""
    factors = {abs(entry) for row in matrix for entry in row} - {0, 1}
    filled = {factor: lax.full_like(column[0], float(factor)) for factor in factors}
    return [_sum(row, column, filled) for row in matrix]


def _sum(row: Sequence[Fraction], column: Sequence[Array], filled: Mapping[Fraction, Array]) -> Array:
    """What is subtracted comes last, for that takes no operation more."""
    terms = [
        (entry > 0, array if abs(entry) == 1 else lax.mul(array, filled[abs(entry)]))
        for entry, array in zip(row, column, strict=True)
        if entry
    ]
    added = [term for positive, term in terms if positive]
    taken = [term for positive, term in terms if not positive]
    if not added:
        return lax.neg(reduce(lax.add, taken))
    return reduce(lax.sub, taken, reduce(lax.add, added))
