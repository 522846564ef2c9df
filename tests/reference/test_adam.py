import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn import reference

SHAPES = {"layer": {"kernel": (3, 4), "bias": (4,)}, "scale": ()}


def random(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda shape: rng.normal(size=shape), SHAPES, is_leaf=lambda s: isinstance(s, tuple))


@pytest.mark.parametrize("options", [(0.1, 0.9, 0.999, 1e-8), (1e-3, 0.5, 0.9, 1e-2)])
def test_ten_steps_are_optaxs(options):
    params, state = random(0), reference.adam_init(random(0))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Optax raises a float to an int32
        optimizer = optax.adam(*options)
        expected = jax.tree.map(jnp.asarray, params)
        optax_state = optimizer.init(expected)
        for seed in range(1, 11):
            params, state = reference.adam_step(params, random(seed), state, *options)
            updates, optax_state = optimizer.update(random(seed), optax_state)
            expected = optax.apply_updates(expected, updates)
            jax.tree.map(assert_close, params, expected)
    assert state.step == 10


def test_the_first_step_has_the_length_of_the_learning_rate():
    params = {"w": np.array([1.0, 2.0])}
    moved, state = reference.adam_step(params, {"w": np.array([1e3, -1e-3])}, reference.adam_init(params), 0.5)
    np.testing.assert_allclose(moved["w"], [0.5, 2.5], rtol=1e-5)
    assert state.step == 1


def test_nothing_is_changed_in_place():
    params = random(0)
    state = reference.adam_init(params)
    reference.adam_step(params, random(1), state)
    jax.tree.map(np.testing.assert_array_equal, params, random(0))
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.mean))


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ({"w": np.ones(3)}, r"w must have one shape .*found \[\(2,\), \(3,\)\]"),
        ({"v": np.ones(2)}, r"params must have the same names .*found \[\['w'\], \['v'\]\]"),
        ({"w": {"v": np.ones(2)}}, r"w must have the same names .*found \['ndarray', \['v'\]\]"),
    ],
)
def test_gradients_of_other_parameters_are_refused(gradients, message):
    params = {"w": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        reference.adam_step(params, gradients, reference.adam_init(params))
