"""Convolutions along three axes as convolutions of planes, beside XLA's: whole, in blocks of images, in strips."""

import jax
import numpy as np
import pytest
from conv_cases import all_three, random, xlas
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn.ops import im2col, planes
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {
    "same": ConvGeometry.resolve((2, 5, 6, 4, 3), (3, 3, 3, 3, 4)),
    "even windows, pads of all kinds": ConvGeometry.resolve(
        (3, 6, 5, 7, 2), (4, 2, 3, 2, 3), padding=((2, 0), (-1, 2), (1, 3))
    ),
    "negative pads along the first axis": ConvGeometry.resolve(
        (2, 7, 4, 5, 2), (2, 2, 2, 2, 3), padding=((-1, -2), (0, 1), (1, 0))
    ),
    "strides and dilation of the planes": ConvGeometry.resolve(
        (2, 4, 9, 8, 2), (3, 2, 3, 2, 3), strides=(1, 2, 3), kernel_dilation=(1, 2, 1)
    ),
    "one tap": ConvGeometry.resolve((2, 4, 5, 3, 2), (1, 3, 2, 2, 3)),
    "no images": ConvGeometry.resolve((0, 4, 5, 3, 2), (3, 3, 3, 2, 3)),
}
geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def assert_xlas(geometry, dtype="float64"):
    with jax.enable_x64(True):
        actual = all_three(planes, geometry)(*random(geometry, dtype))
        assert {a.dtype for a in actual} == {jnp.dtype(dtype)}
        jax.tree.map(assert_close, actual, xlas(geometry, dtype))


@geometries
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_it_is_the_convolution_and_its_gradients(geometry, dtype):
    assert_xlas(geometry, dtype)


@pytest.mark.parametrize("block", [(0, 1), (1, 1), (2, 1)], ids=["images", "planes", "strips"])
@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name != "no images"])
def test_so_it_is_block_by_block(name, block, monkeypatch):
    monkeypatch.setattr(planes, "_block", lambda *_: block)
    assert_xlas(GEOMETRIES[name])


@pytest.mark.parametrize(
    ("images", "depth", "planes_a_block", "expected"),
    [
        (2, 8, 16, (0, 2)),
        (2, 8, 15, (0, 1)),
        (6, 8, 24, (0, 3)),
        (2, 8, 7, (7, 1)),
        (2, 8, 0, (1, 1)),
        (0, 8, 1, (0, 0)),
    ],
)
def test_blocks_are_of_images_where_one_fits_and_else_of_planes(images, depth, planes_a_block, expected, monkeypatch):
    monkeypatch.setattr(planes, "BLOCK_BYTES", planes_a_block * 4 * 10)
    axis = ConvGeometry.resolve((1, depth, 1, 1, 1), (3, 1, 1, 1, 1)).axes[0]
    assert planes._block(axis, jnp.zeros((images, depth, 1, 1, 10)), (1, 10)) == expected


pads = st.integers(-1, 3)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.tuples(*[st.integers(3, 6)] * 3),
    st.tuples(pads, pads, pads),
    st.tuples(*[st.integers(1, 3)] * 5),
)
def test_random_cases(window, size, lows, other):
    n, c_in, c_out, *strides = other
    padding = [(lo, max(k - i - lo, 0)) for lo, k, i in zip(lows, window, size, strict=True)]
    geometry = ConvGeometry.resolve((n, *size, c_in), (*window, c_in, c_out), strides=(1, *strides), padding=padding)
    assert_xlas(geometry)


def test_long_windows_are_as_exact_as_along_two_axes():
    geometry = ConvGeometry.resolve((1, 16, 16, 16, 16), (5, 5, 5, 16, 16))
    arrays = random(geometry, "float32")
    with jax.enable_x64(True):
        exact = all_three(im2col, geometry)(*(a.astype("float64") for a in arrays))
    for found, right in zip(all_three(planes, geometry)(*arrays), exact, strict=True):
        error = np.linalg.norm(np.asarray(found, "float64") - np.asarray(right)) / np.linalg.norm(right)
        assert 1e-6 < error < 1e-5  # Winograd's; along three axes up to 3.7e-5


def test_half_precision_is_summed_in_float32():
    geometry = ConvGeometry.resolve((1, 4, 16, 16, 1), (1, 1, 1, 1, 1))
    ones = jnp.ones(geometry.input_shape, "bfloat16")
    gradient = planes.kernel_gradient(ones, ones, geometry)  # in bfloat16 a sum of ones ends at 256
    assert gradient.astype("float32").item() == 1024


@pytest.mark.parametrize(
    ("x", "kernel", "options", "limit"),
    [
        ((1, 9, 9, 4), (3, 3, 4, 4), {}, "planes needs three spatial axes, found 2"),
        (
            (1, 9, 9, 9, 4),
            (3, 3, 3, 2, 4),
            {"feature_group_count": 2},
            "planes needs a feature_group_count of 1, found 2",
        ),
        (
            (1, 9, 9, 9, 4),
            (3, 3, 3, 4, 4),
            {"strides": (2, 1, 1)},
            "planes needs a stride and a dilation of 1 along the first axis, found (2, 1)",
        ),
        ((1, 9, 9, 9, 4), (3, 3, 3, 4, 4), {"strides": (1, 2, 2), "kernel_dilation": (1, 1, 2)}, None),
    ],
)
def test_its_limits(x, kernel, options, limit):
    assert planes.limit(ConvGeometry.resolve(x, kernel, **options)) == limit
