"""Strides turned into channels, beside XLA's convolution: every case and random ones, in any rank."""

import math

import jax
import pytest
from conv_cases import CASES, all_three, conv_cases, random, xlas
from hypothesis import HealthCheck, assume, given, settings
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn.ops import direct, polyphase, winograd
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {
    "one axis": ConvGeometry.resolve((2, 50, 3), (7, 3, 4), strides=3),
    "one stride of two": ConvGeometry.resolve((2, 9, 11, 2), (3, 4, 2, 3), strides=(1, 2)),
    "three axes": ConvGeometry.resolve(
        (2, 9, 8, 12, 2), (3, 2, 4, 2, 3), strides=(2, 1, 3), padding=((1, 0), (-1, 2), (3, -2))
    ),
    "a stride longer than the window": ConvGeometry.resolve((1, 11, 11, 2), (2, 3, 2, 3), strides=(3, 5)),
    "groups": ConvGeometry.resolve((2, 9, 7, 6), (5, 4, 2, 9), strides=2, feature_group_count=3),
    "depthwise": ConvGeometry.resolve((2, 9, 7, 5), (5, 5, 1, 5), strides=2, feature_group_count=5),
    "by Winograd's algorithm": ConvGeometry.resolve((2, 40, 44, 32), (5, 6, 32, 32), strides=2),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_it_is_the_convolution_and_its_gradients(geometry):
    with jax.enable_x64(True):
        jax.tree.map(assert_close, all_three(polyphase, geometry)(*random(geometry)), xlas(geometry))


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(conv_cases())
def test_random_cases(case):
    assume(polyphase.limit(case.geometry) is None)
    with jax.enable_x64(True):
        jax.tree.map(assert_close, all_three(polyphase, case.geometry)(*random(case.geometry)), xlas(case.geometry))


def test_what_is_left_is_done_by_winograds_algorithm_where_it_is_exact_enough():
    geometry = GEOMETRIES["by Winograd's algorithm"]
    inner = polyphase.with_strides_of_one(geometry)
    assert inner.kernel_shape == (3, 3, 128, 32)
    assert winograd.pays(inner, "float32", None)
    assert not winograd.pays(inner, "float32", "highest")
    arrays = random(geometry, "float32")
    for found, right in zip(all_three(polyphase, geometry)(*arrays), all_three(direct, geometry)(*arrays), strict=True):
        error = jnp.linalg.norm((found - right).ravel()) / jnp.linalg.norm(right.ravel())
        assert 1e-7 < error < 1e-5


@pytest.mark.parametrize(("size", "transformed"), [(16, False), (28, True)])
def test_input_gradients_whose_elements_fill_few_tiles_are_patches(size, transformed):
    """Of 8 and 14 outputs, with windows of 2 left, one element more: 9 and 15 in tiles of 4."""
    geometry = ConvGeometry.resolve((8, size, size, 64), (4, 4, 64, 64), strides=2)
    g, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (geometry.output_shape, geometry.kernel_shape))
    lowered = jax.jit(lambda g, kernel: polyphase.input_gradient(g, kernel, geometry)).lower(g, kernel)
    assert (lowered.as_text().count("stablehlo.dot_general") == 25) == transformed


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_convolution_left_has_the_same_output(geometry):
    inner = polyphase.with_strides_of_one(geometry)
    assert inner.output_shape == geometry.output_shape
    assert set(inner.strides) == {1}
    more = math.prod(inner.kernel_shape) / math.prod(geometry.kernel_shape)
    assert polyphase.products_with_zeros(geometry) == pytest.approx(more)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, "polyphase needs a stride above 1, found strides of 1"),
        ({"strides": 2, "kernel_dilation": (1, 2)}, "polyphase needs a kernel_dilation of 1, found (1, 2)"),
    ],
)
def test_its_limits(options, limit):
    assert polyphase.limit(ConvGeometry.resolve((1, 9, 9, 4), (3, 3, 4, 4), **options)) == limit


def test_some_cases_have_strides():
    assert sum(polyphase.limit(case.geometry) is None for case in CASES.values()) >= 3
