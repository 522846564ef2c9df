"""When XLA makes an array, and how long it keeps the array's memory from being another's.

XLA makes early what depends on no computed array, and keeps it until it is needed: ``not_before``, ``zeros_after``.

It gives a result the memory of an array that is no longer needed, and its CPU backend then lets the one wait for the
other's last reader. Of products of equal size each is given the memory of the operand of the one before: they could
run beside each other, and run one after the other: ``keep``.
"""

import functools
from collections.abc import Sequence

import jax
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


def not_before(x: Array, array: Array) -> Array:
    """The array, as something that is made of x.

    XLA's scheduler does early what depends on parameters or constants only, and keeps it until it is needed: for all
    layers of a deep network that is a third of the memory of a step. What is selected is always the array.
    """
    if 0 in x.shape:
        return array
    first = first_element(x)
    return jnp.where((first <= 0) | (first > 0) | jnp.isnan(first), array, first.astype(array.dtype))


def zeros_after(x: Array, like: Sequence[jax.ShapeDtypeStruct]) -> list[Array]:
    """Zeros of these shapes, which are not made before x is."""
    zero = not_before(x, jnp.zeros((), x.dtype))
    return [lax.full(a.shape, zero.astype(a.dtype)) for a in like]


def first_element(x: Array) -> Array:
    """An element, whichever."""
    return lax.slice(x, (0,) * x.ndim, (1,) * x.ndim).reshape(())


def _of_images(array: Array) -> Array:
    """An element of each image: those of a sharded batch stay on their devices."""
    return lax.slice(array, (0,) * array.ndim, (array.shape[0], *(1,) * (array.ndim - 1)))
