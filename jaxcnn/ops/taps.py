"""Convolution as one fused loop: each output is a sum of a few products, each tap a shifted image.

    y[n, o, f] = Σ_{t, c} x[n, s·o + d·t − p, c] · w[t, c, f]

Where an output has few products (a first layer's, one to three channels under a small window) a matrix product has
nothing to reuse, and XLA's CPU backend makes of this sum a loop that runs at the speed of the memory.
"""

import functools
import math

from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import padded_apart, window_taps


def products_per_output(geometry: ConvGeometry) -> int:
    """Terms of the sum over t and c."""
    return math.prod(geometry.kernel_shape[:-1])


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_in c_out"],
    geometry: ConvGeometry,
) -> Float[Array, "n *output c_out"]:
    """y, term by term; in float32 or better. Of one group."""
    dtype = accumulator(x.dtype)
    w = kernel.astype(dtype).reshape(-1, *kernel.shape[-2:])
    outer = tuple(range(x.ndim - 1))
    padded, axes = padded_apart(x.astype(dtype), geometry.axes)
    products = (
        tap[..., c, None] * jnp.expand_dims(row, outer)
        for tap, inputs in zip(window_taps(padded, axes, 0), w, strict=True)
        for c, row in enumerate(inputs)
    )
    return functools.reduce(jnp.add, products).astype(x.dtype)
