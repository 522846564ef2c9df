"""Max and average pooling, as a fold over the taps of the window.

``lax.reduce_window`` differentiates into ``select_and_scatter``, which XLA's CPU backend runs several times slower than
the forward pass. A fold over strided slices is a few fused loops in both directions, and differentiates by itself.
"""

from collections.abc import Sequence
from functools import reduce
from math import prod

from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.geometry import Padding, PoolGeometry
from jaxcnn.ops.windows import window_taps


def max_pool(
    x: Float[Array, "n *spatial c"],
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "n *output c"]:
    """The largest element of each window; its gradient goes to the first of several equal ones, as JAX's does.

        y[n, o, c] = max_t x[n, s·o + t − p, c]

    Args:
      x: N, spatial axes, C; the padding never wins.
      window_shape: one size a spatial axis.
      strides: s, one number or one a spatial axis; None is 1, as in :func:`flax.linen.max_pool`.
      padding: "SAME", "VALID", p for all sides, or for each axis p or (lo, hi).

    Raises:
      ValueError: the window does not fit x, or an option is out of range.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), strides=2).squeeze()
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    geometry = PoolGeometry.resolve(x.shape, window_shape, strides=strides, padding=padding)
    return reduce(_larger, window_taps(x, geometry.axes, _lowest(x.dtype)))


def avg_pool(
    x: Float[Array, "n *spatial c"],
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Float[Array, "n *output c"]:
    """The mean of each window; its gradient is spread evenly.

        y[n, o, c] = (1 / |t|) Σ_t x[n, s·o + t − p, c]

    Args:
      x: N, spatial axes, C.
      window_shape: one size a spatial axis.
      strides: s, one number or one a spatial axis; None is 1, as in :func:`flax.linen.avg_pool`.
      padding: "SAME", "VALID", p for all sides, or for each axis p or (lo, hi).
      count_include_pad: divide by the whole window's size; False counts the elements of x in it only.

    Raises:
      ValueError: the window does not fit x, or an option is out of range.
    """
    geometry = PoolGeometry.resolve(x.shape, window_shape, strides=strides, padding=padding)
    total = reduce(jnp.add, window_taps(x, geometry.axes, 0))
    if count_include_pad:
        return total / jnp.asarray(prod(axis.window for axis in geometry.axes), x.dtype)
    inside = jnp.ones((1, *x.shape[1:-1], 1), x.dtype)
    return total / reduce(jnp.add, window_taps(inside, geometry.axes, 0))


def _larger(largest, tap):
    """The later tap only where it is strictly larger, so that the first of equals stays; a NaN stays too."""
    return jnp.where((tap > largest) | jnp.isnan(tap), tap, largest)


def _lowest(dtype) -> float:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
