import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.models import CNN


def shapes(model, image_shape=(8, 8, 1)):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *image_shape)))
    return {layer: leaf["kernel"].shape for layer, leaf in variables["params"].items()}


def test_the_lab_network_is_the_tutorials():
    assert shapes(CNN()) == {"Conv_0": (3, 3, 1, 16), "Dense_0": (4 * 4 * 16, 1)}


def test_deeper_networks_halve_the_image_at_each_stage():
    assert shapes(CNN((32, 64), 10, hidden=(128,))) == {
        "Conv_0": (3, 3, 1, 32),
        "Conv_1": (3, 3, 32, 64),
        "Dense_0": (2 * 2 * 64, 128),
        "Dense_1": (128, 10),
    }


def test_without_pooling_the_image_keeps_its_size():
    assert shapes(CNN((4,), 3, pool=False))["Dense_0"] == (8 * 8 * 4, 3)


def test_it_is_the_sum_written_by_hand():
    """z = b + Σ V · pool(relu(conv(x) + c)), with the pool as a reshape and the convolution tap by tap."""
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    variables = CNN().init(jax.random.key(1), images)
    conv, dense = variables["params"]["Conv_0"], variables["params"]["Dense_0"]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = (padded[:, i : i + 8, j : j + 8] @ np.asarray(conv["kernel"][i, j]) for i in range(3) for j in range(3))
    activation = np.maximum(sum(taps) + np.asarray(conv["bias"]), 0)
    pooled = activation.reshape(3, 4, 2, 4, 2, 16).max(axis=(2, 4))
    logits = pooled.reshape(3, -1) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(CNN().apply(variables, images), logits, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only():
    model, images = CNN(dropout=0.5), jnp.ones((2, 8, 8, 1))
    variables = model.init(jax.random.key(0), images)
    evaluated = [model.apply(variables, images) for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)
    trained = model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(np.asarray(trained), np.asarray(evaluated[0]))


def test_more_stages_than_the_image_has_halves_are_refused():
    with pytest.raises(ValueError, match="window spans 2 elements, the padded input has 1"):
        CNN((4, 4, 4, 4)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
