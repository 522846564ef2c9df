"""Groups that are convolutions of their own, beside XLA's: values and gradients, any case."""

import jax
import pytest
from conv_cases import CASES, all_three, conv_cases, random, xlas
from hypothesis import HealthCheck, assume, given, settings
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn.ops import groupwise
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.rule import rule_of_thumb

GEOMETRIES = {
    "two": CASES["groups"].geometry,
    "three axes": ConvGeometry.resolve((2, 4, 5, 3, 6), (3, 2, 2, 2, 9), feature_group_count=3),
    "one axis": ConvGeometry.resolve((3, 11, 8), (5, 4, 6), strides=2, padding=((3, 1),), feature_group_count=2),
    "no images": ConvGeometry.resolve((0, 5, 5, 4), (3, 3, 2, 4), feature_group_count=2),
    "depthwise": CASES["depthwise"].geometry,
}
BY_WINOGRADS = ConvGeometry.resolve((8, 28, 28, 64), (3, 3, 32, 64), feature_group_count=2)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_it_is_the_convolution_and_its_gradients(geometry):
    with jax.enable_x64(True):
        jax.tree.map(assert_close, all_three(groupwise, geometry)(*random(geometry)), xlas(geometry))


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(conv_cases())
def test_random_cases(case):
    assume(groupwise.limit(case.geometry) is None)
    with jax.enable_x64(True):
        jax.tree.map(assert_close, all_three(groupwise, case.geometry)(*random(case.geometry)), xlas(case.geometry))


@pytest.mark.parametrize(("precision", "transformed"), [(None, True), ("highest", False)])
def test_a_group_has_the_algorithm_that_the_rule_has_for_it(precision, transformed):
    one = BY_WINOGRADS.of_one_group
    assert (rule_of_thumb("convolve", one, jnp.dtype("float32"), precision, "cpu") == "winograd") == transformed
    x, kernel, _ = random(BY_WINOGRADS, "float32")
    lowered = jax.jit(lambda x, kernel: groupwise.convolve(x, kernel, BY_WINOGRADS, precision=precision))
    assert ("stablehlo.convolution" not in lowered.lower(x, kernel).as_text()) == transformed


def test_all_groups_are_calls_of_one_function():
    x, kernel, _ = random(BY_WINOGRADS, "float32")
    text = jax.jit(lambda x, kernel: groupwise.convolve(x, kernel, BY_WINOGRADS)).lower(x, kernel).as_text()
    assert text.count("call @_one") == 2
    assert text.count("func.func private @_one") == 1


def test_without_groups_it_is_refused():
    assert groupwise.limit(CASES["groups"].geometry) is None
    assert groupwise.limit(CASES["lab"].geometry) == "groupwise needs a feature_group_count above 1, found 1"
