import numpy as np
import pytest

from jaxcnn.data import Dataset, validate
from jaxcnn.errors import InputError

IMAGES = np.zeros((4, 3, 2, 1), np.float32)
LABELS = np.array([0, 1, 1, 0])
NAMES = ("cat", "dog")


def with_pixels(*changes):
    images = IMAGES.copy()
    for index, value in changes:
        images[index] = value
    return images


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, ">i4"])
def test_accepts_a_dataset(dtype):
    validate(Dataset(IMAGES, LABELS.astype(dtype), NAMES), "pets")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[..., 0, 0]}, r"expected images of shape n h w c \(or n h w .*\), found \(4, 3\)"),
        ({"images": np.float32(1)}, r"expected images of shape n h w c .*, found \(\)"),
        ({"images": IMAGES[:0]}, r"expected at least one image, .*, found \(0, 3, 2, 1\)"),
        ({"images": IMAGES[:, :0]}, r"expected at least one .*row.*, found \(4, 0, 2, 1\)"),
        ({"images": IMAGES[:, :, :0]}, r"expected at least one .*column.*, found \(4, 3, 0, 1\)"),
        ({"images": IMAGES[..., :0]}, r"expected at least one .*channel.*, found \(4, 3, 2, 0\)"),
        ({"images": IMAGES.astype(np.float64)}, "expected images of dtype float32, found float64"),
        (
            {"images": with_pixels(((1, 2, 0, 0), np.nan), ((3, 0, 1, 0), np.inf))},
            r"expected finite pixels, 2 of 24 are not, the first at \(n, h, w, c\) = \(1, 2, 0, 0\): nan",
        ),
        ({"images": with_pixels(((3, 0, 1, 0), -np.inf))}, r"1 of 24 are not, the first at .* = \(3, 0, 1, 0\): -inf"),
        ({"labels": LABELS[:, None]}, r"expected labels of shape \(n,\), found \(4, 1\)"),
        ({"labels": np.array(1)}, r"expected labels of shape \(n,\), found \(\)"),
        ({"labels": LABELS + 0.5}, "expected integer labels, found 0.5 at index 0"),
        ({"labels": np.array([0, 1, np.nan, 1])}, "expected integer labels, found nan at index 2"),
        ({"labels": np.array([0, 1, 1, np.inf])}, "expected integer labels, found inf at index 3"),
        (
            {"labels": LABELS.astype(np.float32)},
            r"expected labels of an integer dtype, found float32; all are whole .*: save labels.astype\(numpy.int32\)",
        ),
        ({"labels": LABELS.astype(bool)}, "expected labels of an integer dtype, found bool"),
        ({"labels": LABELS.astype(complex)}, "expected labels of an integer dtype, found complex128"),
        ({"labels": LABELS.astype(str)}, "expected labels of an integer dtype, found <U21"),
        ({"labels": LABELS[:3]}, "expected one label an image, found 3 labels, 4 images"),
        ({"images": IMAGES[:3]}, "expected one label an image, found 4 labels, 3 images"),
        ({"labels": np.array([0, 1, -1, 1])}, "expected labels of at least 0, found -1 at index 2"),
        (
            {"labels": np.array([0, 2, 2, 0])},
            r"expected labels 0…K-1 with an image of each class, found none of class 1 \(the largest label is 2\)",
        ),
        ({"labels": LABELS + 1}, r"found none of class 0 \(the largest label is 2\)"),
        ({"labels": np.array([0, 1, 1, 10**9])}, r"found none of class 2 \(the largest label is 1000000000\)"),
        ({"labels": np.array([0, 1, 1, 2**64 - 1], np.uint64)}, "found none of class 2"),
        ({"labels": LABELS * 0}, "expected at least two classes, found one: all labels are 0"),
        ({"class_names": ("cat",)}, "expected one class name for each of the 2 classes in labels, found 1 names"),
        ({"class_names": ("cat", "dog", "cow")}, "for each of the 2 classes in labels, found 3 names"),
        ({"class_names": ("cat", "cat")}, "expected different class names, found 'cat' 2 times"),
    ],
)
def test_refuses(change, message):
    dataset = Dataset(IMAGES, LABELS, NAMES).replace(**change)
    with pytest.raises(InputError, match=message) as caught:
        validate(dataset, "pets")
    assert str(caught.value).startswith("pets: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("class_name", ["a\nb", "a\x1bb", "a\ud800", "\x00"])
def test_class_names_that_cannot_be_printed(class_name):
    dataset = Dataset(np.zeros((2, 1, 1, 1), np.float32), np.array([0, 1]), ("a", class_name))
    with pytest.raises(InputError, match="expected class names that can be printed, found "):
        validate(dataset, "names")
