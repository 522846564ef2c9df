"""Depthwise convolutions beside XLA's."""

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases, random
from hypothesis import given, settings
from jax import numpy as jnp
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import depthwise, direct
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {
    "strides, two outputs each": CASES["depthwise"].geometry,
    "one output each": ConvGeometry.resolve(
        (3, 7, 6, 5), (3, 2, 1, 5), padding=((2, 1), (-1, 0)), feature_group_count=5
    ),
    "dilated": ConvGeometry.resolve((2, 9, 8, 3), (3, 3, 1, 9), kernel_dilation=(2, 1), feature_group_count=3),
    "one tap with strides": ConvGeometry.resolve((2, 9, 8, 3), (1, 1, 1, 6), strides=(2, 3), feature_group_count=3),
    "many taps": ConvGeometry.resolve((2, 8, 7, 3), (7, 7, 1, 6), padding=3, feature_group_count=3),
    "one channel": CASES["lab"].geometry,
    "no images": ConvGeometry.resolve((0, 5, 5, 2), (3, 3, 1, 2), feature_group_count=2),
    "rows left over": ConvGeometry.resolve((2, 13, 3, 2), (3, 2, 1, 4), feature_group_count=2),
    "one axis": ConvGeometry.resolve((3, 11, 4), (5, 1, 4), strides=2, feature_group_count=4),
    "three axes": ConvGeometry.resolve((2, 4, 5, 3, 2), (3, 2, 2, 1, 4), feature_group_count=2),
}
LARGE = ConvGeometry.resolve((1, 64, 64, 16), (5, 5, 1, 16), feature_group_count=16)


def assert_xlas(geometry, dtype="float64"):
    """All three against XLA's in float64."""
    with jax.enable_x64(True):
        x, kernel, g = random(geometry, dtype)
        for name, a, b in (("convolve", x, kernel), ("input_gradient", g, kernel), ("kernel_gradient", x, g)):
            actual = quick_jit(getattr(depthwise, name), static_argnums=2)(a, b, geometry)
            assert actual.dtype == dtype
            exact = quick_jit(getattr(direct, name), static_argnums=2)
            assert_close(actual, exact(a.astype("float64"), b.astype("float64"), geometry))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_each_is_xlas(geometry, dtype):
    assert_xlas(geometry, dtype)


def one_input_a_group(case) -> ConvGeometry:
    kernel = (*case.kernel[:2], 1, case.kernel[-1])
    return ConvGeometry.resolve((*case.x[:-1], case.options["feature_group_count"]), kernel, **case.options)


@settings(max_examples=8)
@given(conv_cases().map(one_input_a_group))
def test_each_is_xlas_for_any_case(geometry):
    assert_xlas(geometry)


def test_half_precision_is_summed_in_float32():
    geometry = ConvGeometry.resolve((4, 16, 16, 2), (1, 1, 1, 2), feature_group_count=2)
    ones = jnp.ones((4, 16, 16, 2), "bfloat16")
    gradient = depthwise.kernel_gradient(ones, ones, geometry)  # in bfloat16 a sum of ones ends at 256
    np.testing.assert_array_equal(gradient.astype("float32"), np.full((1, 1, 1, 2), 1024))


def test_the_kernel_gradient_makes_no_shifted_images():
    x, _, g = random(LARGE, "float32")
    compiled = jax.jit(depthwise.kernel_gradient, static_argnums=2).lower(x, g, LARGE).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * x.nbytes  # x padded; an eighth of 25 taps' products


def test_only_matrix_free_loops_are_made():
    x, kernel, g = random(GEOMETRIES["many taps"], "float32")
    for f, a, b in (
        (depthwise.convolve, x, kernel),
        (depthwise.input_gradient, g, kernel),
        (depthwise.kernel_gradient, x, g),
    ):
        text = jax.jit(f, static_argnums=2).lower(a, b, GEOMETRIES["many taps"]).as_text()
        assert "stablehlo.dot_general" not in text
        assert "stablehlo.convolution" not in text


@pytest.mark.parametrize(("groups", "inputs", "expected"), [(4, 4, True), (2, 4, False), (1, 1, False)])
def test_depthwise_is_one_input_a_group(groups, inputs, expected):
    geometry = ConvGeometry.resolve((1, 3, 3, inputs), (1, 1, inputs // groups, 4), feature_group_count=groups)
    assert depthwise.is_depthwise(geometry) is expected
