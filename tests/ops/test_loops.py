"""Arrays that are made in one loop are the arrays, and are made in one loop."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.ops.loops import in_one_loop

X = np.random.default_rng(0).normal(size=(3, 5, 7)).astype("float32")


def arrays(x):
    return [x + 1, x * 2, jnp.sin(x)]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_they_are_the_arrays(count, dtype):
    with jax.enable_x64(True):
        expected = arrays(jnp.asarray(X, dtype))[:count]
        for actual, array in zip(in_one_loop(expected), expected, strict=True):
            assert actual.dtype == array.dtype
            np.testing.assert_array_equal(actual, array)


def test_they_may_be_of_several_types():
    expected = [jnp.asarray(X), jnp.asarray(X > 0, jnp.int32)]
    for actual, array in zip(in_one_loop(expected), expected, strict=True):
        assert actual.dtype == array.dtype
        np.testing.assert_array_equal(actual, array)


def test_what_is_not_a_number_stays_where_it_is():
    odd = jnp.array([np.nan, np.inf, -np.inf, 1.0])
    for actual, array in zip(in_one_loop([odd, -odd]), [odd, -odd], strict=True):
        np.testing.assert_array_equal(actual, array)


def test_they_are_made_for_each_of_a_batch():
    for actual, array in zip(jax.vmap(lambda x: in_one_loop(arrays(x)))(X), arrays(X), strict=True):
        np.testing.assert_allclose(actual, array, rtol=1e-6)


def loops(f) -> int:
    """How many loops the program is."""
    lowered = jax.jit(f).trace(X).lower(lowering_platforms=("cpu",))
    text = lowered.compile().as_text() or ""
    return text.count(" fusion(")


def test_there_is_one_loop():
    assert loops(lambda x: in_one_loop(arrays(x))) == 1
    assert loops(arrays) == 3
