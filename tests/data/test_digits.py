import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.data import digits, validate
from jaxcnn.errors import InputError

SOURCE = load_digits(return_X_y=True)


def test_all_digits_in_their_own_order():
    dataset, (pixels, target) = digits(), SOURCE
    validate(dataset, "digits")
    np.testing.assert_array_equal(dataset.images, pixels.reshape(-1, 8, 8, 1) / 16)
    np.testing.assert_array_equal(dataset.labels, target)
    assert dataset.images.shape == (1797, 8, 8, 1)
    assert (dataset.images.dtype, dataset.labels.dtype) == (np.float32, np.int32)
    assert (np.min(dataset.images), np.max(dataset.images)) == (0, 1)
    assert dataset.class_names == tuple("0123456789")


@pytest.mark.parametrize("classes", [(3, 8), (8, 3), [0, 5, 9], np.array([1, 2])])
def test_some_digits_labelled_in_the_order_given(classes):
    dataset, (pixels, target) = digits(classes), SOURCE
    kept = np.isin(target, classes)
    validate(dataset, "digits")
    np.testing.assert_array_equal(dataset.images, pixels[kept].reshape(-1, 8, 8, 1) / 16)
    assert dataset.class_names == tuple(str(digit) for digit in classes)
    np.testing.assert_array_equal(np.array(classes)[dataset.labels], target[kept])


@pytest.mark.parametrize("classes", [(), (3,), (3, 3), (3, 10), (1, 2, 1)])
def test_classes_must_be_different_digits(classes):
    with pytest.raises(InputError, match=r"^classes must be two or more different digits of 0…9, found "):
        digits(classes)


@pytest.mark.parametrize("classes", [(3, -1), (3, 8.0), ("3", "8"), (True, False)])
def test_a_digit_is_an_integer(classes):
    with pytest.raises(InputError, match=r"^a digit must be an integer of at least 0, found "):
        digits(classes)
