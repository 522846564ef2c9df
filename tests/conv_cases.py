"""One table of convolutions that every algorithm is tested on."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from quick import quick_jit

from jaxcnn.ops import direct
from jaxcnn.ops.geometry import ConvGeometry


class ConvCase(NamedTuple):
    """Shapes and options of one two-dimensional convolution."""

    x: tuple[int, int, int, int]
    kernel: tuple[int, int, int, int]
    options: Mapping[str, Any] = MappingProxyType({})

    def arrays(self, dtype="float64", seed=0):
        """x, kernel and a cotangent, drawn from the seed."""
        return random(self.geometry, dtype, seed)

    @property
    def geometry(self) -> ConvGeometry:
        return ConvGeometry.resolve(self.x, self.kernel, **self.options)


CASES = {
    "lab": ConvCase((10, 8, 8, 1), (3, 3, 1, 16)),
    "one pixel": ConvCase((2, 1, 1, 3), (1, 1, 3, 4)),
    "one pixel under a 3x3": ConvCase((2, 1, 1, 3), (3, 3, 3, 4)),
    "valid": ConvCase((2, 7, 6, 3), (3, 2, 3, 5), {"padding": "VALID"}),
    "strides": ConvCase((2, 9, 7, 3), (3, 3, 3, 4), {"strides": (2, 3)}),
    "stride larger than the window": ConvCase((2, 9, 9, 2), (2, 2, 2, 3), {"strides": 4, "padding": "VALID"}),
    "asymmetric padding": ConvCase((2, 6, 5, 3), (3, 3, 3, 4), {"padding": ((2, 0), (0, 3))}),
    "negative padding": ConvCase((2, 8, 7, 3), (3, 3, 3, 4), {"padding": ((-1, 2), (1, -2))}),
    "dilation": ConvCase((2, 9, 9, 2), (3, 3, 2, 3), {"kernel_dilation": (2, 3)}),
    "dilation and stride": ConvCase((2, 11, 9, 2), (3, 2, 2, 3), {"kernel_dilation": 2, "strides": 2, "padding": 1}),
    "even window": ConvCase((3, 6, 6, 2), (4, 2, 2, 3)),
    "7x7": ConvCase((1, 9, 8, 3), (7, 7, 3, 4), {"strides": 2}),
    "groups": ConvCase((2, 6, 6, 4), (3, 3, 2, 6), {"feature_group_count": 2}),
    "depthwise": ConvCase((2, 6, 6, 3), (3, 3, 1, 6), {"feature_group_count": 3, "strides": 2}),
    "no images": ConvCase((0, 5, 5, 2), (3, 3, 2, 3)),
}


@st.composite
def conv_cases(draw) -> ConvCase:
    """Any convolution that has an output: stride, pads, dilation, groups, odd sizes, 1x1 to 7x7."""
    size = st.integers(1, 9)
    window, strides, dilation = (draw(st.tuples(*[st.integers(1, most)] * 2)) for most in (7, 3, 3))
    pads = st.integers(-1, 4)
    padding = draw(st.one_of(st.just("SAME"), st.tuples(*[st.tuples(pads, pads)] * 2)))
    groups, k_in, per_group = draw(st.tuples(*[st.integers(1, 3)] * 3))
    extents = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    sizes = [draw(size) for _ in extents]
    if padding != "SAME":
        sizes = [max(i, e - sum(p), 1) for i, e, p in zip(sizes, extents, padding, strict=True)]
    return ConvCase(
        (draw(st.integers(1, 3)), *sizes, groups * k_in),
        (*window, k_in, groups * per_group),
        {
            "strides": strides,
            "padding": padding,
            "kernel_dilation": dilation,
            "feature_group_count": groups,
        },
    )


def random(geometry, dtype="float64", seed=0):
    """x, kernel and a cotangent; NumPy's, of which nothing is compiled."""
    rng = np.random.default_rng(seed)
    shapes = geometry.input_shape, geometry.kernel_shape, geometry.output_shape
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def stacked(arrays, in_axes):
    """Three of each array along its axis, for ``vmap``; one where that is None."""
    return [a if axis is None else np.stack([a, np.sin(a), -a], axis) for a, axis in zip(arrays, in_axes, strict=True)]


def all_three(algorithm, geometry, **options):
    """One program for the convolution and its gradients by a module of :mod:`jaxcnn.ops`; quickly compiled."""

    def three(x, kernel, g):
        return (
            algorithm.convolve(x, kernel, geometry, **options),
            algorithm.input_gradient(g, kernel, geometry, **options),
            algorithm.kernel_gradient(x, g, geometry, **options),
        )

    return quick_jit(three)


@cache
def xlas(geometry, dtype="float64"):
    """XLA's in float64, of ``random`` arrays rounded to a type: group by group, the input gradient as a convolution.

    Its own input gradient ends the process for some strides, dilations and windows larger than their image in float64:
    of (2, 6, 10, 3) by (2, 5, 3, 3), strides 2, dilation (1, 2), padding ((1, 2), (0, -1)), in jaxlib 0.10.2.
    """
    one = geometry.of_one_group
    each = (np.split(a.astype("float64"), geometry.groups, -1) for a in random(geometry, dtype))
    results = [_xlas_of_a_group(one, *arrays) for arrays in zip(*each, strict=True)]
    return tuple(np.concatenate(parts, -1) for parts in zip(*results, strict=True))


def _xlas_of_a_group(geometry, x, kernel, g):
    stretched = np.zeros(geometry.transposed.input_shape)
    stretched[:, *(slice(None, None, stride) for stride in geometry.strides)] = g
    rotated = np.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    conv, kernel_gradient = (quick_jit(f, static_argnums=2) for f in (direct.convolve, direct.kernel_gradient))
    return conv(x, kernel, geometry), conv(stretched, rotated, geometry.transposed), kernel_gradient(x, g, geometry)
