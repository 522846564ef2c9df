"""Convolutions of groups with few channels, depthwise ones among them, beside XLA's."""

import jax
import numpy as np
import pytest
from conv_cases import CASES, all_three, conv_cases, random, xlas
from hypothesis import given, settings
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn.ops import grouped
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {
    "strides, two outputs each": CASES["depthwise"].geometry,
    "one output each": ConvGeometry.resolve(
        (3, 7, 6, 5), (3, 2, 1, 5), padding=((2, 1), (-1, 0)), feature_group_count=5
    ),
    "dilated": ConvGeometry.resolve((2, 9, 8, 3), (3, 3, 1, 9), kernel_dilation=(2, 1), feature_group_count=3),
    "one tap with strides": ConvGeometry.resolve((2, 9, 8, 3), (1, 1, 1, 6), strides=(2, 3), feature_group_count=3),
    "many taps": ConvGeometry.resolve((2, 8, 7, 3), (7, 7, 1, 6), padding=3, feature_group_count=3),
    "several inputs and outputs": ConvGeometry.resolve((2, 6, 7, 12), (3, 2, 3, 8), feature_group_count=4),
    "several inputs, one output": ConvGeometry.resolve((2, 6, 7, 8), (3, 3, 2, 4), feature_group_count=4),
    "groups, strides and dilation": ConvGeometry.resolve(
        (2, 11, 9, 10), (3, 2, 2, 15), strides=(2, 1), kernel_dilation=(1, 2), feature_group_count=5
    ),
    "groups of one tap": ConvGeometry.resolve((2, 4, 3, 8), (1, 1, 2, 8), feature_group_count=4),
    "a row of images": ConvGeometry.resolve((2, 1, 29, 8), (1, 5, 2, 8), feature_group_count=4),
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
        actual = all_three(grouped, geometry)(*random(geometry, dtype))
        assert {a.dtype for a in actual} == {jnp.dtype(dtype)}
        jax.tree.map(assert_close, actual, xlas(geometry, dtype))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_each_is_xlas(geometry, dtype):
    assert_xlas(geometry, dtype)


@settings(max_examples=12)
@given(conv_cases())
def test_each_is_xlas_for_any_case(case):
    assert_xlas(case.geometry)


def test_half_precision_is_summed_in_float32():
    geometry = ConvGeometry.resolve((4, 16, 16, 2), (1, 1, 1, 2), feature_group_count=2)
    ones = jnp.ones((4, 16, 16, 2), "bfloat16")
    gradient = grouped.kernel_gradient(ones, ones, geometry)  # in bfloat16 a sum of ones ends at 256
    np.testing.assert_array_equal(gradient.astype("float32"), np.full((1, 1, 1, 2), 1024))


def test_the_kernel_gradient_makes_no_shifted_images():
    x, _, g = random(LARGE, "float32")
    compiled = jax.jit(grouped.kernel_gradient, static_argnums=2).lower(x, g, LARGE).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * x.nbytes  # x padded; an eighth of 25 taps' products


def test_only_matrix_free_loops_are_made():
    for geometry in (GEOMETRIES["many taps"], GEOMETRIES["several inputs and outputs"]):
        text = all_three(grouped, geometry).lower(*random(geometry, "float32")).as_text()
        assert "stablehlo.dot_general" not in text
        assert "stablehlo.convolution" not in text


@pytest.mark.parametrize(("groups", "inputs", "expected"), [(4, 4, True), (2, 4, False), (1, 1, False)])
def test_depthwise_is_one_input_a_group(groups, inputs, expected):
    geometry = ConvGeometry.resolve((1, 3, 3, inputs), (1, 1, inputs // groups, 4), feature_group_count=groups)
    assert grouped.is_depthwise(geometry) is expected


@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "window", "expected"),
    [
        (8, 1, 1, (1, 1), True),
        (2, 1, 9, (13, 13), True),
        (4, 4, 4, (3, 3), True),
        (3, 4, 4, (3, 3), False),
        (8, 13, 2, (3, 3), False),
        (9, 13, 2, (3, 3), True),
        (9, 2, 13, (3, 3), True),
        (16, 14, 14, (3, 3), False),
        (16, 7, 7, (1, 3), False),
        (16, 4, 4, (1, 1), False),
        (1, 1, 4, (3, 3), False),
    ],
)
def test_it_pays_for_many_groups_of_few_channels(groups, inputs, outputs, window, expected):
    geometry = ConvGeometry.resolve(
        (1, 14, 14, groups * inputs), (*window, inputs, groups * outputs), feature_group_count=groups
    )
    assert grouped.pays(geometry) is expected


def test_what_moves_channels_is_not_part_of_the_sums_loop():
    geometry = ConvGeometry.resolve((4, 14, 14, 64), (3, 3, 4, 64), feature_group_count=16)
    x, kernel, _ = random(geometry, "float32")
    text = jax.jit(grouped.convolve, static_argnums=2).lower(x, kernel, geometry).compile().as_text()
    assert " call(" in text
