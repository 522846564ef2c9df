"""Matrix products over patches beside XLA's convolution: every case, type and block."""

import math
from functools import partial
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
from conv_cases import CASES, all_three, conv_cases, random, stacked, xlas
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn.ops import direct, im2col
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {name: case.geometry for name, case in CASES.items()} | {
    "one tap with strides": ConvGeometry.resolve((3, 7, 6, 4), (1, 1, 4, 5), strides=(2, 3)),
    "one tap with pads and groups": ConvGeometry.resolve(
        (2, 5, 4, 4), (1, 1, 2, 6), padding=((2, 0), (-1, 1)), feature_group_count=2
    ),
    "depthwise, one output each": ConvGeometry.resolve(
        (3, 7, 6, 5), (3, 2, 1, 5), strides=(1, 2), padding=((2, 1), (-1, 0)), feature_group_count=5
    ),
    "depthwise, dilated, two outputs each": ConvGeometry.resolve(
        (2, 9, 8, 3), (3, 3, 1, 6), kernel_dilation=(2, 1), feature_group_count=3
    ),
    "depthwise 7x7": ConvGeometry.resolve((2, 8, 7, 3), (7, 7, 1, 3), feature_group_count=3),
    "many products": ConvGeometry.resolve((3, 6, 5, 8), (3, 3, 8, 4), strides=2),
    "groups of many products": ConvGeometry.resolve((3, 6, 5, 8), (3, 3, 4, 4), feature_group_count=2),
    "rows of whole vectors": ConvGeometry.resolve((3, 5, 4, 16), (3, 2, 16, 4)),
    "groups of rows of whole vectors": ConvGeometry.resolve((2, 5, 4, 16), (2, 3, 8, 6), feature_group_count=2),
    "one axis": ConvGeometry.resolve((3, 11, 4), (5, 4, 3), strides=2, padding=((3, 1),)),
    "three axes": ConvGeometry.resolve((3, 4, 5, 3, 4), (3, 2, 2, 2, 4), strides=(1, 2, 1), feature_group_count=2),
}
all_geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def assert_same_as_xlas(geometry, dtype="float64"):
    with jax.enable_x64(True):
        actual = all_three(im2col, geometry)(*random(geometry, dtype))
        assert all(a.dtype == dtype for a in actual)
        jax.tree.map(assert_close, actual, xlas(geometry, dtype))


@all_geometries
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_each_case_is_xlas_convolution_and_its_gradients(geometry, dtype):
    assert im2col.limit(geometry) is None
    assert_same_as_xlas(geometry, dtype)


@settings(max_examples=10)
@given(conv_cases(), st.sampled_from([1, 3000, im2col.BLOCK_BYTES]))
def test_any_case_in_blocks_of_any_size_is_xlas(case, block_bytes):
    with mock.patch.object(im2col, "BLOCK_BYTES", block_bytes):
        assert_same_as_xlas(case.geometry)


@pytest.mark.parametrize("name", ["lab", "strides", "groups", "depthwise", "even window", "three axes", "no images"])
def test_one_image_a_block_is_xlas(name, monkeypatch):
    monkeypatch.setattr(im2col, "BLOCK_BYTES", 1)
    assert_same_as_xlas(GEOMETRIES[name])


