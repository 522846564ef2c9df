"""All that training changes, as one immutable pytree."""

from functools import partial

import jax
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state
from jax import numpy as jnp
from jaxtyping import Array, Float


class TrainState(train_state.TrainState):
    """Flax's train state (``step``, ``params``, ``opt_state``, ``apply_fn``, ``tx``) with a PRNG key.

    Attributes:
      key: the order of the images, their augmentation and dropout are drawn from it and ``step``; it does not change.
    """

    key: jax.Array


def create_train_state(
    key: jax.Array,
    model: nn.Module,
    images: Float[Array | np.ndarray, "n h w c"],
    optimizer: optax.GradientTransformation | float = 1e-3,
) -> TrainState:
    """Initial parameters and optimizer state.

    Args:
      key: draws the parameters, and becomes the source of all later randomness.
      model: called as ``model.apply(variables, images, train=…)``, returns logits (n, outputs).
      images: any images of the shape that will be trained on; only the shape and the dtype count.
      optimizer: any Optax optimizer, or the learning rate of Adam.

    >>> from jaxcnn.data import lab_images
    >>> from jaxcnn.models import CNN
    >>> state = create_train_state(jax.random.key(0), CNN(), lab_images().images)
    >>> jax.tree.map(jax.numpy.shape, state.params)["Dense_0"]
    {'bias': (1,), 'kernel': (256, 1)}
    """
    tx = optax.adam(optimizer) if isinstance(optimizer, float) else optimizer
    return _create(key, model.init, model.apply, tx, images.shape[1:], images.dtype)


@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _create(key: jax.Array, init, apply, tx, image_shape, dtype) -> TrainState:
    """In one program, where eager calls would compile an array at a time."""
    init_key, train_key = jax.random.split(key)
    params = init(init_key, jnp.zeros((1, *image_shape), dtype))["params"]
    state = TrainState.create(apply_fn=apply, params=params, tx=tx, key=train_key)
    return state.replace(step=jnp.zeros((), jnp.int32))  # Flax's Python 0 would trace the first step twice
