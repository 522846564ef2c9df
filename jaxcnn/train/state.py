"""All that training changes, as one immutable pytree."""

from functools import cache, partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.errors import InputError


class TrainKeys(NamedTuple):
    """What is drawn while training: each from its own key, folded with the step."""

    order: jax.Array
    shift: jax.Array
    dropout: jax.Array


class TrainState(train_state.TrainState):
    """Flax's train state (``step``, ``params``, ``opt_state``, ``apply_fn``, ``tx``) with PRNG keys.

    Attributes:
      keys: the order of the images, their augmentation and dropout are drawn from them and ``step``; they stay.
    """

    keys: TrainKeys


def create_train_state(
    key: jax.Array,
    model: nn.Module,
    images: Float[Array | np.ndarray, "n h w c"],
    optimizer: optax.GradientTransformation | float = 1e-3,
) -> TrainState:
    """Initial parameters and optimizer state.

    Args:
      key: draws the parameters, and is the source of all later randomness.
      model: called as ``model.apply(variables, images)``, with ``train=True`` in training; returns logits
        (n, outputs).
      images: any images of the shape that will be trained on; only the shape and the dtype count.
      optimizer: any Optax optimizer, or the learning rate of Adam.

    Raises:
      InputError: the images are not floating point.

    >>> from jaxcnn.data import lab_images
    >>> from jaxcnn.models import CNN
    >>> state = create_train_state(jax.random.key(0), CNN(), lab_images().images)
    >>> jax.tree.map(jax.numpy.shape, state.params)["Dense_0"]
    {'bias': (1,), 'kernel': (256, 1)}
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"images: expected floating point, found {images.dtype} (jaxcnn.data scales integers to 0 … 1)"
        )
    tx = optimizer if isinstance(optimizer, optax.GradientTransformation) else _adam(optimizer)
    return _create(key, model.init, model.apply, tx, images.shape[1:], images.dtype)


@cache  # a state's optimizer is static: the same one lets all runs at that rate share a program
def _adam(learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(learning_rate)


@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _create(key: jax.Array, init, apply, tx, image_shape, dtype) -> TrainState:
    """In one program, where eager calls would compile an array at a time."""
    init_key, *train_keys = jax.random.split(key, 1 + len(TrainKeys._fields))
    params = init(init_key, jnp.zeros((1, *image_shape), dtype))["params"]
    state = TrainState.create(apply_fn=apply, params=params, tx=tx, keys=TrainKeys(*train_keys))
    return state.replace(step=jnp.zeros((), jnp.int32))  # Flax's Python 0 would trace the first step twice
