"""Convolution by Winograd's minimal filtering, F(m, r) along each spatial axis (Lavin & Gray 2015).

Tiles of m outputs overlap in tiles of m + r − 1 inputs. With the matrices of :mod:`jaxcnn.ops.cook_toom` along every
spatial axis (:mod:`jaxcnn.ops.tile_transforms`; written here for two), tile d of x, tile y of the output, kernel w and
tile g of the cotangent:

    U = G w Gᵀ        V = Bᵀ d B        y = Aᵀ [Σ_c U_c ⊙ V_c] A
                      Z = A g Aᵀ        ∂L/∂w = Gᵀ [Σ_tiles V ⊙ Z] G

Each of the (m + r − 1)² points is a matrix product, over channels in the first line and over tiles in the second, which
is the first transposed. ∂L/∂x is the convolution of g with the rotated kernel: the first line again. F(4, 3) needs 4
times fewer multiplications than the sum in two dimensions, F(2, 3) 2.25 times fewer.

XLA's CPU backend runs the product of a block on one core, and products side by side only where more than eight wait:
each point is a product by itself.

Rounding grows with the powers of the points: in float32, relative to float64, F(2, 3) is as exact as the sum (6e-7),
F(4, 3) up to 3e-6, F(4, 5) about 5e-6, F(6, 3) up to 2e-5 (``tests/ops/test_winograd.py`` holds them to that); along
one axis F(6, 3) has 2e-6, F(5, 5) and F(3, 7) up to 7e-6.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import images_per_block, map_blocks, sum_blocks
from jaxcnn.ops.cook_toom import Transforms, transforms
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.lifetimes import keep, not_before
from jaxcnn.ops.precision import accumulator, is_highest
from jaxcnn.ops.strips import map_strips, sum_strips
from jaxcnn.ops.tile_transforms import (
    cotangent_tiles,
    input_tiles,
    kernel_points,
    output_tiles,
    rows_of_taps,
    tiles_along,
    window,
)

BLOCK_BYTES = 8 * 2**20
"""The size of V and the products of one block, together: it stays in the cache."""

FEWEST_ROWS, MOST_ROWS = 256, 512
"""But a block's products have no fewer rows (tiles) than the first: each block reads all of U. And no more than the
second, which make no product quicker."""

WHOLE_BLOCKS = 2
"""Images of no more than so many ``BLOCK_BYTES`` are one block: a loop copies them out of x, and y into its place, on
one core."""

MOST_BLOCKS = 4
"""An image of up to so many blocks is treated as one; a larger is cut in strips of a block each."""

TILES = {1: 1, 2: 4, 3: 4, 4: 4, 5: 4, 6: 3, 7: 2}
"""m for each r: few multiplications at a float32 error well below 1e-5."""

LINE_TILES = {1: 1, 2: 4, 3: 6, 4: 5, 5: 5, 6: 4, 7: 3}
"""m where windows are along one axis: larger, for rounding grows only once, and more points keep the cores busy."""

LINE_BLOCKS = 4
"""How many times as large a convolution's blocks are then: of 8 or 9 products each is to have work for all cores."""

FEW_TILES = 64
"""Up to so many, tiles of two outputs are quicker: products with so few rows are bound by reading U. Not for long
windows and those along one axis, which save the less by small tiles."""

FEWEST_TILES = 12
"""Tiles full of outputs from which the transform of a kernel or its gradient is worth while."""

FEWEST_CHANNELS = {1: 32, 2: 16, 3: 8}
"""Channels in and out from which windows along so many axes are worth the transforms."""

LONG_WINDOW = 5
"""From which windows along several axes round more, and save too little in tiles of two."""

