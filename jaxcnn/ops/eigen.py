"""XLA's own convolution, in a form that its CPU backend gives to Eigen.

The CPU backend has two libraries. Most convolutions of images in float32 go to the one that is named YNNPACK, which
uses one core and copies patches; Eigen's makes patches while it packs them for a matrix product, on all cores. It is
given what the other does not know: zeros between the elements of x. With zeros between those of w too, and twice the
stride, they meet nothing:

    y[o] = Σ_t x[s·o + d·t − p] · w[t] = Σ_t x₂[2 s·o + 2 d·t − 2 p] · w[t]      x₂[2 i] = x[i], zeros elsewhere

Along one axis that is enough. No zero is stored or multiplied: they are the window's numbers. Input and kernel
gradient are convolutions too (:mod:`jaxcnn.ops.direct`); with strides, zeros are between the elements of g already. The
axes are put in Eigen's order here: XLA does so itself, but not inside a loop, where its kernel gradient is a hundred
times slower for that.
"""

import math
from typing import NamedTuple

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.blocks import images_per_block, sum_blocks
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.precision import accumulator

YNNPACK_CHANNELS = 16
"""Convolutions with so many channels or fewer are Eigen's as they are."""

ENOUGH_IMAGES, MOST_STRIPS = 16, 8
"""A kernel gradient cuts fewer images than that into strips, as many together; but no image into more than so many."""

WHOLE_BYTES, BLOCK_BYTES = 24 * 2**20, 16 * 2**20
"""Up to this size x and g are turned whole; larger ones block by block, in memory that is taken once: beyond 32 MiB the
C library returns a program's temporary memory after each call, and the next one waits for the system to clear it."""


class _Axis(NamedTuple):
    """One spatial axis of XLA's convolution: ``outputs`` windows of ``window`` taps over ``size`` elements."""

    size: int
    window: int
    outputs: int
    stride: int
    dilation: int
    input_dilation: int
    pad_lo: int

    @property
    def pads(self) -> tuple[int, int]:
        """(lo, hi); hi is what the last window needs, or crops."""
        needed = (self.outputs - 1) * self.stride + (self.window - 1) * self.dilation + 1
        return self.pad_lo, needed - (self.size - 1) * self.input_dilation - 1 - self.pad_lo

    @property
    def doubled(self) -> "_Axis":
        """The same windows with a zero behind every input."""
        return self._replace(
            stride=2 * self.stride,
            dilation=2 * self.dilation,
            input_dilation=2 * self.input_dilation,
            pad_lo=2 * self.pad_lo,
        )


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a convolution; None where it can do it."""
    if geometry.groups != 1:
        return f"eigen needs a feature_group_count of 1, found {geometry.groups}"
    if len(geometry.axes) > 2:
        return f"eigen needs 1 or 2 spatial axes, found {len(geometry.axes)}"
    return None


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """The convolution y."""
    axes = [_Axis(a.size, a.window, a.output_size, a.stride, a.dilation, 1, a.pad_lo) for a in geometry.axes]
    return _convolve(x, kernel, axes, precision)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x: g, dilated by the strides, convolved with the rotated kernel, its channels swapped."""
    rotated = jnp.flip(kernel, range(len(geometry.axes))).swapaxes(-1, -2)
    axes = [
        _Axis(a.output_size, a.window, a.size, 1, a.dilation, a.stride, a.extent - 1 - a.pad_lo) for a in geometry.axes
    ]
    return _convolve(g, rotated, axes, precision)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_in c_out"]:
    """∂L/∂w: x convolved with g as its window, dilated by the strides; channels are images, and images channels."""

    def turned(x, g):
        x, g, axes = _cut_into_strips(x, g, geometry)
        axes = [_Axis(a.size, a.output_size, a.window, a.dilation, a.stride, 1, a.pad_lo) for a in axes]
        # Barriers: XLA takes a transposition into the convolution, whose axes are then no longer in Eigen's order.
        images, window = lax.optimization_barrier((jnp.swapaxes(x, 0, -1), jnp.moveaxis(g, 0, -2)))
        gradient = lax.optimization_barrier(_convolve(images, window, axes, precision))
        return [gradient.astype(accumulator(x.dtype))]

    block = _images_per_block(geometry, x.dtype.itemsize)
    (gradient,) = turned(x, g) if block == x.shape[0] else sum_blocks(turned, block, x, g)
    return jnp.moveaxis(gradient, 0, -2).astype(x.dtype)


def _images_per_block(geometry: ConvGeometry, itemsize: int):
    """All, or as many as have ``BLOCK_BYTES`` of x and g."""
    n = geometry.input_shape[0]
    image_bytes = itemsize * sum(math.prod(shape[1:]) for shape in (geometry.input_shape, geometry.output_shape))
    if not isinstance(n, int) or n * image_bytes <= WHOLE_BYTES:
        return n
    return images_per_block(n, max(image_bytes, BLOCK_BYTES // ENOUGH_IMAGES), BLOCK_BYTES)


def _cut_into_strips(x: Array, g: Array, geometry: ConvGeometry) -> tuple[Array, Array, tuple[WindowAxis, ...]]:
    """The same kernel gradient of more images: rows of outputs, each with the rows of x that its windows reach.

    Images are the channels of that convolution, which Eigen fills its vectors with.
    """
    n, axis = x.shape[0], geometry.axes[0]
    if not isinstance(n, int) or not 0 < n < ENOUGH_IMAGES:
        return x, g, geometry.axes
    rows = -(-axis.output_size // min(ENOUGH_IMAGES // n, MOST_STRIPS))
    count = -(-axis.output_size // rows)
    size, step = (rows - 1) * axis.stride + axis.extent, rows * axis.stride
    x = _pad_rows(x, axis.pad_lo, (count - 1) * step + size)
    g = _pad_rows(g, 0, count * rows)
    x = jnp.concatenate([lax.slice_in_dim(x, i * step, i * step + size, axis=1) for i in range(count)])
    g = jnp.concatenate([lax.slice_in_dim(g, i * rows, (i + 1) * rows, axis=1) for i in range(count)])
    strip = axis._replace(size=size, pad_lo=0, pad_hi=0)
    return x, g, (strip, *geometry.axes[1:])


def _pad_rows(array: Array, lo: int, size: int) -> Array:
    """Zeros before the first axis of an image, and behind it up to that size; or it is cropped to it."""
    pads = [(0, 0, 0)] * array.ndim
    pads[1] = (lo, size - array.shape[1] - lo, 0)
    return lax.pad(array, jnp.zeros((), array.dtype), pads)


def _convolve(x: Array, kernel: Array, axes: list[_Axis], precision) -> Array:
    if (
        len(axes) == 2
        and max(x.shape[-1], kernel.shape[-1]) > YNNPACK_CHANNELS
        and max(a.input_dilation for a in axes) == 1
    ):
        number = 0 if axes[0].size > 1 else 1  # XLA forgets the dilation of a single element
        axes = [axis.doubled if i == number else axis for i, axis in enumerate(axes)]
    spatial = "HW"[-len(axes) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=[axis.stride for axis in axes],
        padding=[axis.pads for axis in axes],
        lhs_dilation=[axis.input_dilation for axis in axes],
        rhs_dilation=[axis.dilation for axis in axes],
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        precision=precision,
    )
