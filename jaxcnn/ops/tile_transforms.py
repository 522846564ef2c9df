"""Winograd's transforms of arrays: the matrices of :mod:`jaxcnn.ops.cook_toom` along every spatial axis.

They are applied one axis at a time, with a barrier after each, so that XLA makes loops over contiguous channels. A
transform is a list of arrays, one for each point, in row-major order. Along an axis the matrix is multiplied with
columns of them, all alike: what is done to one is jitted, to be traced once for all. Points of one column are made in
one loop (:mod:`jaxcnn.ops.loops`), which reads what they are made of once.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial, reduce
from itertools import pairwise

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
    arrays = list(kernel.reshape(-1, *kernel.shape[-2:]))
    for t in per_axis:
        columns = _along_first(arrays, t.kernel)
        arrays = lax.optimization_barrier([p for column in columns for p in _points(t.kernel, column)])
    return arrays


def input_tiles(x: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[Array]:
    """V = Bᵀ d B: for each point an array of N, tiles, C_in."""
    pads = []
    for axis, t in zip(geometry.axes, per_axis, strict=True):
        needed = tiles_along(axis, t) * len(t.output) + axis.window - 1
        pads.append((axis.pad_lo, needed - axis.size - axis.pad_lo, 0))
    return _cut([t.input for t in per_axis], _pad(x, pads), geometry, per_axis)


def cotangent_tiles(g: Array, geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> list[Array]:
    """Z = A g Aᵀ: for each point an array of N, tiles, C_out."""
    pads = [
        (0, tiles_along(axis, t) * len(t.output) - axis.output_size, 0)
        for axis, t in zip(geometry.axes, per_axis, strict=True)
    ]
    return _cut([transpose(t.output) for t in per_axis], _pad(g, pads), geometry, per_axis)


def _pad(array: Array, pads) -> Array:
    return lax.optimization_barrier(lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))


def _cut(matrices: Sequence[Matrix], padded: Array, geometry: ConvGeometry, per_axis) -> list[Array]:
    """Along each axis, the matrix times the elements of every tile; tiles start m elements apart."""
    arrays = [padded]
    for number, (matrix, axis, t) in enumerate(zip(matrices, geometry.axes, per_axis, strict=True), start=1):
        m, last = len(t.output), (tiles_along(axis, t) - 1) * len(t.output)
        columns = [
            [lax.slice_in_dim(array, j, j + last + 1, m, number) for j in range(len(matrix[0]))] for array in arrays
        ]
        arrays = lax.optimization_barrier([p for column in columns for p in _points(matrix, column)])
    return arrays


def output_tiles(points: list[Array], per_axis: Sequence[Transforms]) -> Array:
    """Aᵀ [·] A for every tile, and the tiles put together."""
    arrays = points
    for number, t in enumerate(per_axis, start=1):
        arrays = [_interleaved(t.output, column, number) for column in _along_first(arrays, t.output)]
        if len(arrays) > 1:
            arrays = lax.optimization_barrier(arrays)
    (y,) = arrays
    return y


def rows_of_taps(points: list[Array], per_axis: Sequence[Transforms]) -> list[Array]:
    """Gᵀ [·] along the first axis, what :func:`window` begins with: r arrays where there were m + r − 1."""
    matrix = transpose(per_axis[0].kernel)
    return [tap for column in _along_first(points, matrix) for tap in _times(matrix, column)]


def window(rows: list[Array], per_axis: Sequence[Transforms]) -> Array:
    """[·] G along the other axes: the taps of the window, along the first axis."""
    arrays = rows
    for t in per_axis[1:]:
        matrix = transpose(t.kernel)
        arrays = [tap for column in _along_first(arrays, matrix) for tap in _times(matrix, column)]
    return jnp.stack(arrays)


@partial(jax.jit, static_argnums=(0, 2))
def _interleaved(matrix: Matrix, column: Sequence[Array], axis: int) -> Array:
    """The matrix times a column of arrays: result j is every len(matrix)-th element along the axis, from j on."""
    results = _times(matrix, column)
    *before, count = results[0].shape[: axis + 1]
    return jnp.stack(results, axis + 1).reshape(*before, count * len(results), *results[0].shape[axis + 1 :])


def _along_first(arrays: list[Array], matrix: Matrix) -> list[list[Array]]:
    """Arrays in row-major order as columns for the matrix along their first axis, one for each place along the others.

    The results, one column after the other, have that axis last, and the second first: once for each axis, and all are
    in order again.
    """
    rest = len(arrays) // len(matrix[0])
    return [arrays[i::rest] for i in range(rest)]


@partial(jax.jit, static_argnums=0)
def _points(matrix: Matrix, column: Sequence[Array]) -> list[Array]:
    """The matrix times a column of arrays. Rows of points p and −p, which differ in signs, are s + d and s − d."""
    first = [i for i, (a, b) in enumerate(pairwise(matrix)) if _differ_in_signs(a, b)]
    rows = list(matrix)
    for i in first:
        a, b = rows[i : i + 2]
        rows[i : i + 2] = [tuple((p + sign * q) / 2 for p, q in zip(a, b, strict=True)) for sign in (1, -1)]
    results = _times(tuple(rows), column)
    for i in first:
        s, d = results[i : i + 2]
        results[i : i + 2] = [lax.add(s, d), lax.sub(s, d)]
    return in_one_loop(results)


def _differ_in_signs(a: Sequence[Fraction], b: Sequence[Fraction]) -> bool:
    """Whether a and b are the same but for signs, of which some differ and some do not."""
    signs = {p / q if abs(p) == abs(q) else 0 for p, q in zip(a, b, strict=True) if p or q}
    return signs == {1, -1}


@partial(jax.jit, static_argnums=0)
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