MOST_SUMMED = {2: 256, 3: 128}
"""Channels in and out up to which errors stay below 1e-5, of long windows along two axes and of those of no more than 3
along three; at twice as many they reach 1e-5, as they do with a long window along three however few there are."""


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a convolution; None where it can do it."""
    if any(stride != 1 for stride in geometry.strides):
        return f"winograd needs strides of 1, found {geometry.strides}"
    if any(dilation != 1 for dilation in geometry.kernel_dilation):
        return f"winograd needs a kernel_dilation of 1, found {geometry.kernel_dilation}"
    if geometry.groups != 1:
        return f"winograd needs a feature_group_count of 1, found {geometry.groups}"
    if any(axis.window not in TILES for axis in geometry.axes):
        return f"winograd needs windows of at most {max(TILES)}, found {geometry.kernel_shape[:-2]}"
    return None


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
    tile: int | None = None,
) -> Float[Array, "n *output c_out"]:
    """y = Aᵀ [Σ_c U_c ⊙ V_c] A, tile by tile; ``tile`` is m, if not the window's own."""
    return _filter(x, kernel, 0, geometry, precision, tile)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
    tile: int | None = None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x: g convolved with the rotated kernel."""
    rotated = jnp.flip(kernel, range(kernel.ndim - 2))
    return _filter(g, rotated, 1, geometry.transposed, precision, tile)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
    tile: int | None = None,
) -> Float[Array, "*window c_in c_out"]:
    """∂L/∂w = Gᵀ [Σ_tiles V ⊙ Z] G, of which the first Gᵀ is inside of the sum over blocks."""
    _check_dtype(x.dtype)
    per_axis = _transforms(geometry, tile)
    dtype = accumulator(x.dtype)

    def block(x, g, geometry=geometry):
        v = input_tiles(x.astype(dtype), geometry, per_axis)
        z = cotangent_tiles(g.astype(dtype), geometry, per_axis)
        products = [_product(_rows(a), _rows(b), (0, 0), precision) for a, b in zip(v, z, strict=True)]
        return keep(z, products[-1], rows_of_taps(lax.optimization_barrier(products), per_axis))

    rows = _rows_per_strip(geometry, per_axis)
    if rows:
        sums = sum_strips(partial(block, geometry=_strip(geometry, rows)), rows, geometry.axes[0], x, g)
    else:
        sums = sum_blocks(block, _images_per_block(geometry, per_axis), x, g)
    return window(lax.optimization_barrier(sums), per_axis).astype(x.dtype)


def tiles(geometry: ConvGeometry) -> int:
    """Rows of each product, with the windows' own tiles; without end, where the images are only known at run time."""
    n = geometry.input_shape[0]
    per_image = math.prod(-(-axis.output_size // m) for axis, m in zip(geometry.axes, _tile(geometry), strict=True))
    return n * per_image if isinstance(n, int) else sys.maxsize


def filled(geometry: ConvGeometry) -> float:
    """The share of the tiles that are outputs: the last ones of 14 outputs in tiles of 4 stand over by 2."""
    sizes = (axis.output_size for axis in geometry.axes)
    return math.prod(o / (-(-o // m) * m) for o, m in zip(sizes, _tile(geometry), strict=True))


def full_tiles(geometry: ConvGeometry) -> float:
    """How many tiles the outputs would fill."""
    return tiles(geometry) * filled(geometry)


def multiplications_per_output(geometry: ConvGeometry) -> float:
    """Multiplications for an output, where tiles are full of them."""
    axes = zip(geometry.axes, _tile(geometry), strict=True)
    return geometry.kernel_shape[-2] * math.prod((m + axis.window - 1) / m for axis, m in axes)


def is_exact_enough(geometry: ConvGeometry, dtype, precision) -> bool:
    """Whether it may be chosen unasked: in float32, unless the highest precision is asked for or errors reach 1e-5."""
    if jnp.dtype(dtype) != jnp.float32 or is_highest(precision):
        return False
    windows, channels = windows_of(geometry), max(geometry.kernel_shape[-2:])
    if len(windows) > 2:
        return len(windows) == 3 and max(windows) <= 3 and channels <= MOST_SUMMED[3]
    return len(windows) < 2 or max(windows) < LONG_WINDOW or channels <= MOST_SUMMED[2]


def is_large(geometry: ConvGeometry) -> bool:
    """Whether the V and products of a convolution's images are more than a block's bytes."""
    n, per_axis = geometry.input_shape[0], _transforms(geometry, None)
    return isinstance(n, int) and n * _image_tiles(geometry, per_axis) * _tile_bytes(geometry, per_axis) > BLOCK_BYTES


def pays(geometry: ConvGeometry, dtype, precision) -> bool:
    """Where it is exact enough, with channels and tiles enough to pay for the transforms."""
    if limit(geometry) or not is_exact_enough(geometry, dtype, precision):
        return False
    windows = windows_of(geometry)
    c_in, c_out = geometry.kernel_shape[-2:]
    has_channels = bool(windows) and min(c_in, c_out) >= FEWEST_CHANNELS[len(windows)]
    return has_channels and full_tiles(geometry) >= FEWEST_TILES


def windows_of(geometry: ConvGeometry) -> list[int]:
    """Those along the axes on which they have more than one tap."""
    return [axis.window for axis in geometry.axes if axis.window > 1]


def is_line(geometry: ConvGeometry) -> bool:
    """Whether the windows are along one axis."""
    return len(windows_of(geometry)) < 2


def _filter(x: Array, kernel: Array, contracted: int, geometry: ConvGeometry, precision, tile: int | None) -> Array:
    """Aᵀ [Σ U ⊙ V] A, summed over the kernel's channels: its inputs, ``contracted`` = 0, or its outputs, 1."""
    _check_dtype(x.dtype)
    per_axis = _transforms(geometry, tile)
    dtype = accumulator(x.dtype)
    u = kernel_points(not_before(x, kernel.astype(dtype)), per_axis)

    def block(x, geometry=geometry):
        v = input_tiles(x.astype(dtype), geometry, per_axis)
        products = [_product(a, b, (x.ndim - 1, contracted), precision) for a, b in zip(v, u, strict=True)]
        (y,) = keep(v, products[-1], [output_tiles(lax.optimization_barrier(products), per_axis)])
        return lax.slice(y, (0,) * y.ndim, (x.shape[0], *geometry.output_shape[1:])).astype(x.dtype)

    times = LINE_BLOCKS if is_line(geometry) else 1
    rows = _rows_per_strip(geometry, per_axis, times)
    if rows:
        return map_strips(partial(block, geometry=_strip(geometry, rows)), rows, geometry.axes[0], x)
    return map_blocks(block, _images_per_block(geometry, per_axis, times), x)


def _check_dtype(dtype) -> None:
    """Kernels are multiplied with fractions."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(f"winograd needs arrays of floating-point numbers, found {dtype}")


def _product(a: Array, b: Array, contracted: tuple[int, int], precision) -> Array:
    a_axis, b_axis = contracted
    return lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), precision=precision)


def _rows(a: Array) -> Array:
    """One row for each tile: XLA transposes what is contracted over several axes, and not what it is over one."""
    return a.reshape(-1, a.shape[-1])


def _tile(geometry: ConvGeometry) -> list[int]:
    """m along each axis."""
    m = LINE_TILES if is_line(geometry) else TILES
    return [m[axis.window] for axis in geometry.axes]


def _transforms(geometry: ConvGeometry, tile: int | None) -> list[Transforms]:
    """F(m, r) for each spatial axis; an axis of one tap has nothing to gain."""
    is_long = is_line(geometry) or max(geometry.kernel_shape[:-2]) >= LONG_WINDOW
    if tile is None and tiles(geometry) <= FEW_TILES and not is_long:
        tile = 2
    return [
        transforms(m if tile is None or axis.window == 1 else tile, axis.window)
        for axis, m in zip(geometry.axes, _tile(geometry), strict=True)
    ]


def _images_per_block(geometry: ConvGeometry, per_axis: Sequence[Transforms], times: int = 1):
    """Images whose tiles are the rows of a block, ``times`` as large as others; or all of them."""
    n, image_tiles = geometry.input_shape[0], _image_tiles(geometry, per_axis)
    whole = max(WHOLE_BLOCKS, times) * BLOCK_BYTES
    if isinstance(n, int) and n * image_tiles * _tile_bytes(geometry, per_axis) <= whole:
        return n
    return images_per_block(n, image_tiles, times * _rows_per_block(geometry, per_axis))


def _rows_per_strip(geometry: ConvGeometry, per_axis: Sequence[Transforms], times: int = 1) -> int:
    """Rows of outputs whose tiles are a block's rows, or those of one tile; 0 where images are not cut."""
    image_tiles, block = _image_tiles(geometry, per_axis), _rows_per_block(geometry, per_axis)
    n = geometry.input_shape[0]
    if image_tiles <= MOST_BLOCKS * block or not isinstance(n, int) or n == 0:
        return 0
    axis, t = geometry.axes[0], per_axis[0]
    tiles = tiles_along(axis, t)
    strips = min(-(-image_tiles // (times * block)), tiles)
    return min(-(-tiles // strips) * len(t.output), axis.output_size)


def _rows_per_block(geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> int:
    """Rows, a tile each, of a block's products."""
    return min(max(BLOCK_BYTES // _tile_bytes(geometry, per_axis), FEWEST_ROWS), MOST_ROWS)


def _strip(geometry: ConvGeometry, rows: int) -> ConvGeometry:
    """The convolution that a strip is: its rows are padded already."""
    axis = geometry.axes[0]
    size = rows + axis.window - 1
    n, _, *rest = geometry.input_shape
    axes = (axis._replace(size=size, pad_lo=0, pad_hi=0), *geometry.axes[1:])
    return replace(geometry, input_shape=(n, size, *rest), axes=axes)


def _image_tiles(geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> int:
    return math.prod(tiles_along(axis, t) for axis, t in zip(geometry.axes, per_axis, strict=True))


def _tile_bytes(geometry: ConvGeometry, per_axis: Sequence[Transforms]) -> int:
    """The size of V and the products of one tile."""
    return 4 * math.prod(t.points for t in per_axis) * (geometry.input_shape[-1] + geometry.kernel_shape[-1])
