"""Labels drawn from a key."""

import jax
from jax import numpy as jnp
from jaxtyping import Array, Int32, PRNGKeyArray


def balanced_labels(key: PRNGKeyArray, n: int, num_classes: int) -> Int32[Array, " n"]:
    """n labels in random order, no class more than one image ahead of another.

    Balanced rather than drawn one by one, so that even a small n has an image of every class.
    """
    return (jax.random.permutation(key, n) % num_classes).astype(jnp.int32)
