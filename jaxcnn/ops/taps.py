"""Convolution as one fused loop: each output is a sum of a few products, each tap a shifted image.

    y[n, o, γ, f]    = Σ_{t, j} x[n, s·o + d·t − p, γ, j] · w[t, j, γ, f]
    ∂L/∂w[t, 0, γ, f] = Σ_{n, o} x[n, s·o + d·t − p, γ, 0] · g[n, o, γ, f]

with γ the group, j its inputs and f its outputs. Where an output has few products (a first layer's, one to three
channels under a small window, or a depthwise convolution's) a matrix product has nothing to reuse, and XLA's CPU
backend makes of this sum a loop that runs at the speed of the memory.
"""

import functools
import math

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import sum_blocks
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import padded_apart, window_taps

MOST_ROWS, TAPS_A_LOOP = 8, 5
"""Rows of a depthwise kernel gradient that a loop adds up, and taps that it does so for: so few that LLVM unrolls it,
keeps the sums in registers and makes vectors of the channels. A gradient takes a half to a fortieth of the time that
it does with a loop for each tap (3×3 to 7×7, a Zen 4); with 13 taps or 14 rows a loop is four to ten times slower."""


def products_per_output(geometry: ConvGeometry) -> int:
    """Terms of the sum over t and j."""
    return math.prod(geometry.kernel_shape[:-1])


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "n *output c_out"]:
    """y, term by term; in float32 or better."""
    dtype = accumulator(x.dtype)
    w = kernel.astype(dtype).reshape(-1, geometry.inputs_per_group, geometry.groups, geometry.outputs_per_group)
    outer = tuple(range(x.ndim - 1))
    products = (
        tap[..., j, None] * jnp.expand_dims(row, outer)
        for tap, inputs in zip(_grouped_taps(x.astype(dtype), geometry), w, strict=True)
        for j, row in enumerate(inputs)
    )
    y = functools.reduce(jnp.add, products)
    return y.reshape(*y.shape[:-2], geometry.output_shape[-1]).astype(x.dtype)


def depthwise_kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "*window 1 c_out"]:
    """∂L/∂w of a convolution with one input channel a group; image by image, so that all taps find x and g cached."""
    dtype = accumulator(x.dtype)
    outputs = geometry.axes[0].output_size
    rows = outputs // -(-outputs // MOST_ROWS)
    whole = outputs - outputs % rows

    def one_image(x, g):
        # Each input as often as it has outputs: an axis for them would keep XLA from vectorising the sum.
        repeated = [jnp.repeat(tap[..., 0], geometry.outputs_per_group, -1) for tap in _grouped_taps(x, geometry)]
        products = [tap.astype(dtype) * g.astype(dtype) for tap in repeated]
        blocks = [lax.reshape(p, (p.shape[0], whole // rows, rows, *p.shape[2:])) for p in _sliced(products, 0, whole)]
        total = _sums(blocks, 2)
        if whole < outputs:
            total += _sums(_sliced(products, whole, outputs), 1)
        return [total]

    (gradient,) = sum_blocks(one_image, 1, x, g)
    return gradient.reshape(geometry.kernel_shape).astype(x.dtype)


def _sliced(products: list[Array], start: int, limit: int) -> list[Array]:
    return [lax.slice_in_dim(p, start, limit, axis=1) for p in products]


def _sums(products: list[Array], rows_axis: int) -> Array:
    """Σ of each over all axes but the last, first over the rows: a few of them in one loop, which reads g once.

    A loop of its own for each tap would read x and g from the cache as often as there are taps.
    """
    sums = []
    for i in range(0, len(products), TAPS_A_LOOP):
        some = products[i : i + TAPS_A_LOOP]
        zeros = [jnp.zeros((), p.dtype) for p in some]
        sums += lax.reduce(some, zeros, functools.partial(jax.tree.map, jnp.add), (rows_axis,))
    return jnp.stack([jnp.sum(s, range(s.ndim - 1)) for s in sums])


def _grouped_taps(x, geometry: ConvGeometry):
    padded, axes = padded_apart(x, geometry.axes)
    for tap in window_taps(padded, axes, 0):
        yield tap.reshape(*tap.shape[:-1], geometry.groups, geometry.inputs_per_group)
