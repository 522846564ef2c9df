"""Several arrays made in one loop.

XLA's CPU backend makes a loop of its own for each array, even where all are made of the same few others. Only a
reduction may have several results. This one adds a zero to each array: LLVM unrolls its two steps, sees the zero, and
what the arrays have in common is read and computed once. It pays for arrays that are made of several others, and not
for what a ``while_loop`` carries: a result of a loop by itself takes the place of what it is made of, these do not.
"""

import functools
from collections.abc import Sequence

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array


def in_one_loop(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, all of one shape; but that -0 is 0."""
    if len(arrays) == 1:
        return list(arrays)
    zeros = [jnp.zeros((), a.dtype) for a in arrays]
    pads = [(0, 1, 0), *[(0, 0, 0)] * arrays[0].ndim]
    with_zero = [lax.pad(lax.expand_dims(a, (0,)), zero, pads) for a, zero in zip(arrays, zeros, strict=True)]
    return list(lax.reduce(with_zero, zeros, functools.partial(jax.tree.map, lax.add), (0,)))
