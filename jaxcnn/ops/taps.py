"""Convolution as one fused loop: each output is a sum of a few products, each tap a shifted image.

    y[n, o, γ, f]    = Σ_{t, j} x[n, s·o + d·t − p, γ, j] · w[t, j, γ, f]
    ∂L/∂w[t, 0, γ, f] = Σ_{n, o} x[n, s·o + d·t − p, γ, 0] · g[n, o, γ, f]

with γ the group, j its inputs and f its outputs. Where an output has few products (a first layer's, one to three
channels under a small window, or a depthwise convolution's) a matrix product has nothing to reuse, and XLA's CPU
backend makes of this sum a loop that runs at the speed of the memory.
"""

import functools
import math

from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import sum_blocks
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import padded_apart, window_taps


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
    summed = tuple(range(x.ndim - 1))

    def one_image(x, g):
        # Each input as often as it has outputs: an axis for them would keep XLA from vectorising the sum.
        repeated = [jnp.repeat(tap[..., 0], geometry.outputs_per_group, -1) for tap in _grouped_taps(x, geometry)]
        return [jnp.sum(tap.astype(dtype) * g.astype(dtype), summed) for tap in repeated]

    return jnp.stack(sum_blocks(one_image, 1, x, g)).reshape(geometry.kernel_shape).astype(x.dtype)


def _grouped_taps(x, geometry: ConvGeometry):
    padded, axes = padded_apart(x, geometry.axes)
    for tap in window_taps(padded, axes, 0):
        yield tap.reshape(*tap.shape[:-1], geometry.groups, geometry.inputs_per_group)
