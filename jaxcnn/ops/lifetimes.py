"""How long XLA keeps an array's memory from being another's.

XLA gives a result the memory of an array that is no longer needed, and its CPU backend then lets the one wait for the
other's last reader. Of products of equal size each is given the memory of the operand of the one before: they could
run beside each other, and run one after the other.
"""

import functools
from collections.abc import Sequence

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array

from jaxcnn.ops.loops import in_one_loop


def keep(arrays: Sequence[Array], last: Array, results: Sequence[Array]) -> list[Array]:
    """The results, with every second of the arrays kept until ``last`` is made: two cores then have work enough.

    The results are made to depend on an element of each of these and of ``last``; their values are unchanged.

    Args:
      arrays: of one shape, whose first axis is a batch.
      last: what is made last of the arrays; of the same batch and with as many axes, or of no batch and with two.
      results: made of ``last``; of the same batch, if that has one.
    """
    if 0 in arrays[0].shape:
        return list(results)
    least = functools.reduce(lax.min, map(_of_images, arrays[::2]))
    batched = last.ndim == arrays[0].ndim
    least = lax.min(least, _of_images(last)) if batched else lax.min(jnp.min(least), last[0, 0])
    least, _ = in_one_loop([least, -least])  # as part of the results' loops, it would be made for each element
    never = (least != least) & (least == least)  # what XLA does not know
    return [jnp.where(never, jnp.zeros((), result.dtype), result) for result in results]


def _of_images(array: Array) -> Array:
    """An element of each image: those of a sharded batch stay on their devices."""
    return lax.slice(array, (0,) * array.ndim, (array.shape[0], *(1,) * (array.ndim - 1)))
