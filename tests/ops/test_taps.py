"""The sums of taps beside XLA's convolution."""

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases, random
from hypothesis import assume, given, settings
from jax import numpy as jnp
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import direct, taps
from jaxcnn.ops.geometry import ConvGeometry

DEPTHWISE = {
    "strides, two outputs each": CASES["depthwise"].geometry,
    "one output each": ConvGeometry.resolve(
        (3, 7, 6, 5), (3, 2, 1, 5), padding=((2, 1), (-1, 0)), feature_group_count=5
    ),
    "dilated": ConvGeometry.resolve((2, 9, 8, 3), (3, 3, 1, 9), kernel_dilation=(2, 1), feature_group_count=3),
    "one tap with strides": ConvGeometry.resolve((2, 9, 8, 3), (1, 1, 1, 6), strides=(2, 3), feature_group_count=3),
    "one channel": CASES["lab"].geometry,
    "no images": ConvGeometry.resolve((0, 5, 5, 2), (3, 3, 1, 2), feature_group_count=2),
    "rows left over": ConvGeometry.resolve((2, 13, 3, 2), (3, 2, 1, 4), feature_group_count=2),
    "one axis": ConvGeometry.resolve((3, 11, 4), (5, 1, 4), strides=2, feature_group_count=4),
    "three axes": ConvGeometry.resolve((2, 4, 5, 3, 2), (3, 2, 2, 1, 4), feature_group_count=2),
}
GEOMETRIES = {name: case.geometry for name, case in CASES.items()} | DEPTHWISE
all_types = pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])


def assert_same(f, of_xla, a, b, geometry):
    """f's result against that of XLA's in float64."""
    actual = quick_jit(f, static_argnums=2)(a, b, geometry)
    assert actual.dtype == a.dtype
    assert_close(actual, quick_jit(of_xla, static_argnums=2)(a.astype("float64"), b.astype("float64"), geometry))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@all_types
def test_the_sum_is_xlas_convolution(geometry, dtype):
    with jax.enable_x64(True):
        x, kernel, _ = random(geometry, dtype)
        assert_same(taps.convolve, direct.convolve, x, kernel, geometry)


@pytest.mark.parametrize("geometry", DEPTHWISE.values(), ids=DEPTHWISE)
@all_types
def test_the_depthwise_kernel_gradient_is_xlas(geometry, dtype):
    with jax.enable_x64(True):
        x, _, g = random(geometry, dtype)
        assert_same(taps.depthwise_kernel_gradient, direct.kernel_gradient, x, g, geometry)


@settings(max_examples=8)
@given(conv_cases())
def test_the_sum_is_xlas_for_any_case(case):
    assume(taps.products_per_output(case.geometry) <= 60)
    with jax.enable_x64(True):
        x, kernel, _ = random(case.geometry)
        assert_same(taps.convolve, direct.convolve, x, kernel, case.geometry)


def depthwise(case) -> ConvGeometry:
    """The case with one input channel a group."""
    kernel = (*case.kernel[:2], 1, case.kernel[-1])
    return ConvGeometry.resolve((*case.x[:-1], case.options["feature_group_count"]), kernel, **case.options)


@settings(max_examples=8)
@given(conv_cases().map(depthwise).filter(lambda geometry: taps.products_per_output(geometry) <= 30))
def test_the_depthwise_kernel_gradient_is_xlas_for_any_case(geometry):
    with jax.enable_x64(True):
        x, _, g = random(geometry)
        assert_same(taps.depthwise_kernel_gradient, direct.kernel_gradient, x, g, geometry)


@pytest.mark.parametrize(("name", "products"), [("lab", 9), ("strides", 27), ("groups", 18), ("depthwise", 9)])
def test_products_are_counted(name, products):
    assert taps.products_per_output(CASES[name].geometry) == products


def test_half_precision_is_summed_in_float32():
    geometry = ConvGeometry.resolve((4, 16, 16, 2), (1, 1, 1, 2), feature_group_count=2)
    ones = jnp.ones((4, 16, 16, 2), "bfloat16")
    gradient = taps.depthwise_kernel_gradient(ones, ones, geometry)  # in bfloat16 a sum of ones ends at 256
    np.testing.assert_array_equal(gradient.astype("float32"), np.full((1, 1, 1, 2), 1024))


def test_the_depthwise_kernel_gradient_makes_no_shifted_images():
    geometry = ConvGeometry.resolve((1, 64, 64, 16), (5, 5, 1, 16), feature_group_count=16)
    x, _, g = random(geometry, "float32")
    compiled = jax.jit(taps.depthwise_kernel_gradient, static_argnums=2).lower(x, g, geometry).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * x.nbytes  # x padded; an eighth of 25 taps' products


def test_only_matrix_free_loops_are_made():
    geometry = CASES["depthwise"].geometry
    x, kernel, g = random(geometry, "float32")
    for f, b in ((taps.convolve, kernel), (taps.depthwise_kernel_gradient, g)):
        text = jax.jit(f, static_argnums=2).lower(x, b, geometry).as_text()
        assert "stablehlo.dot_general" not in text
        assert "stablehlo.convolution" not in text
