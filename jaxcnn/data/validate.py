"""Is this a dataset that a network can be trained on?"""

import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import InputError


def validate(dataset: Dataset, name: str) -> None:
    """Check the values of a dataset, whatever source it comes from.

    Images are n × h × w × c, float32, finite, and none of n, h, w, c is 0. Labels are n integers, 0 … K−1
    with K ≥ 2, and every class has an image. There are K different class names.

    Args:
      dataset: what to check; its labels may have any integer dtype.
      name: what to call it in an error, such as its path.

    Raises:
      InputError: the first of these that does not hold.
    """
    images, labels = np.asarray(dataset.images), np.asarray(dataset.labels)
    validate_images(images, name)
    _validate_label_type(labels, name)
    if len(labels) != len(images):
        raise InputError(f"{name}: expected one label an image, found {len(labels)} labels, {len(images)} images")
    num_classes = _validate_classes(labels, name)
    _validate_class_names(dataset.class_names, num_classes, name)


def validate_images(images: np.ndarray, name: str) -> None:
    """The part of :func:`validate` that looks at images, for those that come without labels.

    Raises:
      InputError: images are not n × h × w × c, float32, finite, with none of n, h, w, c being 0.
    """
    if images.ndim != 4:
        raise InputError(f"{name}: expected images of shape n h w c (or n h w in a file), found {images.shape}")
    if 0 in images.shape:
        raise InputError(
            f"{name}: expected at least one image, row, column and channel (n h w c), found {images.shape}"
        )
    if images.dtype != np.float32:
        raise InputError(f"{name}: expected images of dtype float32, found {images.dtype}")
    finite = np.isfinite(images)
    if not finite.all():
        first = tuple(int(i) for i in np.unravel_index(np.argmin(finite), images.shape))
        raise InputError(
            f"{name}: expected finite pixels, {np.count_nonzero(~finite)} of {finite.size} are not, "
            f"the first at (n, h, w, c) = {first}: {images[first]}"
        )


def _validate_label_type(labels: np.ndarray, name: str) -> None:
    if labels.ndim != 1:
        raise InputError(f"{name}: expected labels of shape (n,), found {labels.shape}")
    if labels.dtype.kind == "f":
        fractional = ~np.isfinite(labels) | (labels != np.trunc(labels))
        if fractional.any():
            first = int(np.argmax(fractional))
            raise InputError(f"{name}: expected integer labels, found {labels[first]} at index {first}")
        raise InputError(
            f"{name}: expected labels of an integer dtype, found {labels.dtype}; all are whole numbers: "
            f"save labels.astype(numpy.int32)"
        )
    if labels.dtype.kind not in "iu":
        raise InputError(f"{name}: expected labels of an integer dtype, found {labels.dtype}")


def _validate_classes(labels: np.ndarray, name: str) -> int:
    """How many classes there are."""
    if labels.min() < 0:
        first = int(np.argmax(labels < 0))
        raise InputError(f"{name}: expected labels of at least 0, found {labels[first]} at index {first}")
    # Sorted and without repetition, so at most as long as labels, however large a label is.
    classes = np.unique(labels)
    gaps = np.flatnonzero(classes != np.arange(len(classes)))
    if gaps.size:
        raise InputError(
            f"{name}: expected labels 0…K-1 with an image of each class, found none of class {gaps[0]} "
            f"(the largest label is {classes[-1]})"
        )
    if len(classes) == 1:
        raise InputError(f"{name}: expected at least two classes, found one: all labels are 0")
    return len(classes)


def _validate_class_names(class_names: tuple[str, ...], num_classes: int, name: str) -> None:
    if len(class_names) != num_classes:
        raise InputError(
            f"{name}: expected one class name for each of the {num_classes} classes in labels, "
            f"found {len(class_names)} names"
        )
    if (unprintable := next((c for c in class_names if not c.isprintable()), None)) is not None:
        raise InputError(f"{name}: expected class names that can be printed, found {unprintable!r}")
    if len(set(class_names)) < num_classes:
        repeated = next(c for c in class_names if class_names.count(c) > 1)
        raise InputError(
            f"{name}: expected different class names, found {repeated!r} {class_names.count(repeated)} times"
        )
