"""Convolution by spectra beside XLA's: every case in tiles, some of them whole, and how the tiles are chosen."""

import math
from functools import partial
from unittest import mock

import jax
import numpy as np
import pytest
from conv_cases import CASES, all_three, conv_cases, random, stacked, xlas
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from jaxcnn.ops import direct, fft
from jaxcnn.ops.geometry import ConvGeometry

LARGE = ConvGeometry.resolve((2, 150, 100, 2), (31, 31, 2, 3))
AXES = {
    "one axis": ConvGeometry.resolve((2, 5000, 2), (65, 2, 3), strides=2),
    "one short axis": ConvGeometry.resolve((3, 5, 2), (9, 1, 4), feature_group_count=2),
    "three axes": ConvGeometry.resolve(
        (2, 9, 8, 12, 2),
        (3, 2, 4, 2, 3),
        strides=(1, 2, 1),
        padding=((1, 0), (-1, 2), (3, 0)),
        kernel_dilation=(2, 1, 1),
    ),
}


def shapes(geometry):
    """Those of x, the kernel and a cotangent."""
    return geometry.input_shape, geometry.kernel_shape, geometry.output_shape


def assert_same_as_xlas(geometry):
    jax.tree.map(assert_close, all_three(fft, geometry)(*random(geometry)), xlas(geometry))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_case_in_its_smallest_tiles_is_xlas_convolution_and_its_gradients(case, monkeypatch):
    monkeypatch.setattr(fft, "BLOCK_BYTES", 0)
    with jax.enable_x64(True):
        assert fft.limit(case.geometry) is None
        assert_same_as_xlas(case.geometry)


@pytest.mark.parametrize("name", ["lab", "strides", "negative padding", "dilation and stride", "groups"])
def test_a_case_whole_is_xlas_convolution_and_its_gradients(name):
    with jax.enable_x64(True):
        assert_same_as_xlas(CASES[name].geometry)


@settings(max_examples=8)
@given(conv_cases(), st.sampled_from([0, 2000, 10_000, fft.BLOCK_BYTES]))
def test_any_case_in_tiles_of_any_size_is_xlas(case, block_bytes):
    with jax.enable_x64(True), mock.patch.object(fft, "BLOCK_BYTES", block_bytes):
        assert_same_as_xlas(case.geometry)


@pytest.mark.parametrize("geometry", AXES.values(), ids=AXES)
@pytest.mark.parametrize("block_bytes", [fft.BLOCK_BYTES, 20_000], ids=["whole", "tiles"])
def test_one_and_three_axes(geometry, block_bytes, monkeypatch):
    monkeypatch.setattr(fft, "BLOCK_BYTES", block_bytes)
    with jax.enable_x64(True):
        assert_same_as_xlas(geometry)


@pytest.mark.slow
def test_a_large_image_is_cut_in_tiles_and_right(monkeypatch):
    monkeypatch.setattr(fft, "BLOCK_BYTES", 2**20)
    with jax.enable_x64(True):
        assert [tiled.tiles for tiled in fft.plan(LARGE, 8)] == [2, 2]
        assert_same_as_xlas(LARGE)


@pytest.mark.parametrize(
    "geometry",
    [pytest.param(LARGE, id="large", marks=pytest.mark.slow), pytest.param(CASES["strides"].geometry, id="small")],
)
def test_float32_is_near_float64(geometry):
    with jax.enable_x64(True):
        actual = all_three(fft, geometry)(*random(geometry, "float32"))
        for single, double in zip(actual, xlas(geometry, "float32"), strict=True):
            assert single.dtype == np.float32
            assert np.linalg.norm(single.astype("float64") - double) <= 1e-5 * np.linalg.norm(double)


def test_half_precision_is_computed_in_float32():
    geometry = CASES["valid"].geometry
    three, arrays = all_three(fft, geometry), random(geometry, "bfloat16")
    rounded = [a.astype("bfloat16") for a in three(*(a.astype("float32") for a in arrays))]
    for actual, expected in zip(three(*arrays), rounded, strict=True):
        assert actual.dtype == "bfloat16"
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("in_axes", [(0, None, 0), (1, 0, 2)])
def test_vmap_over_images_and_over_all(in_axes, monkeypatch):
    monkeypatch.setattr(fft, "BLOCK_BYTES", 5000)
    with jax.enable_x64(True):
        geometry = CASES["dilation and stride"].geometry
        arrays = stacked(random(geometry), in_axes)
        both = [jax.vmap(all_three(algorithm, geometry), in_axes)(*arrays) for algorithm in (fft, direct)]
        jax.tree.map(assert_close, *both)


