"""Real handwritten digits that come with scikit-learn: 1797 images, nothing to download."""

from collections.abc import Sequence

import numpy as np

from jaxcnn.data.arguments import integer
from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import InputError


def digits(classes: Sequence[int] | None = None) -> Dataset:
    """Handwritten digits of 8 × 8 × 1 pixels in [0, 1], seventeen levels of grey.

    They keep scikit-learn's order. It matters: neighbours are by the same writer, so that to train on the
    first half and test on the second, unshuffled, is harder than a random split.

    Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository (its test set), by way of ``sklearn.datasets.load_digits``.

    >>> len(digits()), digits((3, 8)).class_names
    (1797, ('3', '8'))

    Args:
      classes: only these digits, labelled 0, 1, … in the order given here. None is all ten.

    Raises:
      InputError: classes are not two or more different digits.
    """
    # Half a second that only those pay who want digits.
    from sklearn.datasets import load_digits

    wanted = np.arange(10) if classes is None else _distinct_digits(classes)
    pixels, target = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    is_class = target[:, None] == wanted
    kept = is_class.any(axis=1)
    labels = is_class[kept].argmax(axis=1).astype(np.int32)
    return Dataset(images[kept], labels, tuple(str(digit) for digit in wanted))


def _distinct_digits(classes: Sequence[int]) -> np.ndarray:
    wanted = [integer("a digit", digit, minimum=0) for digit in classes]
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or max(wanted) > 9:
        raise InputError(f"classes must be two or more different digits of 0…9, found {tuple(wanted)}")
    return np.array(wanted)
