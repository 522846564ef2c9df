"""The sums of taps beside XLA's convolution."""

import jax
import pytest
from conv_cases import CASES, conv_cases, random
from hypothesis import assume, given, settings
from jax import numpy as jnp
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import direct, taps
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {name: case.geometry for name, case in CASES.items() if case.geometry.groups == 1} | {
    "no images": ConvGeometry.resolve((0, 5, 5, 2), (3, 3, 2, 2)),
    "one axis": ConvGeometry.resolve((3, 11, 4), (5, 4, 4), strides=2),
    "three axes": ConvGeometry.resolve((2, 4, 5, 3, 2), (3, 2, 2, 2, 4)),
}


def assert_xlas(geometry, dtype="float64"):
    """The sum against XLA's in float64."""
    with jax.enable_x64(True):
        x, kernel, _ = random(geometry, dtype)
        actual = quick_jit(taps.convolve, static_argnums=2)(x, kernel, geometry)
        assert actual.dtype == x.dtype
        exact = quick_jit(direct.convolve, static_argnums=2)
        assert_close(actual, exact(x.astype("float64"), kernel.astype("float64"), geometry))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_sum_is_xlas_convolution(geometry, dtype):
    assert_xlas(geometry, dtype)


@settings(max_examples=8)
@given(conv_cases())
def test_the_sum_is_xlas_for_any_case(case):
    assume(case.geometry.groups == 1 and taps.products_per_output(case.geometry) <= 60)
    assert_xlas(case.geometry)


@pytest.mark.parametrize(("name", "products"), [("lab", 9), ("strides", 27), ("groups", 18), ("depthwise", 9)])
def test_products_are_counted(name, products):
    assert taps.products_per_output(CASES[name].geometry) == products


def test_half_precision_is_summed_in_float32():
    geometry = ConvGeometry.resolve((1, 300, 1), (300, 1, 1), padding="VALID")
    y = taps.convolve(jnp.ones((1, 300, 1), "bfloat16"), jnp.ones((300, 1, 1), "bfloat16"), geometry)
    assert y[0, 0, 0] == 300  # in bfloat16 a sum of ones ends at 256


def test_it_is_a_matrix_free_loop():
    x, kernel, _ = random(CASES["lab"].geometry, "float32")
    text = jax.jit(taps.convolve, static_argnums=2).lower(x, kernel, CASES["lab"].geometry).as_text()
    assert "stablehlo.dot_general" not in text
    assert "stablehlo.convolution" not in text
