"""Convolution along three axes as one along two: the taps of the first axis become channels.

With planes as images of their own, x'[d, …, (t, c)] = x[d + t − p, …, c] and w'[…, (t, c)] = w[t, …, c],

    y[d] = conv(x'[d], w')        ∂L/∂w' = Σ_d kernel_gradient(x'[d], g[d])

and ∂L/∂x is likewise made of g'[d, …, (t, f)] = g[d − t + p, …, f]. What is left is what processors have libraries for,
and Winograd's algorithm along two axes is exact enough for windows with which it is not along three.
"""

import math
from collections.abc import Sequence
from functools import partial

from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops import direct, eigen, fft, im2col, polyphase, winograd
from jaxcnn.ops.blocks import images_per_block, map_blocks, sum_blocks
from jaxcnn.ops.geometry import ConvGeometry, Operation, WindowAxis
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.rule import rule_of_thumb
from jaxcnn.ops.strips import map_strips, sum_strips
from jaxcnn.ops.windows import window_taps

OF_A_PLANE = {
    "xla": direct,
    "eigen": eigen,
    "im2col": im2col,
    "winograd": winograd,
    "fft": fft,
    "polyphase": polyphase,
}
"""The modules that a plane's algorithm may be of, by its name."""

BLOCK_BYTES = 64 * 2**20
"""The largest x' that is made at once."""


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a convolution; None where it can do it."""
    if len(geometry.axes) != 3:
        return f"planes needs three spatial axes, found {len(geometry.axes)}"
    if geometry.groups != 1:
        return f"planes needs a feature_group_count of 1, found {geometry.groups}"
    first = geometry.axes[0]
    if first.stride != 1 or first.dilation != 1:
        return f"planes needs a stride and a dilation of 1 along the first axis, found {first.stride, first.dilation}"
    return None


def convolve(
    x: Float[Array, "n depth height width c_in"],
    kernel: Float[Array, "taps kh kw c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n depth_out height_out width_out c_out"]:
    """y[d] = conv(x'[d], w')."""
    inner = _of_a_plane(geometry, taps_in=len(kernel))
    return _each_plane("convolve", x, _taps_as_inputs(kernel), geometry.axes[0], inner, precision)


def input_gradient(
    g: Float[Array, "n depth_out height_out width_out c_out"],
    kernel: Float[Array, "taps kh kw c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n depth height width c_in"]:
    """∂L/∂x[d] = input_gradient(g'[d], w'), the taps of w' among its outputs."""
    inner = _of_a_plane(geometry, taps_out=len(kernel))
    turned = _taps_as_inputs(jnp.flip(kernel, 0).swapaxes(-1, -2)).swapaxes(-1, -2)
    return _each_plane("input_gradient", g, turned, geometry.axes[0].transposed, inner, precision)


def kernel_gradient(
    x: Float[Array, "n depth height width c_in"],
    g: Float[Array, "n depth_out height_out width_out c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "taps kh kw c_in c_out"]:
    """∂L/∂w' = Σ_d kernel_gradient(x'[d], g[d]), in float32 or better."""
    dtype, axis = accumulator(x.dtype), geometry.axes[0]
    inner = _of_a_plane(geometry, taps_in=axis.window)

    def block(x, g, axis=axis):
        planes, g = _planes(x.astype(dtype), axis), g.astype(dtype).reshape(-1, *g.shape[2:])
        return [_by_rule("kernel_gradient", planes, g, inner, precision)]

    rows, images = _block(axis, x, inner.input_shape)
    if rows:
        (gradient,) = sum_strips(partial(block, axis=_strip(axis, rows)), rows, axis, x, g)
    else:
        (gradient,) = sum_blocks(block, images, x, g)
    *window, _, c_out = gradient.shape
    return jnp.moveaxis(gradient.reshape(*window, axis.window, -1, c_out), -3, 0).astype(x.dtype)


def _of_a_plane(geometry: ConvGeometry, taps_in: int = 1, taps_out: int = 1) -> ConvGeometry:
    """The convolution of one image that is left, with taps among its inputs or outputs."""
    *plane, c_in = geometry.input_shape[2:]
    *window, _, c_out = geometry.kernel_shape[1:]
    kernel_shape = (*window, taps_in * c_in, taps_out * c_out)
    return ConvGeometry((1, *plane, taps_in * c_in), kernel_shape, geometry.axes[1:], 1)


def _each_plane(operation: Operation, a: Array, w: Array, axis: WindowAxis, inner: ConvGeometry, precision) -> Array:
    """The operation on each plane of what the windows see along the first axis, and w."""

    def block(a, axis=axis):
        y = _by_rule(operation, _planes(a, axis), w, inner, precision)
        return y.reshape(a.shape[0], axis.output_size, *y.shape[1:])

    shape = inner.input_shape if operation == "convolve" else inner.output_shape
    rows, images = _block(axis, a, shape)
    if rows:
        return map_strips(partial(block, axis=_strip(axis, rows)), rows, axis, a)
    return map_blocks(block, images, a)


def _by_rule(operation: Operation, a: Array, b: Array, geometry: ConvGeometry, precision) -> Array:
    """The operation by the algorithm that a CPU's rule of thumb has for so many images."""
    geometry = geometry.with_batch(a.shape[0])
    name = rule_of_thumb(operation, geometry, a.dtype, precision, "cpu")
    return getattr(OF_A_PLANE[name], operation)(a, b, geometry=geometry, precision=precision)


def _planes(x: Float[Array, "n depth *plane c"], axis: WindowAxis) -> Float[Array, "planes *plane taps_c"]:
    """x': the planes that each window sees, side by side."""
    n, depth, *plane, c = x.shape
    taps = window_taps(x.reshape(n, depth, math.prod(plane) * c), (axis,), 0)
    images = n * axis.output_size
    return jnp.stack([tap.reshape(images, *plane, c) for tap in taps], -2).reshape(images, *plane, axis.window * c)


def _taps_as_inputs(kernel: Float[Array, "taps *window c_in c_out"]) -> Float[Array, "*window taps_c_in c_out"]:
    """w'."""
    taps, *window, c_in, c_out = kernel.shape
    return jnp.moveaxis(kernel, 0, -3).reshape(*window, taps * c_in, c_out)


def _block(axis: WindowAxis, x: Array, plane_shape: Sequence[int]) -> tuple[int, int]:
    """Planes of a block, or 0 and the images of one: those whose x' has ``BLOCK_BYTES``."""
    planes = max(BLOCK_BYTES // max(math.prod(plane_shape) * x.dtype.itemsize, 1), 1)
    n, depth = x.shape[0], axis.output_size
    if not isinstance(n, int) or n * depth <= planes:
        return 0, n
    return (0, images_per_block(n, depth, planes)) if depth <= planes else (planes, 1)


def _strip(axis: WindowAxis, rows: int) -> WindowAxis:
    """The windows over a strip, which is padded already."""
    return axis._replace(size=rows + axis.window - 1, pad_lo=0, pad_hi=0)
