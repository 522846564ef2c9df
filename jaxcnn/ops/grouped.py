"""Convolutions of groups with few channels, depthwise ones among them, as fused loops over shifted images.

    y[n, o, γ, j]     = Σ_{t, i} x[n, s·o + d·t − p, γ, i] · w[t, i, γ, j]
    ∂L/∂x[n, q, γ, i] = Σ_{t, j} g[n, o, γ, j] · w[t, i, γ, j]     over all o, t with s·o + d·t − p = q
    ∂L/∂w[t, i, γ, j] = Σ_{n, o} x[n, s·o + d·t − p, γ, i] · g[n, o, γ, j]

with inputs i and outputs j of each group γ. A matrix product has little to reuse here. Of arrays whose last axis is all
groups, XLA's CPU backend makes loops that LLVM vectorises along it: a group's channels become the first axis before,
and the last again after. Where a group has one channel, as in a depthwise convolution, nothing moves.
"""

import functools
import math

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import sum_blocks
from jaxcnn.ops.calls import call
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import kept_apart, padded_apart, window_taps

MOST_ROWS, PRODUCTS_A_LOOP = 8, 5
"""Rows of a kernel gradient that a loop adds up, and products that it does so for: so few that LLVM unrolls it, keeps
the sums in registers and makes vectors of the groups. A gradient takes a half to a fortieth of the time that it does
with a loop for each tap (3×3 to 7×7, a Zen 4); with 13 products or 14 rows, four to ten times as long as with these."""

MOST_PRODUCTS = 124
"""LLVM no longer makes vectors of the sum of more: with 125, a loop is five to ten times slower. Depthwise convolutions
of more are such sums all the same, for a matrix product would have a single column."""

FEWEST_GROUPS = 4
"""With fewer, vectors are mostly empty."""

CHANNELS_A_TAP, CHANNELS_OF_GROUPS = 2, 1.5
"""The most channels of a group, for each tap and for each group: with more, a matrix product has enough to do."""


def is_depthwise(geometry: ConvGeometry) -> bool:
    """Whether a group has one input."""
    return geometry.inputs_per_group == 1 and geometry.groups > 1


