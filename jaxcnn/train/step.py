"""One step of training and one of evaluation: pure functions of a state and a batch."""

from typing import NamedTuple

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn import xla
from jaxcnn.data.batches import Batch
from jaxcnn.losses import classification_loss
from jaxcnn.train.state import TrainState


class BatchSums(NamedTuple):
    """Sums over a batch's real examples; they add up over batches to the exact means of any data set."""

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    count: Float[Array, ""]


def update(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
    """The next state, and the mean loss of the batch's real examples under the parameters before it.

    θ ← θ − optimizer(∇_θ (1/|mask|) Σ_i mask_i ℓ(f_θ(x_i), y_i))
    """
    dropout_key = jax.random.fold_in(state.keys.dropout, state.step)

    def mean_loss(params):
        logits = state.apply_fn({"params": params}, batch.images, train=True, rngs={"dropout": dropout_key})
        return masked_mean(classification_loss(logits, batch.labels), batch.mask)

    loss, gradients = jax.value_and_grad(mean_loss)(state.params)
    with jax.numpy_dtype_promotion("standard"):  # for callers that are strict: Optax raises a float to an int32
        return state.apply_gradients(grads=gradients), loss


def evaluate_batch(state: TrainState, batch: Batch) -> BatchSums:
    """Loss and right answers, summed over the batch's real examples; no gradient, no dropout."""
    logits = state.apply_fn({"params": state.params}, batch.images)
    losses = classification_loss(logits, batch.labels)
    return BatchSums(
        loss=jnp.sum(jnp.where(batch.mask, losses, 0)),
        correct=jnp.sum(batch.mask & (predicted_classes(logits) == batch.labels), dtype=losses.dtype),
        count=jnp.sum(batch.mask, dtype=losses.dtype),
    )


def predicted_classes(logits: Float[Array, "n k"]):
    """The more probable class: z ≥ 0 for one logit, the first largest for k."""
    if logits.shape[-1] == 1:
        return (logits[:, 0] >= 0).astype(jnp.int32)
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def masked_mean(values: Float[Array, " n"], mask) -> Float[Array, ""]:
    """The mean where ``mask`` is True; 0 where it never is."""
    count = jnp.sum(mask, dtype=values.dtype)
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)


train_step = xla.jit(update, donate_argnums=0)
"""``update``, compiled; the state that goes in is consumed, so a step needs no second copy of it."""

eval_step = xla.jit(evaluate_batch)
"""``evaluate_batch``, compiled."""
