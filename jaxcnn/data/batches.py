"""Batches of one fixed size, so that a jitted step is compiled once.

What is left over at the end fills a batch of that size too, masked: no example is dropped, none counted
twice.
"""

import jax
from flax import struct
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int32, PRNGKeyArray

from jaxcnn.data.arguments import integer
from jaxcnn.data.dataset import Dataset


class Batch(struct.PyTreeNode):
    """b images, some of which may only fill the batch up.

    Attributes:
      images: pixels, NHWC.
      labels: the class of each image.
      mask: True for an example, False for filling: a loss or a metric must not count it.
    """

    images: Float[Array, "b h w c"]
    labels: Int[Array, " b"]
    mask: Bool[Array, " b"]


def epoch_indices(key: PRNGKeyArray, n: int, batch_size: int) -> tuple[Int32[Array, "steps b"], Bool[Array, "steps b"]]:
    """Each of n examples once, in random order, as ⌈n / batch_size⌉ batches.

    Args:
      key: where the order comes from.
      n: how many examples; static under ``jit``.
      batch_size: examples a batch; static under ``jit``.

    Returns:
      The indices of each batch, 0 in what is left over of the last one, and the mask, False there.

    Raises:
      InputError: n is not an integer of at least 0, or batch_size not one of at least 1.
    """
    n = integer("n", n, minimum=0)
    return _in_batches(jax.random.permutation(key, n), batch_size)


def sequential_indices(n: int, batch_size: int) -> tuple[Int32[Array, "steps b"], Bool[Array, "steps b"]]:
    """:func:`epoch_indices` in the order of the dataset.

    >>> indices, mask = sequential_indices(5, 3)
    >>> indices.tolist()
    [[0, 1, 2], [3, 4, 0]]
    >>> mask.tolist()
    [[True, True, True], [True, True, False]]

    Args:
      n: how many examples; static under ``jit``.
      batch_size: examples a batch; static under ``jit``.

    Raises:
      InputError: n is not an integer of at least 0, or batch_size not one of at least 1.
    """
    return _in_batches(jnp.arange(integer("n", n, minimum=0)), batch_size)


def take_batch(dataset: Dataset, indices: Int[Array, " b"], mask: Bool[Array, " b"]) -> Batch:
    """The examples at ``indices``; also inside ``jit``, ``lax.scan`` and ``lax.fori_loop``.

    Args:
      dataset: put on a device first (``jax.device_put``) if it is to be used often.
      indices: one row of :func:`epoch_indices` or :func:`sequential_indices`.
      mask: the same row of its mask.
    """
    # NumPy arrays cannot be indexed by what is being traced.
    return Batch(jnp.asarray(dataset.images)[indices], jnp.asarray(dataset.labels)[indices], mask)


def _in_batches(order: Int[Array, " n"], batch_size: int) -> tuple[Int32[Array, "steps b"], Bool[Array, "steps b"]]:
    n, b = order.shape[0], integer("batch_size", batch_size, minimum=1)
    steps = -(-n // b)
    indices = jnp.pad(order.astype(jnp.int32), (0, steps * b - n))
    mask = jnp.arange(steps * b) < n
    return indices.reshape(steps, b), mask.reshape(steps, b)
