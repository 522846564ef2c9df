"""Groups that are convolutions of their own, beside XLA's: values and gradients, any case."""

from functools import partial
from typing import Any

import jax
import pytest
from conv_cases import CASES, all_three, conv_cases, random, stacked, xlas
from hypothesis import HealthCheck, assume, given, settings
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P
from tolerances import assert_close

from jaxcnn.ops import conv2d, direct, groupwise
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


@pytest.mark.parametrize("in_axes", [(0, None, 0), (1, 0, 2)])
def test_vmap_over_images_and_over_all(in_axes):
    geometry = GEOMETRIES["two"]
    with jax.enable_x64(True):
        arrays = stacked(random(geometry), in_axes)
        both = [jax.vmap(all_three(algorithm, geometry), in_axes)(*arrays) for algorithm in (groupwise, direct)]
        jax.tree.map(assert_close, *both)


def test_one_program_for_all_platforms_and_batch_sizes():
    b: Any = jax.export.symbolic_shape("b")[0]
    geometry = GEOMETRIES["two"]
    x, kernel, g = random(geometry, "float32")
    specs = [jax.ShapeDtypeStruct((b, *a.shape[1:]), a.dtype) for a in (x, g)]
    three = all_three(groupwise, geometry.with_batch(b))
    program = jax.export.export(three, platforms=["cpu", "cuda", "tpu"])(specs[0], kernel, specs[1])
    jax.tree.map(assert_close, program.call(x, kernel, g), all_three(direct, geometry)(x, kernel, g))


def test_in_shard_map_each_device_has_its_images():
    geometry = GEOMETRIES["two"]
    x, kernel, _ = random(geometry, "float32")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    f = partial(conv2d, feature_group_count=2, algorithm="groupwise")
    sharded = jax.shard_map(f, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    assert_close(jax.jit(sharded)(x, kernel), direct.convolve(x, kernel, geometry))


def test_without_groups_it_is_refused():
    assert groupwise.limit(CASES["groups"].geometry) is None
    assert groupwise.limit(CASES["lab"].geometry) == "groupwise needs a feature_group_count above 1, found 1"
