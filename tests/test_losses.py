from functools import partial

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import numpy as jnp
from tolerances import RELATIVE, assert_close

from jaxcnn import losses
from jaxcnn.losses import log_odds, probabilities

classification_loss = jax.jit(losses.classification_loss)
sigmoid_binary_cross_entropy = jax.jit(losses.sigmoid_binary_cross_entropy)
softmax_cross_entropy = jax.jit(losses.softmax_cross_entropy)

EXTREMES = (-1e4, -100.0, -30.0, -1.0, 0.0, 1.0, 30.0, 100.0, 1e4)
all_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
logits_in_range = st.floats(-1e4, 1e4, width=32)


def binary_oracle(z, y):
    return y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_oracle(z, y):
    """log Σ_j e^{z_j − z_y}, of which the term j = y is 1: exact also where the loss is tiny."""
    margins = z - np.take_along_axis(z, y[..., None], axis=-1)
    np.put_along_axis(margins, y[..., None], -np.inf, axis=-1)
    return np.logaddexp(0, np.logaddexp.reduce(margins, axis=-1))


@partial(jax.jit, static_argnums=0)
def gradient(loss, logits, labels):
    return jax.grad(lambda z: jnp.sum(loss(z, labels)))(logits)


@all_dtypes
def test_binary_is_the_formula(dtype):
    with jax.enable_x64(dtype == "float64"):
        z = jnp.asarray(np.random.default_rng(0).normal(scale=4, size=(50, 3)), dtype)
        y = jnp.asarray(np.random.default_rng(1).random((50, 3)), dtype)
        loss = sigmoid_binary_cross_entropy(z, y)
        assert loss.dtype == dtype
        assert_close(loss, binary_oracle(np.float64(z), np.float64(y)))
        assert_close(gradient(sigmoid_binary_cross_entropy, z, y), 1 / (1 + np.exp(-np.float64(z))) - np.float64(y))


@all_dtypes
def test_softmax_is_the_formula(dtype):
    with jax.enable_x64(dtype == "float64"):
        z = jnp.asarray(np.random.default_rng(0).normal(scale=4, size=(50, 3, 7)), dtype)
        y = np.random.default_rng(1).integers(0, 7, (50, 3))
        loss = softmax_cross_entropy(z, jnp.asarray(y))
        assert loss.dtype == dtype
        assert_close(loss, softmax_oracle(np.float64(z), y))
        assert_close(gradient(softmax_cross_entropy, z, jnp.asarray(y)), softmax(np.float64(z)) - np.eye(7)[y])


