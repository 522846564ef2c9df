import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn import reference
from jaxcnn.data import lab_images
from jaxcnn.losses import classification_loss
from jaxcnn.models import CNN

LEARNING_RATE = 1e-2


def problem(kind):
    """Flax's initial parameters, images and labels, the floats in float64."""
    data = lab_images()
    images = np.float64(data.images)
    if kind == "noisy":
        images = images + np.random.default_rng(0).normal(size=images.shape)
    params = CNN().init(jax.random.key(0), jnp.asarray(images, jnp.float32))["params"]
    return jax.tree.map(np.float64, params), images, np.asarray(data.labels)


def jax_loss(params, images, labels):
    return jnp.mean(classification_loss(CNN().apply({"params": params}, images), labels))


both_problems = pytest.mark.parametrize("kind", ["lab", "noisy"])


@both_problems
def test_loss_and_gradients_are_jaxs(kind):
    params, images, labels = problem(kind)
    with jax.enable_x64(True):
        expected_loss, expected_gradients = jax.jit(jax.value_and_grad(jax_loss))(params, images, labels)
    loss, gradients = reference.lab_loss_and_gradients(params, images, labels)
    assert loss == reference.lab_loss(params, images, labels)
    assert_close(loss, expected_loss)
    jax.tree.map(assert_close, gradients, expected_gradients)


def relative_error(actual, expected):
    return np.linalg.norm(actual - np.asarray(expected)) / np.linalg.norm(expected)


@pytest.mark.slow
@both_problems
@pytest.mark.parametrize("steps", [1, 100])
def test_training_is_that_of_jax_and_optax(kind, steps):
    """Rounding grows over the steps: Adam divides small gradients by their own size."""
    params, images, labels = problem(kind)
    trained = reference.lab_train(params, images, labels, steps, LEARNING_RATE)
    errors = jax.tree.map(relative_error, trained, train_with_optax(params, images, labels, steps))
    assert max(jax.tree.leaves(errors)) <= 1e-10, errors


def train_with_optax(params, images, labels, steps):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Optax raises a float to an int32
        optimizer = optax.adam(LEARNING_RATE)

        @jax.jit
        def step(params, state):
            updates, state = optimizer.update(jax.grad(jax_loss)(params, images, labels), state)
            return optax.apply_updates(params, updates), state

        params = jax.tree.map(jnp.asarray, params)
        state = optimizer.init(params)
        for _ in range(steps):
            params, state = step(params, state)
        return params


def test_what_does_not_fit_is_refused():
    params, images, labels = problem("lab")
    with pytest.raises(ValueError, match=r"labels.shape must be \(10,\), found \(10, 1\)"):
        reference.lab_loss(params, images, labels[:, None])
    with pytest.raises(ValueError, match=r"x must be .*found x.shape=\(10, 144\), kernel.shape=\(256, 1\)"):
        reference.lab_loss_and_gradients(params, images[:, :6, :6], labels)
    with pytest.raises(ValueError, match=r"bias of Conv_0.shape must be \(16,\), found \(1,\)"):
        reference.lab_loss(params | {"Conv_0": params["Conv_0"] | {"bias": np.ones(1)}}, images, labels)