def pays(geometry: ConvGeometry) -> bool:
    """Whether every pass is quicker so than by a matrix product for each group.

    It is with many groups of few channels, but for windows of one tap; a depthwise convolution always is.
    """
    if is_depthwise(geometry):
        return True
    window, channels = math.prod(geometry.kernel_shape[:-2]), max(geometry.inputs_per_group, geometry.outputs_per_group)
    has_few_channels = channels <= min(CHANNELS_A_TAP * window, MOST_PRODUCTS // window)
    has_groups = geometry.groups >= max(FEWEST_GROUPS, channels / CHANNELS_OF_GROUPS)
    return window > 1 and has_few_channels and has_groups


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "n *output c_out"]:
    """y; in float32 or better."""
    dtype = accumulator(x.dtype)
    weights = _weights(kernel, geometry.groups, dtype)
    y = _convolve(_groups_last(x.astype(dtype), geometry.groups), weights, geometry.axes)
    return _channels_last(y).astype(x.dtype)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x, of g with zeros between its elements; in float32 or better."""
    dtype = accumulator(g.dtype)
    zeros = [(0, 0, stride - 1) for stride in geometry.strides]
    dilated = lax.pad(g.astype(dtype), jnp.zeros((), dtype), [(0, 0, 0), *zeros, (0, 0, 0)])
    weights = _weights(jnp.flip(kernel, range(kernel.ndim - 2)), geometry.groups, dtype).swapaxes(1, 2)
    x = _convolve(_groups_last(dilated, geometry.groups), weights, geometry.transposed.axes)
    return _channels_last(x).astype(g.dtype)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "*window c_group c_out"]:
    """∂L/∂w, in float32 or better; image by image, so that all taps find x and g cached."""
    dtype = accumulator(x.dtype)
    groups, sizes = geometry.groups, geometry.output_shape[1:-1]
    outputs = max(sizes)
    rows = outputs // -(-outputs // MOST_ROWS)
    whole = outputs - outputs % rows
    axis = 2 + sizes.index(outputs)

    def one_image(x, g):
        x, axes = padded_apart(_groups_last(x, groups), geometry.axes, always=geometry.inputs_per_group > 1)
        g = _groups_last(g, groups)
        g = kept_apart(g).astype(dtype) if len(g) > 1 else g.astype(dtype)  # turned once, not for each product
        products = [tap[i].astype(dtype) * g for tap in window_taps(x, axes, 0) for i in range(len(x))]
        blocks = [lax.slice_in_dim(p, 0, whole, axis=axis) for p in products]
        blocks = [p.reshape(*p.shape[:axis], whole // rows, rows, *p.shape[axis + 1 :]) for p in blocks]
        total = _sums(blocks, axis + 1)
        if whole < outputs:
            total += _sums([lax.slice_in_dim(p, whole, outputs, axis=axis) for p in products], axis)
        return [total]

    (gradient,) = sum_blocks(one_image, 1, x, g)
    return gradient.swapaxes(-1, -2).reshape(geometry.kernel_shape).astype(x.dtype)


def _groups_last(x: Float[Array, "n *spatial c"], groups: int) -> Float[Array, "c_group n *spatial groups"]:
    each = x.shape[-1] // groups
    return jnp.moveaxis(x.reshape(*x.shape[:-1], groups, each), -1, 0)


def _channels_last(x: Float[Array, "c_group n *spatial groups"]) -> Float[Array, "n *spatial c"]:
    each, *shape, groups = x.shape
    return jnp.moveaxis(x, 0, -1).reshape(*shape, each * groups)


def _weights(kernel: Array, groups: int, dtype) -> Float[Array, "taps i j groups"]:
    inputs, outputs = kernel.shape[-2:]
    each = outputs // groups
    return kernel.reshape(-1, inputs, groups, each).swapaxes(-1, -2).astype(dtype)


def _convolve(
    x: Float[Array, "i n *spatial groups"], weights: Float[Array, "taps i j groups"], axes: tuple[WindowAxis, ...]
) -> Float[Array, "j n *output groups"]:
    """The convolution, with loops of its own for what moves channels: they read and write in another order."""
    inputs, outputs = weights.shape[1:3]
    padded, axes = padded_apart(x, axes, always=inputs > 1)
    if outputs == 1:
        return _sum(axes, padded, weights)
    return call(functools.partial(_jitted, axes), padded, weights)


def _sum(
    axes: tuple[WindowAxis, ...], x: Float[Array, "i n *spatial groups"], weights: Float[Array, "taps i j groups"]
) -> Float[Array, "j n *output groups"]:
    """Product by product, in one loop."""
    outer = tuple(range(1, x.ndim - 1))
    products = (
        tap[i] * jnp.expand_dims(rows[i], outer)
        for tap, rows in zip(window_taps(x, axes, 0), weights, strict=True)
        for i in range(len(rows))
    )
    return functools.reduce(jnp.add, products)


_jitted = jax.jit(_sum, static_argnums=0)


def _sums(products: list[Array], rows_axis: int) -> Array:
    """Σ of each over all axes but the first and the last, first over the rows: a few in one loop, which reads g once.

    A loop of its own for each would read x and g from the cache as often as there are products.
    """
    sums = []
    for k in range(0, len(products), PRODUCTS_A_LOOP):
        some = products[k : k + PRODUCTS_A_LOOP]
        zeros = [jnp.zeros((), p.dtype) for p in some]
        sums += lax.reduce(some, zeros, functools.partial(jax.tree.map, jnp.add), (rows_axis,))
    return jnp.stack([jnp.sum(s, range(1, s.ndim - 1)) for s in sums])
