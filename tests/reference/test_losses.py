import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn import reference

LOGITS = np.concatenate([np.random.default_rng(0).normal(size=40), [0.0, 30.0, -30.0, 800.0, -800.0]])


def optaxs(loss, logits, labels):
    """Optax's losses, and their gradients in the logits."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Optax multiplies integers by floats
        gradients = jax.grad(lambda z: jnp.sum(loss(z, labels)))(jnp.asarray(logits))
        return np.asarray(loss(jnp.asarray(logits), labels)), np.asarray(gradients)


def test_sigmoid_is_jaxs():
    with jax.enable_x64(True):
        assert_close(reference.sigmoid(LOGITS), jax.nn.sigmoid(LOGITS))


@pytest.mark.parametrize("label", [0, 1, 0.3])
def test_binary_cross_entropy_and_its_gradient_are_optaxs(label):
    labels = np.full(LOGITS.shape, label, np.float64)
    expected_loss, expected_gradient = optaxs(optax.sigmoid_binary_cross_entropy, LOGITS, labels)
    np.testing.assert_allclose(reference.sigmoid_binary_cross_entropy(LOGITS, labels), expected_loss, rtol=1e-12)
    assert_close(reference.sigmoid_binary_cross_entropy_gradient(LOGITS, labels), expected_gradient)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_softmax_cross_entropy_and_its_gradient_are_optaxs(classes):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 7, classes)), rng.integers(0, classes, size=(3, 7))
    logits[0, 0] *= 800
    with jax.enable_x64(True):
        assert_close(reference.softmax(logits), jax.nn.softmax(logits))
    losses, gradients = optaxs(optax.softmax_cross_entropy_with_integer_labels, logits, labels)
    assert_close(reference.softmax_cross_entropy(logits, labels), losses)
    assert_close(reference.softmax_cross_entropy_gradient(logits, labels), gradients)


def test_the_small_loss_of_a_confident_prediction_keeps_its_digits():
    expected = np.exp(-50.0)
    np.testing.assert_allclose(reference.sigmoid_binary_cross_entropy(50.0, 1), expected, rtol=1e-12)
    np.testing.assert_allclose(reference.softmax_cross_entropy([50.0, 0.0], 0), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "logits", "labels", "message"),
    [
        ("sigmoid_binary_cross_entropy", [0.0, 1.0], [1], r"labels.shape must be \(2,\), found \(1,\)"),
        ("sigmoid_binary_cross_entropy", [0.0, 1.0], [-1, 1], r"labels must be in \[0, 1\], found -1.0 to 1.0"),
        ("softmax_cross_entropy", [[0.0, 1.0]], [0, 1], r"labels.shape must be \(1,\), found \(2,\)"),
        ("softmax_cross_entropy", [[0.0, 1.0]], [2], "labels must be from 0 to 1, found 2 to 2"),
        ("softmax_cross_entropy", [[0.0, 1.0]], [1.0], "labels integers, found .*float64"),
    ],
)
def test_labels_that_do_not_fit_are_refused(loss, logits, labels, message):
    for name in (loss, f"{loss}_gradient"):
        with pytest.raises(ValueError, match=message):
            getattr(reference, name)(np.array(logits), np.array(labels))
