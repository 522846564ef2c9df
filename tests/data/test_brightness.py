import jax
import numpy as np
import pytest
from scipy.stats import norm

from jaxcnn.data import dark_vs_bright, dark_vs_bright_bayes_rate, lab_images
from jaxcnn.errors import InputError

DARK = [0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.1]
BRIGHT = [0.9, 0.8, 0.9, 0.7, 0.8, 0.9, 0.8, 0.7]


def nearest_prototype(images):
    """The optimal classifier, in float64."""
    difference = np.tile(np.subtract(BRIGHT, DARK), 8)
    midpoint = np.tile(np.add(BRIGHT, DARK), 8) / 2
    return (np.asarray(images, np.float64).reshape(-1, 64) - midpoint) @ difference > 0


def test_lab_images_are_the_ten_of_the_lab():
    dataset = lab_images()
    expected = np.array([[DARK] * 8] * 5 + [[BRIGHT] * 8] * 5, np.float32)[..., None]
    np.testing.assert_array_equal(dataset.images, expected)
    assert dataset.images.dtype == np.float32
    assert dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == [0] * 5 + [1] * 5
    assert dataset.class_names == ("dark", "bright")


def test_without_noise_there_are_only_the_prototypes():
    dataset = dark_vs_bright(jax.random.key(0), 30, noise=0)
    expected = np.where(np.asarray(dataset.labels)[:, None] == 1, BRIGHT, DARK).astype(np.float32)
    np.testing.assert_array_equal(dataset.images[:, 3, :, 0], expected)


def test_noise_has_the_standard_deviation_asked_for_and_is_not_clipped():
    dataset = dark_vs_bright(jax.random.key(1), 2000, noise=0.7)
    clean = np.where(np.asarray(dataset.labels)[:, None] == 1, BRIGHT, DARK)[:, None, :, None]
    z = (np.asarray(dataset.images, np.float64) - clean) / 0.7
    # 128,000 numbers: a mean and a standard deviation within four of their own standard errors.
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)
    assert abs(z).max() > 4


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0, 5.0])
def test_bayes_rate_is_that_of_the_optimal_classifier(noise):
    datasets = [dark_vs_bright(key, 2000, noise) for key in jax.random.split(jax.random.key(2), 20)]
    right = [nearest_prototype(dataset.images) == np.asarray(dataset.labels) for dataset in datasets]
    rate = dark_vs_bright_bayes_rate(noise)
    assert abs(np.mean(right) - rate) <= 4 * np.sqrt(rate * (1 - rate) / np.size(right))


@pytest.mark.parametrize("noise", [0.3, 1.0, 4.0])
def test_bayes_rate_in_scipy(noise):
    assert dark_vs_bright_bayes_rate(noise) == pytest.approx(norm.cdf(np.sqrt(8 * 3.52) / (2 * noise)), rel=1e-12)


def test_bayes_rate_without_noise_is_one():
    assert dark_vs_bright_bayes_rate(0) == 1.0


@pytest.mark.parametrize("noise", [-1, np.nan])
def test_bayes_rate_of_no_standard_deviation(noise):
    with pytest.raises(InputError, match=r"^noise must be a finite number of at least 0"):
        dark_vs_bright_bayes_rate(noise)
