from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax import numpy as jnp

from jaxcnn.data import epoch_indices, lab_images, sequential_indices, take_batch
from jaxcnn.errors import InputError

jitted_epoch_indices = jax.jit(epoch_indices, static_argnums=(1, 2))


@given(n=st.sampled_from([0, 1, 7, 24]), batch_size=st.sampled_from([1, 5, 24, 30]), seed=st.integers(0, 2**32 - 1))
def test_each_example_exactly_once(n, batch_size, seed):
    for indices, mask in (
        epoch_indices(jax.random.key(seed), n, batch_size),
        sequential_indices(n, batch_size),
    ):
        assert indices.shape == mask.shape == (-(-n // batch_size), batch_size)
        assert (indices.dtype, mask.dtype) == (np.int32, np.bool_)
        assert sorted(indices[mask].tolist()) == list(range(n))
        assert not np.any(np.asarray(indices)[~np.asarray(mask)])


def test_more_places_than_examples_is_one_batch():
    indices, mask = sequential_indices(3, 5)
    assert indices.tolist() == [[0, 1, 2, 0, 0]]
    assert mask.tolist() == [[True, True, True, False, False]]


def test_the_key_alone_decides_the_order():
    first, again, other = (epoch_indices(jax.random.key(seed), 50, 8)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, jitted_epoch_indices(jax.random.key(0), 50, 8)[0])


def test_take_batch_in_a_scan():
    dataset = jax.device_put(lab_images())

    @jax.jit
    def masked_sum(dataset, rows):
        def step(total, row):
            batch = take_batch(dataset, *row)
            return total + jnp.sum(batch.images, where=batch.mask[:, None, None, None]), batch.labels

        return lax.scan(step, 0.0, rows)

    total, labels = masked_sum(dataset, epoch_indices(jax.random.key(0), 10, 4))
    np.testing.assert_allclose(total, np.sum(lab_images().images, dtype=np.float64), rtol=1e-6)
    assert labels.shape == (3, 4)


def test_take_batch_of_numpy_arrays_while_traced():
    taken = jax.jit(partial(take_batch, lab_images()))(jnp.array([9, 0]), jnp.array([True, False]))
    assert taken.labels.tolist() == [1, 0]
    assert taken.mask.tolist() == [True, False]
    np.testing.assert_array_equal(taken.images, lab_images().images[[9, 0]])


@pytest.mark.parametrize("n", [-1, 2.5, None])
def test_n_is_a_count(n):
    with pytest.raises(InputError, match=r"^n must be an integer of at least 0, found "):
        epoch_indices(jax.random.key(0), n, 4)
    with pytest.raises(InputError, match=r"^n must be an integer of at least 0, found "):
        sequential_indices(n, 4)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None])
def test_a_batch_has_a_place(batch_size):
    with pytest.raises(InputError, match=r"^batch_size must be an integer of at least 1, found "):
        epoch_indices(jax.random.key(0), 4, batch_size)
    with pytest.raises(InputError, match=r"^batch_size must be an integer of at least 1, found "):
        sequential_indices(4, batch_size)
