"""Minimal filtering beside XLA's convolution: every tile, window and block, and what rounding it costs."""

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

from jaxcnn.ops import direct, im2col, winograd
from jaxcnn.ops.cook_toom import transforms
from jaxcnn.ops.geometry import ConvGeometry

TILES = [None, 2, 3, 4, 6]
GEOMETRIES = {name: case.geometry for name, case in CASES.items() if winograd.limit(case.geometry) is None}
WINDOWS = {
    "3x1": ConvGeometry.resolve((2, 7, 6, 3), (3, 1, 3, 4)),
    "1x3": ConvGeometry.resolve((2, 7, 6, 3), (1, 3, 3, 4), padding="VALID"),
    "5x5": ConvGeometry.resolve((2, 8, 9, 3), (5, 5, 3, 4)),
    "6x2": ConvGeometry.resolve((2, 8, 9, 3), (6, 2, 3, 4), padding=((5, 0), (-1, 4))),
    "three axes": ConvGeometry.resolve((2, 5, 4, 6, 2), (2, 1, 3, 2, 3), padding=((1, 0), (0, 2), (-1, 1))),
}
ONE_AXIS = ConvGeometry.resolve((7, 13, 3), (3, 3, 4), padding=((2, 1),))


def assert_same_as_xlas(geometry, **options):
    with jax.enable_x64(True):
        assert winograd.limit(geometry) is None
        jax.tree.map(assert_close, all_three(winograd, geometry, **options)(*random(geometry)), xlas(geometry))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_each_case_is_xlas_convolution_and_its_gradients(geometry):
    assert_same_as_xlas(geometry)


@pytest.mark.parametrize("tile", TILES[1:])
def test_a_case_in_other_tiles_than_its_own(tile):
    assert_same_as_xlas(GEOMETRIES["asymmetric padding"], tile=tile)


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("geometry", (GEOMETRIES | WINDOWS).values(), ids=GEOMETRIES | WINDOWS)
def test_each_case_in_tiles_of_each_size(geometry, tile):
    assert_same_as_xlas(geometry, tile=tile)


@pytest.mark.parametrize("geometry", WINDOWS.values(), ids=WINDOWS)
def test_windows_of_any_shape(geometry):
    assert_same_as_xlas(geometry, tile=2)


def without_options(case) -> ConvGeometry:
    """The case with strides, dilation and groups of 1."""
    kernel = (*case.kernel[:2], case.x[-1], case.kernel[-1])
    return ConvGeometry.resolve(case.x, kernel, padding=case.options["padding"])


def first_axis(geometry: ConvGeometry) -> ConvGeometry:
    """The convolution along the height alone, where products are few and quickly compiled."""
    (n, height, _, c_in), (window, _, _, c_out) = geometry.input_shape, geometry.kernel_shape
    return ConvGeometry.resolve((n, height, c_in), (window, c_in, c_out), padding=geometry.padding[:1])


@settings(max_examples=3)
@given(conv_cases().map(without_options))
def test_any_case_in_tiles_of_two_is_xlas(geometry):
    assert_same_as_xlas(geometry, tile=2)


@pytest.mark.slow
@settings(max_examples=12)
@given(conv_cases().map(without_options).map(first_axis), st.sampled_from(TILES), st.sampled_from([1, 500, 2**23]))
def test_any_case_of_one_axis_in_any_tiles_and_blocks_is_xlas(geometry, tile, block_bytes):
    with mock.patch.multiple(winograd, BLOCK_BYTES=block_bytes, FEWEST_ROWS=1):
        assert_same_as_xlas(geometry, tile=tile)


@pytest.mark.parametrize("images", [0, 1, 2, 3, 5, 6, 7, 100])
def test_blocks_of_any_size_are_xlas(images, monkeypatch):
    image_bytes = 4 * 4 * 6 * (3 + 4)  # 4 tiles of 6 points, 3 and 4 channels
    monkeypatch.setattr(winograd, "BLOCK_BYTES", max(images * image_bytes, 1))
    monkeypatch.setattr(winograd, "FEWEST_ROWS", 1)
    assert_same_as_xlas(ONE_AXIS, tile=4)


