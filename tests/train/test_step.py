from functools import partial

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from jaxcnn.data import Batch, lab_images
from jaxcnn.losses import softmax_cross_entropy
from jaxcnn.models import CNN
from jaxcnn.train import create_train_state, eval_step, train_step
from jaxcnn.train.step import evaluate_batch, predicted_classes, update


def batch_of(n=10, num_classes=2, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    images, labels = rng.normal(size=(n, 8, 8, 1)), rng.integers(0, num_classes, n)
    return Batch(jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.int32), jnp.ones(n, bool))


def padded(batch: Batch, extra: int) -> Batch:
    return Batch(
        jnp.concatenate([batch.images, 100 * jnp.ones((extra, *batch.images.shape[1:]))]),
        jnp.concatenate([batch.labels, jnp.zeros(extra, jnp.int32)]),
        jnp.concatenate([batch.mask, jnp.zeros(extra, bool)]),
    )


def fresh(model=None, optimizer=0.01):
    return create_train_state(jax.random.key(0), model or CNN(), batch_of().images, optimizer)


def test_a_step_is_adams_on_the_mean_loss():
    state, batch, model = fresh(CNN((4,), 3)), batch_of(num_classes=3), CNN((4,), 3)

    def mean_loss(params):
        return softmax_cross_entropy(model.apply({"params": params}, batch.images), batch.labels).mean()

    loss, gradients = jax.value_and_grad(mean_loss)(state.params)
    adam = optax.adam(0.01)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = adam.update(gradients, adam.init(state.params), state.params)
    expected = optax.apply_updates(state.params, updates)
    after, found = train_step(state, batch)
    np.testing.assert_allclose(found, loss, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), after.params, expected)
    assert after.step == 1


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1, momentum=0.9), optax.adamw(1e-3), optax.lion(1e-3)])
def test_any_optax_optimizer_lowers_the_loss(optimizer):
    lab = lab_images()
    batch = Batch(jnp.asarray(lab.images), jnp.asarray(lab.labels), jnp.ones(10, bool))
    state, losses = fresh(optimizer=optimizer), []
    for _ in range(10):
        state, loss = train_step(state, batch)
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_padding_changes_neither_loss_nor_parameters():
    batch = batch_of(7)
    (plain, loss), (masked, masked_loss) = (jax.jit(update)(fresh(), b) for b in (batch, padded(batch, 3)))
    np.testing.assert_allclose(masked_loss, loss, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), masked.params, plain.params)
    for a, b in zip(eval_step(plain, padded(batch, 3)), eval_step(plain, batch), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_evaluation_counts_right_answers_and_sums_losses():
    state, batch = fresh(), batch_of(9)
    sums = eval_step(state, batch)
    logits = np.asarray(state.apply_fn({"params": state.params}, batch.images))[:, 0]
    labels = np.asarray(batch.labels)
    assert sums.count == 9
    assert int(sums.correct) == int(((logits >= 0) == labels).sum())
    np.testing.assert_allclose(sums.loss, np.logaddexp(0, np.where(labels, -logits, logits)).sum(), rtol=1e-5)


def test_evaluation_computes_no_gradient():
    text = jax.jit(evaluate_batch).lower(fresh(), batch_of()).as_text()
    assert text.count("stablehlo.dot_general") == 2  # the convolution and the dense layer, forward


def test_the_state_is_donated():
    state = fresh()
    before = state.params["Conv_0"]["kernel"]
    train_step(state, batch_of())
    assert before.is_deleted()


def test_predicted_classes_of_one_logit_and_of_several():
    assert predicted_classes(jnp.array([[-1.0], [0.0], [2.0]])).tolist() == [0, 1, 1]
    assert predicted_classes(jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]])).tolist() == [0, 2]


def test_states_of_one_model_and_optimizer_share_a_program():
    """Two keys, several steps: one trace."""
    traces = []

    @jax.jit
    def step(state, batch):
        traces.append(None)
        return update(state, batch)

    model, optimizer = CNN(), optax.adam(1e-3)
    for seed in range(2):
        state = create_train_state(jax.random.key(seed), model, batch_of().images, optimizer)
        for _ in range(3):
            state, _ = step(state, batch_of())
    assert len(traces) == 1


@pytest.mark.parametrize("what", ["train", "predict"])
def test_a_step_lowers_for_devices_that_are_not_there(what):
    def predict(state, batch):
        return state.apply_fn({"params": state.params}, batch.images)

    program = jax.jit({"train": update, "predict": predict}[what])
    exported = jax.export.export(program, platforms=["cpu", "cuda", "tpu"])(fresh(CNN(dropout=0.1)), batch_of())
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert "stablehlo.convolution" in exported.mlir_module()
