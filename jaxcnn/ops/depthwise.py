"""Depthwise convolution: each channel by itself, as fused loops over shifted images.

    y[n, o, f]    = Σ_t x[n, s·o + d·t − p, ⌊f/m⌋] · w[t, f]
    ∂L/∂x[n, i, c] = Σ_{t, j} g[n, o, c·m + j] · w[t, c·m + j]     over all o, t with s·o + d·t − p = i
    ∂L/∂w[t, f]   = Σ_{n, o} x[n, s·o + d·t − p, ⌊f/m⌋] · g[n, o, f]

with m outputs for each of the channels. A matrix product has nothing to reuse here. Of arrays whose last axis is all
channels, XLA's CPU backend makes loops that LLVM vectorises along it: what has an axis for m is copied first.
"""

import functools
from collections.abc import Iterator

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import sum_blocks
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import padded_apart, window_taps

MOST_ROWS, TAPS_A_LOOP = 8, 5
"""Rows of a kernel gradient that a loop adds up, and taps that it does so for: so few that LLVM unrolls it, keeps the
sums in registers and makes vectors of the channels. A gradient takes a half to a fortieth of the time that it does with
a loop for each tap (3×3 to 7×7, a Zen 4); with 13 taps or 14 rows a loop is four to ten times slower."""

MOST_TAPS = 128
"""LLVM no longer makes a good loop of the sum of more taps: 121 take 4 ms where 169 take 24."""


def is_depthwise(geometry: ConvGeometry) -> bool:
    """Whether a group has one input."""
    return geometry.inputs_per_group == 1 and geometry.groups > 1


def convolve(
    x: Float[Array, "n *spatial c"],
    kernel: Float[Array, "*window 1 c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "n *output c_out"]:
    """y, tap by tap; in float32 or better."""
    m = geometry.outputs_per_group
    x = x.astype(accumulator(x.dtype))
    repeated = jnp.repeat(x, m, -1) if m > 1 else x
    y = functools.reduce(jnp.add, _products(repeated, geometry.axes, _weights(kernel, x.dtype)))
    return y.astype(kernel.dtype)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window 1 c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "n *spatial c"]:
    """∂L/∂x, tap by tap, of g with zeros between its elements; in float32 or better."""
    m, dtype = geometry.outputs_per_group, accumulator(g.dtype)
    zeros = [(0, 0, stride - 1) for stride in geometry.strides]
    dilated = lax.pad(g.astype(dtype), jnp.zeros((), dtype), [(0, 0, 0), *zeros, (0, 0, 0)])
    weights = _weights(jnp.flip(kernel, range(kernel.ndim - 2)), dtype)
    axes = geometry.transposed.axes
    each = (_products(dilated[..., j::m], axes, weights[:, j::m]) for j in range(m))
    return functools.reduce(jnp.add, (product for products in each for product in products)).astype(g.dtype)


def kernel_gradient(
    x: Float[Array, "n *spatial c"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "*window 1 c_out"]:
    """∂L/∂w, in float32 or better; image by image, so that all taps find x and g cached."""
    dtype = accumulator(x.dtype)
    outputs = geometry.axes[0].output_size
    rows = outputs // -(-outputs // MOST_ROWS)
    whole = outputs - outputs % rows

    def one_image(x, g):
        padded, axes = padded_apart(x, geometry.axes)
        repeated = [jnp.repeat(tap, geometry.outputs_per_group, -1) for tap in window_taps(padded, axes, 0)]
        products = [tap.astype(dtype) * g.astype(dtype) for tap in repeated]
        blocks = [lax.reshape(p, (p.shape[0], whole // rows, rows, *p.shape[2:])) for p in _sliced(products, 0, whole)]
        total = _sums(blocks, 2)
        if whole < outputs:
            total += _sums(_sliced(products, whole, outputs), 1)
        return [total]

    (gradient,) = sum_blocks(one_image, 1, x, g)
    return gradient.reshape(geometry.kernel_shape).astype(x.dtype)


def _weights(kernel: Array, dtype) -> Array:
    """A row for each tap."""
    return kernel.reshape(-1, kernel.shape[-1]).astype(dtype)


def _products(x: Array, axes: tuple[WindowAxis, ...], weights: Array) -> Iterator[Array]:
    """What each tap sees of x, times its weights."""
    padded, axes = padded_apart(x, axes)
    outer = tuple(range(x.ndim - 1))
    for tap, row in zip(window_taps(padded, axes, 0), weights, strict=True):
        yield tap * jnp.expand_dims(row, outer)


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