@pytest.mark.parametrize("images", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_blocks_that_do_and_do_not_divide_the_images_are_xlas(images, dtype, monkeypatch):
    geometry = GEOMETRIES["many products"].with_batch(7)
    patch_bytes = 3 * 3 * 9 * 8 * np.dtype(jnp.dtype(dtype)).itemsize
    monkeypatch.setattr(im2col, "BLOCK_BYTES", images * patch_bytes)
    assert_same_as_xlas(geometry, dtype)


@pytest.mark.parametrize("few", [0, 1000], ids=["matrix products", "sums"])
@pytest.mark.parametrize("name", ["lab", "dilation and stride", "depthwise", "negative padding", "7x7"])
def test_products_and_sums_are_both_xlas(name, few, monkeypatch):
    monkeypatch.setattr(im2col, "FEW_PRODUCTS", few)
    monkeypatch.setattr(im2col, "SMALL_BYTES", 0)
    assert_same_as_xlas(GEOMETRIES[name])


def test_few_products_are_a_matrix_product_only_in_small_arrays():
    def program(geometry):
        x, kernel, _ = random(geometry, "float32")
        return str(jax.make_jaxpr(partial(im2col.convolve, geometry=geometry))(x, kernel))

    lab = GEOMETRIES["lab"]
    assert "dot_general" in program(lab)
    assert "dot_general" not in program(lab.with_batch(1000))
    assert "dot_general" not in program(GEOMETRIES["depthwise"])


@pytest.mark.parametrize("in_axes", [(0, None, 0), (1, 0, 2)])
@pytest.mark.parametrize("name", ["groups of many products", "depthwise", "lab"])
def test_vmap_over_images_and_over_all(name, in_axes):
    geometry = GEOMETRIES[name]
    with jax.enable_x64(True):
        arrays = stacked(random(geometry), in_axes)
        both = [jax.vmap(all_three(algorithm, geometry), in_axes)(*arrays) for algorithm in (im2col, direct)]
        jax.tree.map(assert_close, *both)


@pytest.mark.parametrize("name", ["many products", "groups of many products", "lab", "depthwise"])
def test_one_program_for_all_platforms_and_batch_sizes(name):
    b: Any = jax.export.symbolic_shape("b")[0]
    geometry = GEOMETRIES[name]
    x, kernel, g = random(geometry, "float32")
    specs = [jax.ShapeDtypeStruct((b, *a.shape[1:]), a.dtype) for a in (x, g)]
    three = all_three(im2col, geometry.with_batch(b))
    program = jax.export.export(three, platforms=["cpu", "cuda", "tpu"])(specs[0], kernel, specs[1])
    jax.tree.map(assert_close, program.call(x, kernel, g), all_three(direct, geometry)(x, kernel, g))


@pytest.mark.parametrize("name", ["many products", "groups of many products"])
def test_each_pass_is_one_matrix_product_of_the_precision_asked_for(name):
    geometry = GEOMETRIES[name]
    x, kernel, g = random(geometry, "float32")
    calls = [(im2col.convolve, x, kernel), (im2col.input_gradient, g, kernel), (im2col.kernel_gradient, x, g)]
    for f, *args in calls:
        text = jax.jit(partial(f, geometry=geometry, precision="highest")).lower(*args).as_text()
        assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("stablehlo.dot_general") == 1
        assert "stablehlo.convolution" not in text


@pytest.mark.parametrize(("inputs", "shape"), [(16, (4, 144)), (15, (135, 4))])
def test_kernel_gradients_are_turned_where_patches_are_whole_vectors(inputs, shape):
    geometry = ConvGeometry.resolve((2, 5, 5, inputs), (3, 3, inputs, 4), strides=2)
    x, _, g = random(geometry, "float32")
    jaxpr = jax.make_jaxpr(partial(im2col.kernel_gradient, geometry=geometry))(x, g)
    assert [e.outvars[0].aval.shape for e in jaxpr.eqns if e.primitive.name == "dot_general"] == [shape]


def test_half_precision_is_summed_in_float32_over_all_images():
    geometry = ConvGeometry.resolve((512, 2, 2, 1), (1, 1, 1, 1))
    ones = jnp.ones((512, 2, 2, 1), "bfloat16")
    assert im2col.kernel_gradient(ones, ones, geometry)[0, 0, 0, 0] == 2048  # in bfloat16 a sum of ones ends at 256


@pytest.mark.parametrize("name", ["valid", "strides", "groups", "one axis"])
def test_patches_times_the_kernels_columns_are_the_outputs(name):
    geometry = GEOMETRIES[name]
    x, kernel, _ = random(geometry, "float32")
    p = jax.jit(im2col.patches, static_argnums=1)(x, geometry)
    rows = math.prod(geometry.kernel_shape[:-1])
    groups = (geometry.groups,) if geometry.groups > 1 else ()
    assert p.shape == (*geometry.output_shape[:-1], *groups, rows)
    first = p[..., 0, :] if groups else p
    y = jnp.einsum("...r,r->...", first, kernel[..., 0].reshape(rows), precision="highest")
    assert_close(y, direct.convolve(x, kernel, geometry)[..., 0])


def test_tiny_is_what_fits_an_l1_cache():
    geometry = ConvGeometry.resolve((2, 4, 4, 8), (3, 3, 8, 16))
    bytes_of_p = 2 * 4 * 4 * 9 * 8 * 4
    assert bytes_of_p <= im2col.TINY_BYTES < 4 * bytes_of_p
    assert im2col.is_tiny(geometry, 4)
    assert not im2col.is_tiny(geometry.with_batch(8), 4)
    b: Any = jax.export.symbolic_shape("b")[0]
    assert not im2col.is_tiny(geometry.with_batch(b), 4)


def test_a_kernel_gradient_of_one_tap_copies_nothing():
    geometry = ConvGeometry.resolve((2, 8, 8, 64), (1, 1, 64, 32))
    x, _, g = random(geometry, "float32")
    compiled = jax.jit(partial(im2col.kernel_gradient, geometry=geometry)).lower(x, g).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes
