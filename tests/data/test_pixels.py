import numpy as np
import pytest

from jaxcnn.data.pixels import as_float32, as_images
from jaxcnn.errors import InputError


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), [0, 51 / 255, 1]),
        (np.array([0, 13107, 65535], np.uint16), [0, 13107 / 65535, 1]),
        (np.array([0, 13107, 65535], ">u2"), [0, 13107 / 65535, 1]),
        (np.array([False, True]), [0, 1]),
        (np.array([-2.5, 7], np.float16), [-2.5, 7]),
        (np.array([-2.5, 7], ">f4"), [-2.5, 7]),
        (np.array([-2.5, 7], np.float64), [-2.5, 7]),
        (np.array([1e300, np.nan]), [np.inf, np.nan]),
    ],
)
def test_scales_to_full_brightness(stored, expected):
    pixels = as_float32(stored, "pixels")
    assert pixels.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(pixels, np.array(expected, np.float32))


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u4", "u8", "c8", "U3", "S3", "V2", "M8[s]", [("r", "u1")]])
def test_a_dtype_without_a_known_full_scale(dtype):
    message = (
        r"^cats\.npz: expected pixels of dtype uint8 \(0…255\), uint16 \(0…65535\), bool or floating point, "
        r"found .*; convert them, as in pixels\.astype\(numpy\.uint8\)$"
    )
    with pytest.raises(InputError, match=message):
        as_float32(np.zeros((2, 3), dtype), "cats.npz")


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 3, 4), (2, 3, 4, 1)), ((2, 3, 4, 1), (2, 3, 4, 1)), ((3, 4), (3, 4))]
)
def test_a_missing_channel_axis_is_added(shape, expected):
    images = as_images(np.full(shape, 255, np.uint8), "pixels")
    np.testing.assert_array_equal(images, np.ones(expected, np.float32))
