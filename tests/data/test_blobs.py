import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxcnn.data import shifted_blobs
from jaxcnn.errors import InputError

SHAPES = {
    "blob": ["..###..", ".#####.", "#######", "#######", "#######", ".#####.", "..###.."],
    "ring": ["..###..", ".#...#.", "#.....#", "#.....#", "#.....#", ".#...#.", "..###.."],
    "cross": ["...#...", "...#...", "...#...", "#######", "...#...", "...#...", "...#..."],
}


def drawn(name):
    return np.array([[pixel == "#" for pixel in row] for row in SHAPES[name]], np.float32)


def place(image, name):
    """Row and column of the only place at which the shape makes this image."""
    rows, columns = np.nonzero(image)
    row, column = int(rows.min()), int(columns.min())
    expected = np.zeros_like(image)
    expected[row : row + 7, column : column + 7] = drawn(name)
    assert np.array_equal(image, expected)
    return row, column


@pytest.mark.parametrize(("size", "corner"), [(16, 4), (15, 4)])
def test_without_shift_each_shape_is_centred(size, corner):
    dataset = shifted_blobs(jax.random.key(0), 30, size, max_shift=0, noise=0)
    assert dataset.class_names == tuple(SHAPES)
    for image, label in zip(np.asarray(dataset.images), np.asarray(dataset.labels), strict=True):
        assert place(image[..., 0], dataset.class_names[label]) == (corner, corner)


def test_displacements_are_uniform_and_nothing_is_cut():
    dataset = shifted_blobs(jax.random.key(1), 2000, noise=0)
    images, labels = np.asarray(dataset.images)[..., 0], np.asarray(dataset.labels)
    places = [place(image, dataset.class_names[k]) for image, k in zip(images, labels, strict=True)]
    for starts in zip(*places, strict=True):
        # Nine starts, 222 images each; four standard deviations.
        np.testing.assert_allclose(np.bincount(starts, minlength=9), 2000 / 9, atol=4 * np.sqrt(2000 / 9))


def test_what_a_linear_classifier_learns_at_the_centre_does_not_hold_elsewhere():
    train = shifted_blobs(jax.random.key(2), 2000, max_shift=0)
    linear = LogisticRegression(max_iter=100).fit(np.asarray(train.images).reshape(2000, -1), np.asarray(train.labels))

    def accuracy(max_shift):
        test = shifted_blobs(jax.random.key(3), 2000, max_shift=max_shift)
        return linear.score(np.asarray(test.images).reshape(2000, -1), np.asarray(test.labels))

    assert accuracy(max_shift=0) > 0.99
    assert accuracy(max_shift=4) < 0.5  # chance is 0.33


@pytest.mark.parametrize(("size", "max_shift", "room"), [(16, 5, 4), (15, 5, 4), (8, 1, 0), (12, 4, 2)])
def test_a_shift_that_would_cut_a_shape(size, max_shift, room):
    message = (
        f"^max_shift must be at most {room}, so that no shape of 7 pixels is cut by an image of size {size}, "
        f"found {max_shift}$"
    )
    with pytest.raises(InputError, match=message):
        shifted_blobs(jax.random.key(0), 4, size, max_shift)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 6}, "size must be an integer of at least 7, found 6"),
        ({"max_shift": -1}, "max_shift must be an integer of at least 0, found -1"),
        ({"max_shift": 1.5}, "max_shift must be an integer of at least 0, found 1.5"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        shifted_blobs(jax.random.key(0), 4, **arguments)