def test_one_program_for_all_platforms_and_batch_sizes(monkeypatch):
    monkeypatch.setattr(fft, "BLOCK_BYTES", 20_000)
    (b,) = jax.export.symbolic_shape("b")
    geometry = CASES["7x7"].geometry.with_batch(b)
    x, kernel, g = random(CASES["7x7"].geometry.with_batch(3), "float32")
    specs = [jax.ShapeDtypeStruct((b, *a.shape[1:]), a.dtype) for a in (x, g)]
    three = all_three(fft, geometry)
    program = jax.export.export(three, platforms=["cpu", "cuda", "tpu"])(specs[0], kernel, specs[1])
    jax.tree.map(assert_close, program.call(x, kernel, g), all_three(direct, geometry)(x, kernel, g))


def test_precision_reaches_the_products():
    geometry = CASES["lab"].geometry
    x, kernel, g = random(geometry, "float32")
    calls = [(fft.convolve, x, kernel), (fft.input_gradient, g, kernel), (fft.kernel_gradient, x, g)]
    for f, *args in calls:
        text = jax.jit(partial(f, geometry=geometry, precision="highest")).lower(*args).as_text()
        assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("stablehlo.dot_general") == 1


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("block_bytes", [0, 2**14, 2**22])
@pytest.mark.parametrize("geometry", [LARGE, CASES["strides"].geometry, *AXES.values()])
def test_tiles_cover_the_outputs_and_fit_the_memory(geometry, block_bytes, itemsize, monkeypatch):
    monkeypatch.setattr(fft, "BLOCK_BYTES", block_bytes)
    tiling = fft.plan(geometry, itemsize)
    for tiled in tiling:
        assert (tiled.tiles - 1) * tiled.outputs < tiled.window.output_size <= tiled.tiles * tiled.outputs
        assert tiled.window.extent <= tiled.transform
        assert tiled.window.stride * (tiled.outputs - 1) + tiled.window.extent <= tiled.transform
    points = math.prod(tiled.transform for tiled in tiling)
    c_in, (k_in, c_out) = geometry.input_shape[-1], geometry.kernel_shape[-2:]
    small = all(tiled.step <= 3 * tiled.window.extent for tiled in tiling)
    assert small or points * (c_in + c_out + k_in * c_out) * itemsize <= block_bytes


@pytest.mark.parametrize(("least", "size"), [(1, 1), (7, 8), (11, 12), (13, 15), (31, 32), (97, 100), (331, 360)])
def test_transforms_have_sizes_of_small_factors(least, size):
    geometry = ConvGeometry.resolve((1, least, 1), (1, 1, 1))
    assert [tiled.transform for tiled in fft.plan(geometry, 4)] == [size]


def test_the_memory_of_a_large_image_is_that_of_its_tiles():
    geometry = ConvGeometry.resolve((1, 1024, 1024, 8), (9, 9, 8, 8))
    x, kernel, g = (jax.ShapeDtypeStruct(shape, "float32") for shape in shapes(geometry))
    images = x.size * x.dtype.itemsize
    for f, *args in [(fft.convolve, x, kernel), (fft.input_gradient, g, kernel), (fft.kernel_gradient, x, g)]:
        memory = jax.jit(partial(f, geometry=geometry)).lower(*args).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 3 * images + 2 * fft.BLOCK_BYTES


def test_more_axes_than_a_transform_has_are_refused():
    geometry = ConvGeometry.resolve((1, 2, 2, 2, 2, 1), (1, 1, 1, 1, 1, 1))
    assert fft.limit(geometry) == "fft needs at most 3 spatial axes, found 4"


@pytest.mark.parametrize("dtype", ["int32", "complex64"])
@pytest.mark.parametrize("operation", ["convolve", "input_gradient", "kernel_gradient"])
def test_whole_and_complex_numbers_are_refused(operation, dtype):
    geometry = ConvGeometry.resolve((1, 4, 4, 2), (3, 3, 2, 2))
    x, kernel = np.ones(geometry.input_shape, dtype), np.ones(geometry.kernel_shape, dtype)
    with pytest.raises(ValueError, match=f"fft needs arrays of real floating-point numbers, found {dtype}"):
        getattr(fft, operation)(x, x if operation == "kernel_gradient" else kernel, geometry)