def test_as_optax_has_them():
    z = jnp.asarray(np.random.default_rng(2).normal(scale=5, size=(200, 6)), jnp.float32)
    y = jnp.asarray(np.random.default_rng(3).integers(0, 6, 200))
    bits = (z[:, 1] > z[:, 2]).astype(jnp.float32)
    np.testing.assert_allclose(
        sigmoid_binary_cross_entropy(z[:, 0], bits), optax.sigmoid_binary_cross_entropy(z[:, 0], bits), rtol=1e-5
    )
    np.testing.assert_allclose(
        softmax_cross_entropy(z, y), optax.softmax_cross_entropy_with_integer_labels(z, y), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("y", [0, 1])
def test_binary_keeps_the_digits_of_small_losses(y):
    z = np.arange(-80, 80, 0.25).astype(np.float32)
    loss = sigmoid_binary_cross_entropy(z, np.full(z.shape, y))
    np.testing.assert_allclose(loss, binary_oracle(np.float64(z), y), rtol=2e-6)


@pytest.mark.parametrize("y", [0, 1])
def test_softmax_keeps_the_digits_of_small_losses(y):
    margins = np.arange(0, 80, 0.25).astype(np.float32)
    z = 3 - np.stack([0 * margins, margins, margins + 1], axis=1)
    labels = np.full(margins.shape, y)
    np.testing.assert_allclose(softmax_cross_entropy(z, labels), softmax_oracle(np.float64(z), labels), rtol=2e-6)


@given(z=logits_in_range, y=st.sampled_from([0, 1]))
def test_binary_is_softmax_of_zero_and_z(z, y):
    z = np.float32(z)
    np.testing.assert_allclose(
        softmax_cross_entropy(jnp.stack([jnp.zeros_like(z), z]), y),
        sigmoid_binary_cross_entropy(z, y),
        rtol=2e-6,
        atol=1e-37,
    )


@all_dtypes
def test_extreme_logits_of_binary(dtype):
    with jax.enable_x64(dtype == "float64"):
        z, y = jnp.tile(jnp.asarray(EXTREMES, dtype), (2, 1)), np.repeat([[0], [1]], len(EXTREMES), axis=1)
        np.testing.assert_allclose(
            np.float64(sigmoid_binary_cross_entropy(z, y)),
            binary_oracle(np.float64(z), y),
            rtol=RELATIVE[dtype],
            atol=1e-7,
        )
        slopes = np.asarray(gradient(sigmoid_binary_cross_entropy, z, y), np.float64)
        np.testing.assert_array_equal(slopes[:, [0, -1]], [[0, 1], [-1, 0]])
        assert np.isfinite(slopes).all()


@all_dtypes
def test_extreme_logits_of_softmax(dtype):
    with jax.enable_x64(dtype == "float64"):
        z, y = jnp.tile(jnp.asarray([1e4, -1e4, 1e4], dtype), (3, 1)), np.arange(3)
        assert_close(softmax_cross_entropy(z, y), softmax_oracle(np.float64(z), y))
        assert_close(gradient(softmax_cross_entropy, z, y), np.array([0.5, 0, 0.5]) - np.eye(3))


def test_a_class_that_cannot_be():
    z, y = jnp.array([[1.0, -jnp.inf, 2.0], [3.0, -jnp.inf, -jnp.inf]]), jnp.array([0, 0])
    np.testing.assert_allclose(softmax_cross_entropy(z, y), [np.log1p(np.e), 0], rtol=1e-6)
    slope = gradient(softmax_cross_entropy, z, y)
    np.testing.assert_allclose(slope, softmax(np.asarray(z)) - np.eye(3)[[0, 0]], atol=1e-6)


def test_curvature_at_zero_logits():
    """Where a network begins whose last layer is zero: a formula with |z| has none there."""
    binary = jax.hessian(lambda z: sigmoid_binary_cross_entropy(z, 1))(0.0)
    np.testing.assert_allclose(binary, 0.25, rtol=1e-6)
    softmax_hessian = jax.hessian(lambda z: softmax_cross_entropy(z, 2))(jnp.zeros(4))
    np.testing.assert_allclose(softmax_hessian, np.eye(4) / 4 - np.full((4, 4), 1 / 16), atol=1e-6)


@pytest.mark.parametrize("label", [-1, 2, 300])
def test_no_class_is_nan_in_binary(label):
    z, y = jnp.array([0.3, 0.3]), jnp.array([label, 1])
    assert np.isnan(sigmoid_binary_cross_entropy(z, y)).tolist() == [True, False]
    assert np.isnan(gradient(sigmoid_binary_cross_entropy, z, y)).tolist() == [True, False]


@pytest.mark.parametrize("label", [-1, -3, 3, 300, 2**31 - 1])
def test_no_class_is_nan_in_softmax(label):
    z, y = jnp.ones((2, 3)), jnp.array([label, 1])
    assert np.isnan(softmax_cross_entropy(z, y)).tolist() == [True, False]
    assert np.isnan(gradient(softmax_cross_entropy, z, y)).all(axis=1).tolist() == [True, False]


@pytest.mark.parametrize("label", [np.uint8(200), np.int64(2**32), np.uint64(2**64 - 1), np.uint32(2**32 - 1)])
def test_labels_of_any_width_are_never_taken_for_another_class(label):
    with jax.enable_x64(True):
        losses = softmax_cross_entropy(np.arange(600.0)[None], np.array([label]))
        expected = 599 - 200 + np.log(1 / (1 - np.exp(-1))) if label == 200 else np.nan
        np.testing.assert_allclose(losses, [expected])


def test_labels_as_booleans_and_bytes():
    z = jnp.array([-2.0, 0.5, 3.0])
    for y in (np.array([True, False, True]), np.array([1, 0, 1], np.uint8), jnp.array([1.0, 0.0, 1.0], jnp.bfloat16)):
        np.testing.assert_array_equal(
            sigmoid_binary_cross_entropy(z, y), sigmoid_binary_cross_entropy(z, np.float32(y))
        )
    two = jnp.stack([jnp.zeros(3), z], axis=1)
    np.testing.assert_array_equal(
        softmax_cross_entropy(two, np.array([True, False, True])), softmax_cross_entropy(two, np.array([1, 0, 1]))
    )


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_classification_loss_is_minus_log_of_the_probabilities(outputs):
    z = jnp.asarray(np.random.default_rng(4).normal(size=(40, outputs)), jnp.float32)
    y = np.random.default_rng(5).integers(0, max(outputs, 2), 40)
    p = np.asarray(probabilities(z))
    if outputs == 1:
        assert p.shape == (40,)
        p = np.stack([1 - p, p], axis=1)
    assert p.shape == (40, max(outputs, 2))
    np.testing.assert_allclose(classification_loss(z, jnp.asarray(y)), -np.log(p[np.arange(40), y]), rtol=1e-5)


@all_dtypes
@pytest.mark.parametrize("outputs", [1, 3])
def test_dtype_of_the_logits_is_kept(dtype, outputs):
    with jax.enable_x64(dtype == "float64"):
        z, y = jnp.zeros((2, outputs), dtype), jnp.array([0, 1], jnp.int32)
        assert classification_loss(z, y).dtype == probabilities(z).dtype == dtype
        assert gradient(classification_loss, z, y).dtype == dtype


@pytest.mark.parametrize("outputs", [1, 3])
def test_transformations_agree(outputs):
    z = jnp.asarray(np.random.default_rng(6).normal(size=(4, 5, outputs)), jnp.float32)
    t = jnp.asarray(np.random.default_rng(7).normal(size=(4, 5, outputs)), jnp.float32)
    y = jnp.asarray(np.random.default_rng(8).integers(0, 2, (4, 5)))

    def loss(z):
        return jax.vmap(classification_loss)(z, y)

    one_by_one = jnp.stack([classification_loss(*pair) for pair in zip(z, y, strict=True)])
    np.testing.assert_allclose(jax.jit(loss)(z), one_by_one, rtol=1e-6)
    value, tangent = jax.jvp(loss, (z,), (t,))
    np.testing.assert_allclose(value, one_by_one, rtol=1e-6)
    np.testing.assert_allclose(
        jnp.sum(tangent), jnp.sum(jax.grad(lambda z: jnp.sum(loss(z)))(z) * t), rtol=1e-5, atol=1e-6
    )


def test_of_nothing_is_nothing():
    empty = np.zeros(0, np.int32)
    assert classification_loss(np.zeros((0, 1), np.float32), empty).shape == (0,)
    assert classification_loss(np.zeros((0, 4), np.float32), empty).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sigmoid_binary_cross_entropy(jnp.zeros((2, 1)), jnp.zeros(2)),
            ValueError,
            r"one shape: logits.shape=\(2, 1\), labels.shape=\(2,\)",
        ),
        (
            lambda: softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((2, 3), int)),
            ValueError,
            r"labels' axes, then the classes': logits.shape=\(2, 3\), labels.shape=\(2, 3\)",
        ),
        (lambda: softmax_cross_entropy(jnp.zeros(()), jnp.array(0)), ValueError, r"logits.shape=\(\)"),
        (
            lambda: softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, jnp.float32)),
            TypeError,
            "integers, found float32",
        ),
        (
            lambda: softmax_cross_entropy(jnp.zeros((2, 3), jnp.int32), jnp.zeros(2)),
            TypeError,
            "floating point, found int32",
        ),
        (lambda: sigmoid_binary_cross_entropy(jnp.int32(1), jnp.int32(1)), TypeError, "floating point, found int32"),
        (
            lambda: classification_loss(jnp.zeros(2), jnp.zeros(2, int)),
            ValueError,
            r"logits must be \(examples, outputs\): logits.shape=\(2,\)",
        ),
        (lambda: classification_loss(jnp.zeros((2, 1)), jnp.zeros(3, int)), ValueError, r"labels.shape=\(3,\)"),
        (lambda: probabilities(jnp.zeros((2, 0))), ValueError, r"\(examples, outputs\): logits.shape=\(2, 0\)"),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_log_odds_are_those_of_the_probabilities():
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    p = np.exp(z.astype(np.float64)) / np.exp(z.astype(np.float64)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_odds(z), np.log(p / (1 - p)), rtol=1e-5, atol=1e-5)
    assert np.isfinite(log_odds(np.array([[1e4, -1e4, 0.0]], np.float32))).all()