def loops(geometry, f=winograd.convolve, **options) -> bool:
    """Whether a convolution is a loop over blocks; or its kernel gradient."""
    shapes = [geometry.input_shape, geometry.kernel_shape if f is winograd.convolve else geometry.output_shape]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return "scan" in str(jax.make_jaxpr(lambda a, b: f(a, b, geometry, **options))(*arrays))


@pytest.mark.parametrize(
    ("axes", "f", "blocks"),
    [
        (1, winograd.convolve, 4),
        (1, winograd.kernel_gradient, 2),
        (2, winograd.convolve, 2),
        (2, winograd.kernel_gradient, 2),
    ],
)
def test_images_of_so_many_blocks_are_treated_as_one(axes, f, blocks, monkeypatch):
    n, window = 40, (3, 3) if axes == 2 else (3, 1)
    geometry = ConvGeometry.resolve((n, 8, 8, 3), (*window, 3, 4))
    tiles, points = (4, 36) if axes == 2 else (16, 6)
    image_bytes = 4 * tiles * points * (3 + 4)
    monkeypatch.setattr(winograd, "FEWEST_ROWS", 1)
    monkeypatch.setattr(winograd, "BLOCK_BYTES", n * image_bytes // blocks + 1)
    assert not loops(geometry, f, tile=4)
    monkeypatch.setattr(winograd, "BLOCK_BYTES", n * image_bytes // (blocks + 1))
    assert loops(geometry, f, tile=4)


@pytest.mark.parametrize("channels", [32, 256, 1024])
def test_a_block_has_rows_enough_for_its_products_however_many_channels(channels):
    """Images of 4 tiles."""
    of_images = [ConvGeometry.resolve((n, 8, 8, channels), (3, 3, channels, channels)) for n in (64, 128, 1024)]
    assert [loops(geometry) for geometry in of_images] == [False, channels > 128, True]


def test_blocks_of_two_axes_are_xlas(monkeypatch):
    monkeypatch.setattr(winograd, "BLOCK_BYTES", 1)
    monkeypatch.setattr(winograd, "FEWEST_ROWS", 1)
    assert_same_as_xlas(GEOMETRIES["even window"], tile=2)


@pytest.mark.parametrize(("window", "points"), [((3, 3), 36), ((1, 5), 9), ((2, 3), 30)])
def test_each_point_is_a_product_by_itself(window, points):
    geometry = ConvGeometry.resolve((20, 8, 8, 3), (*window, 3, 4))
    assert [text.count("stablehlo.dot_general") for text in lowered(geometry)] == [points, points, points]


def test_rounding_grows_with_the_tile_and_stays_small():
    with jax.enable_x64(True):
        geometry = ConvGeometry.resolve((2, 18, 18, 32), (3, 3, 32, 32))
        arrays = random(geometry, "float32")
        expected = xlas(geometry, "float32")
        errors = {}
        for tile in (2, 4, 6):
            actual = all_three(winograd, geometry, tile=tile)(*arrays)
            assert all(a.dtype == "float32" for a in actual)
            errors[tile] = [relative_error(a, e) for a, e in zip(actual, expected, strict=True)]
    for tile, most in ((2, 6e-7), (4, 3e-6), (6, 2e-5)):
        assert max(errors[tile]) <= most, (tile, errors[tile])
    for of_two, of_four, of_six in zip(*errors.values(), strict=True):
        assert of_two < of_four < of_six


@pytest.mark.slow
@pytest.mark.parametrize("window", sorted(set(winograd.TILES) - {1}))
def test_each_windows_own_tile_rounds_little(window):
    """Well below 1e-5 where ``auto`` takes it, also where data have a mean; how near depends on the instructions."""
    most = 8e-6 if window <= 6 else 1e-5
    with jax.enable_x64(True):
        geometry = ConvGeometry.resolve((2, 24, 24, 32), (window, window, 32, 32))
        transformed, exact = all_three(winograd, geometry), all_three(direct, geometry)
        for mean in (0, 3):
            arrays = [a + np.float32(mean) for a in random(geometry, "float32")]
            expected = exact(*(a.astype("float64") for a in arrays))
            for actual, right in zip(transformed(*arrays), expected, strict=True):
                assert relative_error(actual, right) < most


@pytest.mark.slow
def test_along_three_axes_the_longest_sums_that_auto_takes_round_little():
    channels = winograd.MOST_SUMMED[3]
    geometry = ConvGeometry.resolve((1, 18, 18, 18, channels), (3, 3, 3, channels, 64))
    assert winograd.is_exact_enough(geometry, "float32", None)
    with jax.enable_x64(True):
        arrays = random(geometry, "float32")
        expected = all_three(im2col, geometry)(*(a.astype("float64") for a in arrays))
        for actual, right in zip(all_three(winograd, geometry)(*arrays), expected, strict=True):
            assert relative_error(actual, right) < 8e-6


@pytest.mark.slow
@pytest.mark.parametrize("window", sorted(set(winograd.LINE_TILES) - {1}))
def test_along_one_axis_each_windows_own_tile_rounds_little_however_long_the_sums(window):
    with jax.enable_x64(True):
        for channels in (32, 512):
            geometry = ConvGeometry.resolve((2, 96, channels), (window, channels, channels))
            transformed, exact = all_three(winograd, geometry), all_three(direct, geometry)
            for mean in (0, 3):
                arrays = [a + np.float32(mean) for a in random(geometry, "float32")]
                expected = exact(*(a.astype("float64") for a in arrays))
                for actual, right in zip(transformed(*arrays), expected, strict=True):
                    assert relative_error(actual, right) < 8e-6


def relative_error(actual, expected):
    return np.linalg.norm(np.asarray(actual, "float64") - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(dtype):
    arrays = random(ONE_AXIS, dtype)
    rounded = [a.astype(dtype) for a in all_three(winograd, ONE_AXIS)(*(a.astype("float32") for a in arrays))]
    for actual, expected in zip(all_three(winograd, ONE_AXIS)(*arrays), rounded, strict=True):
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, expected)


def test_no_images_have_no_outputs_and_a_kernel_gradient_of_zeros():
    geometry = GEOMETRIES["no images"]
    y, x_bar, kernel_bar = all_three(winograd, geometry)(*random(geometry, "float32"))
    assert (y.shape, x_bar.shape) == (geometry.output_shape, geometry.input_shape)
    np.testing.assert_array_equal(kernel_bar, np.zeros(geometry.kernel_shape))


def test_one_program_for_all_platforms_and_batch_sizes():
    b: Any = jax.export.symbolic_shape("b")[0]
    geometry = WINDOWS["3x1"].with_batch(b)
    x, kernel, g = random(geometry.with_batch(3), "float32")
    specs = [jax.ShapeDtypeStruct((b, *a.shape[1:]), a.dtype) for a in (x, g)]
    three = all_three(winograd, geometry)
    program = jax.export.export(three, platforms=["cpu", "cuda", "tpu"])(specs[0], kernel, specs[1])
    jax.tree.map(assert_close, program.call(x, kernel, g), all_three(direct, geometry.with_batch(3))(x, kernel, g))


@pytest.mark.parametrize("in_axes", [(0, None, 0), (1, 0, 2)])
def test_vmap_over_images_and_over_all(in_axes):
    with jax.enable_x64(True):
        arrays = stacked(random(ONE_AXIS), in_axes)
        both = [jax.vmap(all_three(algorithm, ONE_AXIS), in_axes)(*arrays) for algorithm in (winograd, direct)]
        jax.tree.map(assert_close, *both)


def lowered(geometry, **options):
    """The text of each of the three programs."""
    x, kernel, g = random(geometry, "float32")
    calls = [(winograd.convolve, x, kernel), (winograd.input_gradient, g, kernel), (winograd.kernel_gradient, x, g)]
    return [jax.jit(partial(f, geometry=geometry, **options)).lower(*args).as_text() for f, *args in calls]


def test_all_products_are_matrix_products_of_the_precision_asked_for():
    for text in lowered(GEOMETRIES["valid"], precision="highest"):
        assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("stablehlo.dot_general") > 0
        assert "stablehlo.convolution" not in text


@pytest.mark.parametrize(("images", "window", "tile"), [(16, 3, 2), (17, 3, 4), (16, 5, 4)])
def test_tiles_are_small_where_they_are_few_of_short_windows(images, window, tile):
    geometry = ConvGeometry.resolve((images, 8, 8, 8), (window, window, 8, 8))
    assert winograd.tiles(geometry) == 4 * images
    assert lowered(geometry) == lowered(geometry, tile=tile)
    assert lowered(geometry) != lowered(geometry, tile=6 - tile)


def test_tiles_are_large_of_windows_along_one_axis_however_few():
    geometry = ConvGeometry.resolve((2, 12, 8), (3, 8, 8))
    assert winograd.tiles(geometry) == 4
    assert lowered(geometry) == lowered(geometry, tile=6)


@pytest.mark.parametrize(
    ("kernel", "products"),
    [((3, 3, 8, 5), 8 * 2.25), ((2, 2, 1, 1), 25 / 16), ((1, 5, 2, 2), 2 * 1.8), ((1, 1, 3, 2), 3)],
)
def test_the_multiplications_for_an_output_are_its_share_of_a_tiles_points(kernel, products):
    geometry = ConvGeometry.resolve((1, 9, 9, kernel[2]), kernel)
    assert winograd.multiplications_per_output(geometry) == pytest.approx(products)


@pytest.mark.parametrize("window", winograd.TILES)
def test_each_window_has_a_tile_that_there_are_points_for(window):
    for m in (winograd.TILES[window], winograd.LINE_TILES[window], 2):
        assert transforms(m, window).points == m + window - 1


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 4, 4), {"strides": (1, 2)}, "winograd needs strides of 1, found (1, 2)"),
        ((3, 3, 4, 4), {"kernel_dilation": (2, 1)}, "winograd needs a kernel_dilation of 1, found (2, 1)"),
        ((3, 3, 2, 4), {"feature_group_count": 2}, "winograd needs a feature_group_count of 1, found 2"),
        ((8, 3, 4, 4), {}, "winograd needs windows of at most 7, found (8, 3)"),
        ((7, 7, 4, 4), {"padding": ((-1, 3), (2, 2))}, None),
    ],
)
def test_what_it_cannot_do_is_said(kernel, options, message):
    assert winograd.limit(ConvGeometry.resolve((2, 9, 9, 4), kernel, **options)) == message


@pytest.mark.parametrize("gradient", [False, True])
def test_whole_numbers_are_refused(gradient):
    geometry = ConvGeometry.resolve((1, 8, 8, 2), (3, 3, 2, 4))
    x, kernel, g = (np.ones(shape, np.int32) for shape in (geometry.input_shape, geometry.kernel_shape, (1, 8, 8, 4)))
    with pytest.raises(ValueError, match="winograd needs arrays of floating-point numbers, found int32"):
        winograd.kernel_gradient(x, g, geometry) if gradient else winograd.convolve(x, kernel, geometry)


def test_no_large_images_give_no_outputs_and_no_gradient():
    geometry = ConvGeometry.resolve((0, 256, 256, 32), (3, 3, 32, 32))
    x, kernel = jnp.ones(geometry.input_shape), jnp.ones(geometry.kernel_shape)
    assert winograd.convolve(x, kernel, geometry).shape == geometry.output_shape
    np.testing.assert_array_equal(winograd.kernel_gradient(x, x, geometry), jnp.zeros(geometry.kernel_shape))
