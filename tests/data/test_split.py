import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.data import Dataset, digits, lab_images, split, stratified_split
from jaxcnn.errors import InputError

FRACTIONS = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.4, 0.49])


def drawn_labels(counts, seed):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@given(
    first=st.lists(st.integers(3, 30), max_size=3),
    validation=FRACTIONS,
    test=FRACTIONS,
    seed=st.integers(0, 2**32 - 1),
)
def test_divides_each_class_in_the_fractions_asked_for(first, validation, test, seed):
    counts = [*first, 100 - sum(first)]  # one length for all, compiled once
    labels = drawn_labels(counts, seed)
    parts = stratified_split(jax.random.key(seed), labels, validation=validation, test=test)
    fractions = np.array([1 - validation - test, validation, test])
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for label, n in enumerate(counts):
        sizes = np.array([np.count_nonzero(labels[part] == label) for part in parts])
        assert np.all((sizes > 0) == (fractions > 0))
        # Two parts may be lifted to their one image, both at the expense of the third.
        lifted = np.any((fractions > 0) & (n * fractions < 1))
        assert np.all(abs(sizes - n * fractions) < (2 if lifted else 1))


def test_sizes_of_a_case_by_hand():
    labels = np.repeat([0, 1], [10, 7])
    parts = stratified_split(jax.random.key(0), labels, validation=0.1, test=0.2)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[7, 5], [1, 1], [2, 1]]


def test_the_key_alone_decides():
    labels = drawn_labels([50, 30, 20], 0)
    first, again, other = (
        stratified_split(jax.random.key(seed), labels, validation=0.2, test=0.2) for seed in (1, 1, 2)
    )
    for part, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(part, same)
        assert not np.array_equal(part, different)


def test_labels_may_be_jax_arrays_and_leave_gaps():
    labels = np.repeat([2, 7], 5)
    for given_labels in (labels, jax.numpy.asarray(labels)):
        parts = stratified_split(jax.random.key(0), given_labels, validation=0.2, test=0.2)
        assert [np.unique(labels[part]).tolist() for part in parts] == [[2, 7]] * 3


def test_every_image_is_equally_often_in_each_part():
    labels = np.repeat([0, 1], 10)
    chosen = np.zeros(20)
    for key in jax.random.split(jax.random.key(0), 80):
        chosen[stratified_split(key, labels, validation=0, test=0.3).test] += 1
    # The standard deviation of a count is √(80 · 0.3 · 0.7) = 4.1; four of them.
    np.testing.assert_allclose(chosen, 24, atol=16)


def test_classes_are_mixed_in_each_part():
    labels = np.repeat([0, 1], 500)
    for part in stratified_split(jax.random.key(0), labels, validation=0.2, test=0.2):
        changes = np.count_nonzero(np.diff(labels[part]))
        # Of n labels in random order about n / 2 differ from their neighbour; sorted, one would.
        assert abs(changes - len(part) / 2) < 4 * np.sqrt(len(part)) / 2


def test_split_of_a_dataset():
    dataset = digits((3, 8))
    parts = split(jax.random.key(0), dataset)
    indices = stratified_split(jax.random.key(0), dataset.labels, validation=0.1, test=0.2)
    for part, index in zip(parts, indices, strict=True):
        np.testing.assert_array_equal(part.images, dataset.images[index])
        np.testing.assert_array_equal(part.labels, dataset.labels[index])
        assert part.class_names == ("3", "8")
    assert [len(part) for part in parts] == [250, 35, 72]


def test_a_fraction_of_zero_gives_an_empty_part():
    parts = split(jax.random.key(0), lab_images(), validation=0, test=0)
    assert [len(part) for part in parts] == [10, 0, 0]
    assert parts.test.image_shape == (8, 8, 1)


def test_the_lab_has_enough_images():
    assert [len(part) for part in split(jax.random.key(0), lab_images())] == [6, 2, 2]


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        (-0.1, 0.2, r"validation must be a finite number of at least 0, found -0\.1"),
        (0.1, np.nan, "test must be a finite number of at least 0, found nan"),
        (0.1, "half", "test must be a finite number of at least 0, found 'half'"),
        (1.0, 0.0, r"validation and test must leave a part for training, found validation=1\.0, test=0\.0"),
        (0.5, 0.5, r"validation and test must leave a part for training, found validation=0\.5, test=0\.5"),
        (0.2, 7, r"validation and test must leave a part for training, found validation=0\.2, test=7"),
    ],
)
def test_fractions_that_leave_nothing(validation, test, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        split(jax.random.key(0), lab_images(), validation=validation, test=test)


@pytest.mark.parametrize(("n", "validation", "test", "needed"), [(2, 0.1, 0.2, 3), (1, 0, 0.2, 2), (0, 0, 0, 1)])
def test_a_class_with_too_few_images(n, validation, test, needed):
    labels = np.repeat([0, 1], [5, n])
    dataset = Dataset(np.zeros((5 + n, 2, 2, 1), np.float32), labels, ("cat", "dog"))
    message = f"^class dog has {n} images, {needed} are needed: one for each part .* whose fraction is not 0$"
    with pytest.raises(InputError, match=message):
        split(jax.random.key(0), dataset, validation=validation, test=test)


def test_a_class_without_a_name_is_called_by_its_number():
    with pytest.raises(InputError, match=r"^class 1 has 2 images, 3 are needed"):
        stratified_split(jax.random.key(0), np.array([0, 1, 0, 1, 0]), validation=0.1, test=0.1)


@pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.array([[0, 1]]), np.array([True, False])])
def test_labels_must_be_integers(labels):
    with pytest.raises(InputError, match=r"^labels must be n integers, found dtype .*, shape \("):
        stratified_split(jax.random.key(0), labels, validation=0.1, test=0.1)


@pytest.mark.parametrize("labels", [[0, 1, 2, 1], [0, 1, -1, 1]])
def test_labels_without_a_class(labels):
    dataset = Dataset(np.zeros((4, 2, 2, 1), np.float32), np.array(labels), ("cat", "dog"))
    with pytest.raises(InputError, match=f"^labels must be 0…1, found {min(labels)}…{max(labels)}$"):
        split(jax.random.key(0), dataset)
