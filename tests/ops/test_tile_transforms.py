"""Transforms of arrays beside the matrices themselves, multiplied with each tile."""

import jax
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from tolerances import assert_close

from jaxcnn.ops import tile_transforms
from jaxcnn.ops.cook_toom import transforms
from jaxcnn.ops.geometry import ConvGeometry

# 7 rows of outputs in two tiles of 4, 5 columns in three of 2: zeros fill the last ones.
GEOMETRY = ConvGeometry.resolve((2, 7, 5, 3), (3, 4, 3, 6), padding=((2, 0), (1, 2)))
PER_AXIS = [transforms(4, 3), transforms(2, 4)]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random(*shape):
    return np.random.default_rng(0).normal(size=shape)


def matrices(name):
    return [np.array(getattr(t, name), np.float64) for t in PER_AXIS]


def listed(points):
    """An array for each point of both axes."""
    return list(points.reshape(-1, *points.shape[2:]))


def assert_same(actual, points):
    for a, expected in zip(actual, listed(points), strict=True):
        assert_close(a, expected)


def test_inputs():
    x = random(*GEOMETRY.input_shape)
    padded = np.pad(x, ((0, 0), (2, 1), (1, 3), (0, 0)))
    tiles = sliding_window_view(padded, (6, 5), (1, 2))[:, ::4, ::2]
    expected = np.einsum("pi,qj,nyxcij->pqnyxc", *matrices("input"), tiles)
    assert_same(tile_transforms.input_tiles(x, GEOMETRY, PER_AXIS), expected)


def test_cotangents():
    g = random(*GEOMETRY.output_shape)
    padded = np.pad(g, ((0, 0), (0, 1), (0, 1), (0, 0)))
    tiles = sliding_window_view(padded, (4, 2), (1, 2))[:, ::4, ::2]
    expected = np.einsum("ip,jq,nyxcij->pqnyxc", *matrices("output"), tiles)
    assert_same(tile_transforms.cotangent_tiles(g, GEOMETRY, PER_AXIS), expected)


def test_kernels():
    kernel = random(*GEOMETRY.kernel_shape)
    expected = np.einsum("pi,qj,ijco->pqco", *matrices("kernel"), kernel)
    assert_same(tile_transforms.kernel_points(kernel, PER_AXIS), expected)


def test_outputs():
    products = random(6, 5, 2, 2, 3, 6)
    actual = tile_transforms.output_tiles(listed(products), PER_AXIS)
    expected = np.einsum("ip,jq,pqnyxc->nyixjc", *matrices("output"), products)
    assert_close(actual, expected.reshape(2, 8, 6, 6))


def test_windows():
    products = random(6, 5, 3, 6)
    rows = tile_transforms.rows_of_taps(listed(products), PER_AXIS)
    assert [row.shape for row in rows] == [(3, 1, 3, 6)] * 5
    actual = tile_transforms.window(rows, PER_AXIS)
    expected = np.einsum("pi,qj,pqco->ijco", *matrices("kernel"), products)
    assert_close(actual, expected)


@pytest.mark.parametrize("name", ["input", "kernel"])
def test_the_rows_of_a_number_and_its_negative_share_operations(name):
    """F(4, 3) by itself takes 16 sums for a column of inputs and 8 for one of a kernel."""
    matrix = getattr(transforms(4, 3), name)
    cut = tile_transforms._Cut(axis=0, matrix=matrix, tiles=1, step=1)
    text = jax.jit(lambda array: tile_transforms._points(cut, array)).lower(random(len(matrix[0]), 3)).as_text()
    sums = sum(text.count(f"stablehlo.{op} ") for op in ("add", "subtract")) - len(matrix)  # those of the reduction
    assert sums == {"input": 12, "kernel": 6}[name]
