"""Kernel gradients as a matrix product, the window's taps divided between x and g.

Along the last spatial axis, whose stride is 1, a tap u that shifts x may as well shift g the other way:

    ∂L/∂w[t, u, j, f] = Σ_{n, o, q} x[n, s·o + d·t − p, q, j] · g[n, o, q − d·u + p, f]

with o the outputs along the other axes and q the elements of x along the last. With a row for each (n, o, q) that is
Xᵀ · G, of shifted inputs in columns (t, j) and shifted cotangents in columns (u, f). The patches of
:mod:`jaxcnn.ops.im2col` have |t| |u| c_in columns beside the c_out of g; X and G have |t| c_in and |u| c_out. For
windows of 3×3 and as many inputs as outputs that is 0.6 of them to write, and factors of like width suit a matrix
product better than a long and a short one.
"""

import functools
import math
from functools import partial

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import images_per_block, sum_blocks
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.precision import accumulator

BLOCK_BYTES = 8 * 2**20
"""The largest block of X and G together: in the cache, or near it."""

MOST_COLUMNS = 1.6
"""How many times as many columns as the patches and g X and G may have: their product is the quicker one."""

FEW_INPUTS = 4
"""Up to so many, the patches are the smaller ones by far."""


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a kernel gradient; None where it can do it."""
    if geometry.groups != 1:
        return f"two_sided needs a feature_group_count of 1, found {geometry.groups}"
    if geometry.strides[-1] != 1:
        return f"two_sided needs a stride of 1 along the last axis, found {geometry.strides}"
    return None


def pays(geometry: ConvGeometry) -> bool:
    """Whether X and G are not much larger than the patches and g, from a few inputs on."""
    last, c_in, c_out = geometry.axes[-1], *geometry.kernel_shape[-2:]
    if limit(geometry) or last.window == 1 or c_in <= FEW_INPUTS:
        return False
    patches = math.prod(geometry.kernel_shape[:-2]) * c_in + c_out
    return last.size * sum(_columns(geometry)) <= MOST_COLUMNS * last.output_size * patches


def is_blocked(geometry: ConvGeometry, itemsize: int) -> bool:
    """Whether more than one image makes a block."""
    block = _images_per_block(geometry, itemsize)
    return isinstance(block, int) and block > 1


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_in c_out"]:
    """∂L/∂w = Xᵀ · G, summed block by block in float32 or better."""
    block = _images_per_block(geometry, x.dtype.itemsize)
    products = sum_blocks(partial(_products, geometry, block, precision), block, x, g)
    *outer, u, c_in, c_out = geometry.kernel_shape
    total = functools.reduce(jnp.add, products).reshape(*outer, c_in, u, c_out)
    return jnp.swapaxes(total, -2, -3).astype(x.dtype)


def _products(geometry: ConvGeometry, block, precision, x: Array, g: Array) -> list[Array]:
    """Xᵀ · G of two halves of the images, or of the rows of one: a core for each."""
    *outer, last = geometry.axes
    for number, axis in enumerate(outer, start=1):
        x = _pad(x, number, axis.pad_lo, max(axis.pad_hi, 1))
    before, behind = last.extent - 1 - last.pad_lo, last.size + last.pad_lo - last.output_size
    x, g = lax.optimization_barrier((x, _pad(g, len(geometry.axes), before, behind)))
    return [_product(*half, geometry, precision) for half in _halves(x, g, geometry, block)]


def _halves(x: Array, g: Array, geometry: ConvGeometry, block) -> list[tuple[Array, Array]]:
    """As many for every number of images, if that is known."""
    if not isinstance(block, int):
        return [(x, g)]
    if block > 1:
        half = x.shape[0] // 2
        return [(x[:half], g[:half]), (x[half:], g[half:])]
    *outer, _ = geometry.axes
    if not outer or outer[0].output_size == 1:
        return [(x, g)]
    axis, half = outer[0], outer[0].output_size // 2
    seen = (half - 1) * axis.stride + axis.extent
    return [(x[:, :seen], g[:, :half]), (x[:, half * axis.stride :], g[:, half:])]


def _product(x: Array, g: Array, geometry: ConvGeometry, precision) -> Array:
    """Xᵀ · G of padded arrays."""
    *outer, last = geometry.axes
    xs = [x]
    for number, axis in enumerate(outer, start=1):
        xs = [tap for a in xs for tap in _taps(a, number, axis, g.shape[number], axis.stride)]
    gs = _taps(g, len(geometry.axes), last, last.size, 1)[::-1]
    columns = lax.optimization_barrier((_side_by_side(xs), _side_by_side(gs)))
    a, b = (c.reshape(math.prod(c.shape[:-1]), c.shape[-1]) for c in columns)
    total = lax.dot_general(
        a, b, (((0,), (0,)), ((), ())), precision=precision, preferred_element_type=accumulator(x.dtype)
    )
    return lax.optimization_barrier(total)  # a sum taken into it would make it no plain matrix product


def _side_by_side(arrays: list[Array]) -> Array:
    """The arrays along their last axis, as the sum of padded ones.

    XLA's CPU backend makes a vectorised loop of that; of a concatenation, one that asks for each element which array it
    is in: at half the speed, and with :func:`jaxcnn.xla.compiler_options` at a quarter.
    """
    c, count = arrays[0].shape[-1], len(arrays)
    padded = (_pad(a, a.ndim - 1, i * c, (count - 1 - i) * c) for i, a in enumerate(arrays))
    return functools.reduce(jnp.add, padded)


def _pad(array: Array, number: int, lo: int, hi: int) -> Array:
    """Zeros along one axis; where negative, elements less."""
    pads = [(0, 0, 0)] * array.ndim
    pads[number] = (lo, hi, 0)
    return lax.pad(array, jnp.zeros((), array.dtype), pads)


def _taps(array: Array, number: int, axis: WindowAxis, count: int, stride: int) -> list[Array]:
    """What each tap of the axis sees: ``count`` elements."""
    size = (count - 1) * stride + 1
    starts = (axis.dilation * t for t in range(axis.window))
    return [lax.slice_in_dim(array, start, start + size, stride, number) for start in starts]


def _columns(geometry: ConvGeometry) -> tuple[int, int]:
    """Those of X and of G."""
    *outer, u, c_in, c_out = geometry.kernel_shape
    return math.prod(outer) * c_in, u * c_out


def _images_per_block(geometry: ConvGeometry, itemsize: int):
    """Images whose X and G fit ``BLOCK_BYTES``, both."""
    *outer, last = geometry.axes
    rows = math.prod(axis.output_size for axis in outer) * last.size
    return images_per_block(geometry.input_shape[0], rows * sum(_columns(geometry)) * itemsize, BLOCK_BYTES)
