"""What all images drawn from a key have in common."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxcnn.data import dark_vs_bright, oriented_bars, shifted_blobs, validate
from jaxcnn.errors import InputError

GENERATORS = [dark_vs_bright, oriented_bars, shifted_blobs]


@pytest.mark.parametrize("generate", GENERATORS)
def test_float32_images_and_int32_labels(generate):
    dataset = generate(jax.random.key(0), 30)
    validate(dataset, generate.__name__)
    assert dataset.images.dtype == np.float32
    assert dataset.labels.dtype == np.int32
    assert len(dataset) == 30


@pytest.mark.parametrize("generate", GENERATORS)
def test_the_key_alone_decides(generate):
    first, again, other = (generate(jax.random.key(seed), 30) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, other.images)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("generate", GENERATORS)
def test_jit_gives_the_same_and_does_not_trace_again(generate):
    traces = []

    @partial(jax.jit, static_argnums=(1,), static_argnames="noise")
    def jitted(key, n, noise):
        traces.append(n)
        return generate(key, n, noise=noise)

    for seed in (3, 4):
        compiled = jitted(jax.random.key(seed), 30, noise=0.5)
        eager = generate(jax.random.key(seed), 30, noise=0.5)
        assert compiled.class_names == eager.class_names
        np.testing.assert_array_equal(compiled.labels, eager.labels)
        # XLA may fuse the product and the sum of signal + noise · z: one rounding less.
        np.testing.assert_allclose(compiled.images, eager.images, atol=1e-6)
    assert traces == [30]


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize("n", [0, -1, 2.0, None, True])
def test_n_must_be_a_positive_integer(generate, n):
    with pytest.raises(InputError, match=r"^n must be an integer of at least 1, found "):
        generate(jax.random.key(0), n)


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize("noise", [-0.1, np.nan, np.inf, "loud"])
def test_noise_must_be_a_standard_deviation(generate, noise):
    with pytest.raises(InputError, match=r"^noise must be a finite number of at least 0, found "):
        generate(jax.random.key(0), 4, noise=noise)
