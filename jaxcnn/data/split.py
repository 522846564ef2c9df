"""Training, validation and test images: every class in each, in the same proportions."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from jaxcnn.data.arguments import non_negative
from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import InputError


class Split(NamedTuple):
    """Which images belong to which part: indices, disjoint, and together 0 … n−1."""

    train: Int[np.ndarray, " n_train"]
    validation: Int[np.ndarray, " n_validation"]
    test: Int[np.ndarray, " n_test"]


class Splits(NamedTuple):
    """A dataset in three parts; all have the class names of the whole."""

    train: Dataset
    validation: Dataset
    test: Dataset


def stratified_split(
    key: PRNGKeyArray, labels: Int[Array | np.ndarray, " n"], *, validation: float, test: float
) -> Split:
    """Divide the images of each class at random, in the fractions asked for.

    Of n images of a class, each part gets its fraction of n, rounded up or down. A part whose fraction is not
    0 gets at least one image of every class, and one whose fraction is 0 none; where that takes more than
    rounding gives, it is taken from the largest part. The order inside each part is random too.

    Args:
      key: where the order comes from; the same key gives the same split.
      labels: the class of each image.
      validation: the fraction for validation, in [0, 1).
      test: the fraction for test, in [0, 1); the rest is for training.

    Raises:
      InputError: a fraction is outside [0, 1), the two sum to 1 or more, labels are not n integers, or a
        class has fewer images than there are parts.
    """
    labels = _checked_labels(labels)
    return _split(key, labels, _fractions(validation, test), ((k, str(k)) for k in np.unique(labels)))


def split(key: PRNGKeyArray, dataset: Dataset, *, validation: float = 0.1, test: float = 0.2) -> Splits:
    """:func:`stratified_split` of a dataset.

    Args:
      key: where the order comes from; the same key gives the same split.
      dataset: to be divided.
      validation: the fraction for validation, in [0, 1).
      test: the fraction for test, in [0, 1); the rest is for training.

    Raises:
      InputError: as :func:`stratified_split`, where every class in ``class_names`` counts; or a label is
        outside of them.
    """
    labels = _checked_labels(dataset.labels)
    if np.any((labels < 0) | (labels >= dataset.num_classes)):
        raise InputError(f"labels must be 0…{dataset.num_classes - 1}, found {labels.min()}…{labels.max()}")
    parts = _split(key, labels, _fractions(validation, test), enumerate(dataset.class_names))
    return Splits(*(dataset.select(part) for part in parts))


def _split(key: PRNGKeyArray, labels: np.ndarray, fractions: np.ndarray, classes: Iterable[tuple[int, str]]) -> Split:
    key_parts, key_order = jax.random.split(key)
    shuffled = np.asarray(jax.random.permutation(key_parts, len(labels)))
    part = np.empty(len(labels), np.int8)
    for label, name in classes:
        members = shuffled[labels[shuffled] == label]
        part[members] = np.repeat(np.arange(3), _part_sizes(len(members), fractions, name))
    order = np.asarray(jax.random.permutation(key_order, len(labels)))
    return Split(*(order[part[order] == p] for p in range(3)))


def _part_sizes(n: int, fractions: np.ndarray, class_name: str) -> np.ndarray:
    """n in three whole parts, near n · fractions."""
    least = (fractions > 0).astype(int)
    if n < least.sum():
        raise InputError(
            f"class {class_name} has {n} images, {least.sum()} are needed: one for each part (of training, "
            f"validation, test) whose fraction is not 0"
        )
    quota = n * fractions
    sizes = np.maximum(np.floor(quota).astype(int), least)
    while sizes.sum() < n:
        sizes[np.argmax(quota - sizes)] += 1
    while sizes.sum() > n:
        sizes[np.argmax(sizes)] -= 1
    return sizes


def _fractions(validation: float, test: float) -> np.ndarray:
    """Of train, validation, test."""
    held_out = non_negative("validation", validation), non_negative("test", test)
    if sum(held_out) >= 1:
        raise InputError(
            f"validation and test must leave a part for training, found validation={validation!r}, test={test!r}"
        )
    return np.array([1 - sum(held_out), *held_out])


def _checked_labels(labels) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"labels must be n integers, found dtype {labels.dtype}, shape {labels.shape}")
    return labels
