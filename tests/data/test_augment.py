import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.data import random_shift
from jaxcnn.errors import InputError


def distinct_images(n):
    return jnp.asarray(np.random.default_rng(0).uniform(1, 2, (n, 5, 4, 2)), jnp.float32)


def moved(image, dy, dx):
    """The image moved down by dy and right by dx, pixel by pixel."""
    h, w, _ = image.shape
    result = np.zeros_like(image)
    for y, x in np.ndindex(h, w):
        if 0 <= y - dy < h and 0 <= x - dx < w:
            result[y, x] = image[y - dy, x - dx]
    return result


def displacement(original, image, max_shift):
    span = range(-max_shift, max_shift + 1)
    (found,) = ((dy, dx) for dy in span for dx in span if np.array_equal(moved(original, dy, dx), image))
    return found


def test_each_image_is_moved_by_its_own_uniform_displacement():
    images = distinct_images(900)
    shifted = np.asarray(random_shift(jax.random.key(1), images, 1))
    counts = np.zeros((3, 3))
    for original, image in zip(np.asarray(images), shifted, strict=True):
        dy, dx = displacement(original, image, 1)
        counts[dy + 1, dx + 1] += 1
    # Nine displacements, 100 images each; four standard deviations.
    np.testing.assert_allclose(counts, 100, atol=40)


def test_without_shift_nothing_moves():
    images = distinct_images(3)
    np.testing.assert_array_equal(random_shift(jax.random.key(1), images, 0), images)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_keeps_shape_and_dtype(dtype):
    images = jnp.ones((6, 5, 7, 3), dtype)
    shifted = random_shift(jax.random.key(0), images, 4)
    assert (shifted.shape, shifted.dtype) == (images.shape, dtype)


def test_the_key_alone_decides_also_under_jit():
    images = distinct_images(900)
    jitted = jax.jit(random_shift, static_argnums=2)
    first = random_shift(jax.random.key(1), images, 1)
    np.testing.assert_array_equal(first, jitted(jax.random.key(1), images, 1))
    assert not np.array_equal(first, jitted(jax.random.key(2), images, 1))


@pytest.mark.parametrize("max_shift", [-1, 1.5, None])
def test_max_shift_is_a_number_of_pixels(max_shift):
    with pytest.raises(InputError, match=r"^max_shift must be an integer of at least 0, found "):
        random_shift(jax.random.key(0), jnp.ones((1, 5, 7, 1)), max_shift)


def test_an_image_may_not_leave_its_frame():
    message = "^max_shift must be smaller than height and width, found 5 for images of 5 × 7$"
    with pytest.raises(InputError, match=message):
        random_shift(jax.random.key(0), jnp.ones((1, 5, 7, 1)), 5)
