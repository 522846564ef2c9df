import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxcnn.data import oriented_bars
from jaxcnn.errors import InputError

STEPS = {"horizontal": (0, 1), "diagonal": (-1, 1), "vertical": (1, 0), "antidiagonal": (1, 1)}


def all_bars(size, name):
    """The bar of that orientation at every place, drawn pixel by pixel."""
    bars = np.zeros((size, size, size, size))
    for row, column in np.ndindex(size, size):
        for t in range(size // 2):
            bars[row, column, (row + t * STEPS[name][0]) % size, (column + t * STEPS[name][1]) % size] = 1
    return bars.reshape(size * size, -1)


@pytest.mark.parametrize(("n", "size"), [(30, 16), (4000, 7)])
def test_without_noise_each_image_is_a_bar_of_its_class(n, size):
    dataset = oriented_bars(jax.random.key(0), n, size, noise=0)
    assert dataset.class_names == tuple(STEPS)
    images = np.asarray(dataset.images).reshape(n, -1)
    for label, name in enumerate(dataset.class_names):
        bars = all_bars(size, name)
        for image in images[np.asarray(dataset.labels) == label]:
            assert (image == bars).all(axis=1).any()


def test_positions_are_uniform():
    dataset = oriented_bars(jax.random.key(1), 4000, 7, noise=0)
    for label in range(4):
        mean = np.asarray(dataset.images)[np.asarray(dataset.labels) == label].mean(axis=0)
        # Three pixels of 49 are lit; the mean of 1000 images is within five standard deviations.
        np.testing.assert_allclose(mean, 3 / 49, atol=5 * np.sqrt(3 / 49 * 46 / 49 / 1000))


def test_a_linear_classifier_fails_where_convolution_with_the_bars_does_not():
    train, test = oriented_bars(jax.random.key(2), 2000), oriented_bars(jax.random.key(3), 2000)
    x_train, x_test = (np.asarray(part.images).reshape(2000, -1) for part in (train, test))
    labels = np.asarray(test.labels)
    linear = LogisticRegression(max_iter=100).fit(x_train, np.asarray(train.labels))
    responses = [(x_test @ all_bars(16, name).T).max(axis=1) for name in STEPS]
    assert linear.score(x_test, labels) < 0.32  # chance is 0.25
    assert np.mean(np.argmax(responses, axis=0) == labels) > 0.99


@pytest.mark.parametrize("size", [3, 0, 8.0])
def test_size_must_hold_a_bar(size):
    with pytest.raises(InputError, match=r"^size must be an integer of at least 4, found "):
        oriented_bars(jax.random.key(0), 4, size)
