"""Strided convolution as one with strides of 1 over the phases of x (space to depth).

With stride s, tap t = s q + φ of a window meets inputs of phase φ only, those s j + φ. With the phases of each axis as
channels, x'[j, (φ, c)] = x[s j + φ − p, c] and w'[q, (φ, c)] = w[s q + φ, c],

    y[o] = Σ_{q, φ, c} x'[o + q, (φ, c)] w'[q, (φ, c)]

steps by 1. Its window is ⌈r / s⌉ long, so that zeros are multiplied where s does not divide r. Both gradients are those
of that convolution, and the gradients of the rearrangement. What it gains: inputs are met without the zeros between the
elements of g that the input gradient of a strided convolution has, and Winograd's algorithm can do what is left. With
groups, each has the phases of its own inputs.
"""

import itertools
import math

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops import im2col, taps, winograd
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.windows import put_back

FEWER = 2**0.5
"""How many times fewer multiplications, for each axis, Winograd's are to leave of an input gradient: x' often has one
element more than tiles would fill."""


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a convolution; None where it can do it."""
    if all(stride == 1 for stride in geometry.strides):
        return "polyphase needs a stride above 1, found strides of 1"
    if any(dilation != 1 for dilation in geometry.kernel_dilation):
        return f"polyphase needs a kernel_dilation of 1, found {geometry.kernel_dilation}"
    return None


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """y = conv(x', w')."""
    inner = with_strides_of_one(geometry)
    f = _algorithm(inner, x.dtype, precision).convolve
    return f(_input_phases(x, geometry), _kernel_phases(kernel, geometry), inner, precision=precision)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x: that of x', its elements back in their places."""
    inner = with_strides_of_one(geometry)
    algorithm = _algorithm(inner, g.dtype, precision) if _tiles_fit(inner.transposed) else im2col
    gradient = algorithm.input_gradient(g, _kernel_phases(kernel, geometry), inner, precision=precision)
    return put_back(lambda x: _input_phases(x, geometry), geometry.input_shape, gradient)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_group c_out"]:
    """∂L/∂w: that of w', without the taps that are zeros."""
    inner = with_strides_of_one(geometry)
    f = _algorithm(inner, x.dtype, precision).kernel_gradient
    gradient = f(_input_phases(x, geometry), g, inner, precision=precision)
    return put_back(lambda kernel: _kernel_phases(kernel, geometry), geometry.kernel_shape, gradient)


def with_strides_of_one(geometry: ConvGeometry) -> ConvGeometry:
    """The convolution of x' with w'."""
    phases = math.prod(geometry.strides)
    n, *_, c_in = geometry.input_shape
    *_, c_group, c_out = geometry.kernel_shape
    axes = tuple(WindowAxis(o + q - 1, q, 1, 1, 0, 0) for o, q in zip(*_sizes(geometry), strict=True))
    window = tuple(axis.window for axis in axes)
    sizes = tuple(axis.size for axis in axes)
    kernel_shape = (*window, phases * c_group, c_out)
    return ConvGeometry((n, *sizes, phases * c_in), kernel_shape, axes, geometry.groups)


def products_with_zeros(geometry: ConvGeometry) -> float:
    """How many times as many products as the convolution has: ⌈r / s⌉ s / r of each axis."""
    return math.prod(-(-axis.window // axis.stride) * axis.stride / axis.window for axis in geometry.axes)


def _algorithm(inner: ConvGeometry, dtype, precision):
    return winograd if winograd.pays(inner, dtype, precision) else im2col


def _tiles_fit(geometry: ConvGeometry) -> bool:
    """Whether few enough elements of Winograd's tiles are none of the outputs."""
    if winograd.limit(geometry):
        return False
    summed = taps.products_per_output(geometry) * winograd.filled(geometry)
    fewer = summed / winograd.multiplications_per_output(geometry)
    return fewer >= FEWER ** len(winograd.windows_of(geometry))


def _sizes(geometry: ConvGeometry) -> tuple[list[int], list[int]]:
    """Outputs, and taps of w', of each axis."""
    return [axis.output_size for axis in geometry.axes], [-(-axis.window // axis.stride) for axis in geometry.axes]


def _input_phases(x: Array, geometry: ConvGeometry) -> Array:
    """x', the phases of each group's inputs beside each other."""
    pads = []
    for axis, o, q in zip(geometry.axes, *_sizes(geometry), strict=True):
        pads.append((axis.pad_lo, (o + q - 1) * axis.stride - axis.size - axis.pad_lo, 0))
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    with_groups = padded.reshape(*padded.shape[:-1], geometry.groups, geometry.inputs_per_group)
    phases = jax.vmap(lambda x: _space_to_depth(x, 1, geometry.strides), in_axes=-2, out_axes=-2)(with_groups)
    inner = with_strides_of_one(geometry)
    return lax.optimization_barrier(phases.reshape(inner.input_shape))


def _kernel_phases(kernel: Array, geometry: ConvGeometry) -> Array:
    """w'."""
    pads = [(0, q * axis.stride - axis.window, 0) for axis, q in zip(geometry.axes, _sizes(geometry)[1], strict=True)]
    padded = lax.pad(kernel, jnp.zeros((), kernel.dtype), [*pads, (0, 0, 0), (0, 0, 0)])
    return lax.optimization_barrier(_space_to_depth(padded, 0, geometry.strides))


def _space_to_depth(array: Array, first: int, strides: tuple[int, ...]) -> Array:
    """Axes from ``first`` on in steps of the strides; the phases join the axis behind them, in row-major order."""
    before, (channels, *behind) = array.shape[:first], array.shape[first + len(strides) :]
    counts = [size // stride for size, stride in zip(array.shape[first:], strides, strict=False)]
    split = array.reshape(*before, *itertools.chain(*zip(counts, strides, strict=True)), channels, *behind)
    phases = range(first + 1, first + 2 * len(strides), 2)
    order = [axis for axis in range(split.ndim) if axis not in phases]
    order[first + len(strides) : first + len(strides)] = phases
    return split.transpose(order).reshape(*before, *counts, math.prod(strides) * channels, *behind)
