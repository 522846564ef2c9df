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

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import images_per_block, sum_blocks
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import padded_apart, window_taps

BLOCK_BYTES = 4 * 2**20
"""The largest block of X and G together: in the cache, or near it."""

MOST_COLUMNS = 1.6
"""How many times as many columns as the patches and g X and G may have: their product is the quicker one."""

FEW_INPUTS = 4
"""Up to so many, the patches are the smaller ones by far."""

SMALL_PRODUCT, LONG_SUM = 96**2, 1024
"""Elements of Xᵀ · G up to which, and rows from which, two products of half the rows are quicker."""


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
    return last.size * sum(_widths(geometry)) <= MOST_COLUMNS * last.output_size * patches


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_in c_out"]:
    """∂L/∂w = Xᵀ · G, summed block by block in float32 or better."""

    def product(x, g):
        x, g = lax.optimization_barrier((_shifted_inputs(x, geometry), _shifted_cotangents(g, geometry)))
        return [_product(x, g, precision)]

    (total,) = sum_blocks(product, _images_per_block(geometry, x.dtype.itemsize), x, g)
    *outer, u, c_in, c_out = geometry.kernel_shape
    return jnp.swapaxes(total.reshape(*outer, c_in, u, c_out), -2, -3).astype(x.dtype)


def _shifted_inputs(x: Array, geometry: ConvGeometry) -> Array:
    """X, of axes N, o, q and (t, j): the windows have no taps along the last axis."""
    *outer, last = geometry.axes
    padded, axes = padded_apart(x, (*outer, _one_tap(last.size)), always=True)
    return _side_by_side(list(window_taps(padded, axes, 0)))


def _shifted_cotangents(g: Array, geometry: ConvGeometry) -> Array:
    """G, of axes N, o, q and (u, f): the windows over g whose positions are q, their taps the other way round."""
    *outer, last = geometry.axes
    padded, axes = padded_apart(g, (*(_one_tap(axis.output_size) for axis in outer), last.transposed))
    return _side_by_side(list(window_taps(padded, axes, 0))[::-1])


def _one_tap(size: int) -> WindowAxis:
    return WindowAxis(size, window=1, stride=1, dilation=1, pad_lo=0, pad_hi=0)


def _product(x: Array, g: Array, precision) -> Array:
    """Xᵀ · G, summed over all axes but the last."""
    rows, widths = math.prod(x.shape[:-1]), (x.shape[-1], g.shape[-1])
    is_long = isinstance(rows, int) and rows >= LONG_SUM and rows % 2 == 0
    parts = 2 if is_long and math.prod(widths) <= SMALL_PRODUCT else 1
    # One axis is contracted: XLA transposes what is contracted over several.
    a, b = (array.reshape(parts, rows // parts, width) for array, width in zip((x, g), widths, strict=True))
    dims, dtype = (((1,), (1,)), ((0,), (0,))), accumulator(x.dtype)
    products = lax.dot_general(a, b, dims, precision=precision, preferred_element_type=dtype)
    return jnp.sum(lax.optimization_barrier(products), 0)  # a sum taken into it would make it no plain matrix product


def _side_by_side(arrays: list[Array]) -> Array:
    """The arrays along their last axis, as the sum of padded ones.

    XLA's CPU backend makes a vectorised loop of that; of a concatenation, one that asks for each element which array it
    is in: at half the speed.
    """
    c, count, none = arrays[0].shape[-1], len(arrays), [(0, 0, 0)] * (arrays[0].ndim - 1)
    zero = jnp.zeros((), arrays[0].dtype)
    padded = (lax.pad(a, zero, [*none, (i * c, (count - 1 - i) * c, 0)]) for i, a in enumerate(arrays))
    return functools.reduce(jnp.add, padded)


def _widths(geometry: ConvGeometry) -> tuple[int, int]:
    """Columns of X and of G."""
    *outer, u, c_in, c_out = geometry.kernel_shape
    return math.prod(outer) * c_in, u * c_out


def _images_per_block(geometry: ConvGeometry, itemsize: int):
    """Images whose X and G fit ``BLOCK_BYTES``, both."""
    *outer, last = geometry.axes
    rows = math.prod(axis.output_size for axis in outer) * last.size
    return images_per_block(geometry.input_shape[0], rows * sum(_widths(geometry)) * itemsize, BLOCK_BYTES)
