"""Max and average pooling, as a fold over the taps of the window.

``lax.reduce_window`` with a maximum differentiates into ``select_and_scatter``, which XLA's CPU backend runs many times
slower than the forward pass. A fold over strided slices is a few fused loops in both directions, and differentiates by
itself. Of large windows one axis is folded after another: XLA makes the fold of all taps again for each tap's gradient.
Where windows lie side by side, the gradient of the largest is a selection: slices would spread their gradients with
zeros between the elements, one array for each tap.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import prod

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.geometry import Padding, PoolGeometry, WindowAxis
from jaxcnn.ops.loops import in_one_loop
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import window_taps

MOST_AT_ONCE = 24
"""Comparisons for the gradient of an element, or terms of a mean, up to which the taps of all axes are folded at once.
On a CPU large arrays between the axes cost more than they save up to here: twice the time in ResNet's first pool."""


def max_pool(
    x: Float[Array, "*batch_and_spatial c"],
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "*batch_and_output c"]:
    """The largest element of each window; its gradient goes to the first of several equal ones, as JAX's does.

        y[n, o, c] = max_t x[n, s·o + t − p, c]

    Where a window holds a NaN, that is its result, and the gradient goes to any one of its elements.

    Args:
      x: any batch axes, as many spatial ones as the window has, C; the padding never wins.
      window_shape: one size a spatial axis.
      strides: s, one number or one a spatial axis; None is 1, as in :func:`flax.linen.max_pool`.
      padding: "SAME", "SAME_LOWER", "VALID", p for all sides, or for each axis p or (lo, hi).

    Raises:
      ValueError: the window does not fit x, or an option is out of range.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), strides=2).squeeze()
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    batch, images = _images(x, window_shape)
    geometry = PoolGeometry.resolve(images.shape, window_shape, strides=strides, padding=padding)
    y = _max(geometry, images)
    return y.reshape(*batch, *y.shape[1:])


def avg_pool(
    x: Float[Array, "*batch_and_spatial c"],
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Float[Array, "*batch_and_output c"]:
    """The mean of each window; its gradient is spread evenly.

        y[n, o, c] = (1 / |t|) Σ_t x[n, s·o + t − p, c]

    Floats are summed in float32 or better and returned in x's dtype, whatever is counted; integers are summed in
    theirs.

    Args:
      x: any batch axes, as many spatial ones as the window has, C.
      window_shape: one size a spatial axis.
      strides: s, one number or one a spatial axis; None is 1, as in :func:`flax.linen.avg_pool`.
      padding: "SAME", "SAME_LOWER", "VALID", p for all sides, or for each axis p or (lo, hi).
      count_include_pad: divide by the whole window's size; False counts the elements of x in it only.

    Raises:
      ValueError: the window does not fit x, or an option is out of range.
    """
    batch, images = _images(x, window_shape)
    geometry = PoolGeometry.resolve(images.shape, window_shape, strides=strides, padding=padding)
    terms = images.astype(accumulator(x.dtype))
    mean = _total(geometry, terms) / _count(geometry, terms.dtype, count_include_pad)
    mean = mean.reshape(*batch, *mean.shape[1:])
    return mean.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else mean


def _images(x: Array, window_shape: Sequence[int]) -> tuple[tuple[int, ...], Float[Array, "n *spatial c"]]:
    """The batch axes, and x with one in their place."""
    rank = len(tuple(window_shape))
    if x.ndim <= rank:
        raise ValueError(
            f"pooling with a window of {rank} axes needs x of at least {rank + 1} axes "
            f"({rank} spatial, C): x.shape={x.shape}, window_shape={tuple(window_shape)}"
        )
    batch, image = x.shape[: -rank - 1], x.shape[-rank - 1 :]
    return batch, x if len(batch) == 1 else x.reshape(prod(batch), *image)


def _max(geometry: PoolGeometry, x: Float[Array, "n *spatial c"]) -> Float[Array, "n *output c"]:
    """The largest of each window, by the quickest way."""
    if _tiles(geometry) and jnp.issubdtype(x.dtype, jnp.floating):
        return _max_of_tiles(geometry, x)
    comparisons = prod(axis.window**2 / axis.stride for axis in geometry.axes)
    return _fold(_larger, x, geometry.axes, _lowest(x.dtype), at_once=comparisons <= MOST_AT_ONCE)


def _total(geometry: PoolGeometry, x: Array) -> Array:
    additions = prod(axis.window for axis in geometry.axes)
    return _fold(jnp.add, x, geometry.axes, 0, at_once=additions <= MOST_AT_ONCE)


def _count(geometry: PoolGeometry, dtype, count_include_pad: bool) -> Array:
    """What the sum of each window is divided by."""
    if count_include_pad:
        return jnp.asarray(prod(axis.window for axis in geometry.axes), dtype)
    return _total(geometry, jnp.ones((1, *(axis.size for axis in geometry.axes), 1), dtype))


def _fold(
    combine: Callable[[Array, Array], Array], x: Array, axes: tuple[WindowAxis, ...], pad_value: float, *, at_once: bool
) -> Array:
    """The taps of each window combined: those of all axes at once, or of one axis after another.

    The last axis first: what keeps the first of equals on each axis then keeps the first in row-major order. All axes
    are padded before: a loop that pads what it hands to the next asks of every element whether it is there.
    """
    if at_once:
        return reduce(combine, window_taps(x, axes, pad_value))
    x = lax.pad(x, jnp.asarray(pad_value, x.dtype), [(0, 0, 0), *((a.pad_lo, a.pad_hi, 0) for a in axes), (0, 0, 0)])
    for number, axis in reversed(list(enumerate(axes))):
        alone = [WindowAxis(size, 1, 1, 1, 0, 0) for size in x.shape[1:-1]]
        alone[number] = axis._replace(size=x.shape[1 + number], pad_lo=0, pad_hi=0)
        x = reduce(combine, window_taps(x, tuple(alone), pad_value))
    return x


def _tiles(geometry: PoolGeometry) -> bool:
    """Whether no two windows share an element, and none has padding."""
    return all(axis.stride == axis.window and axis.pad_lo == axis.pad_hi == 0 for axis in geometry.axes)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _max_of_tiles(geometry: PoolGeometry, x):
    return reduce(_larger, window_taps(x, geometry.axes, 0))


@_max_of_tiles.defjvp
def _max_of_tiles_jvp(geometry: PoolGeometry, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    y, winner = _largest(geometry, lax.stop_gradient(x))
    return _value(geometry, y, winner, x), _selected(geometry, winner, x_dot)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value(geometry: PoolGeometry, y: Array, winner: Array, x: Array) -> Array:
    """y, as what was selected of x: the reduction that it comes from has no derivative."""
    return y


@_value.defjvp
def _value_jvp(geometry: PoolGeometry, primals, tangents):
    (y, winner, x), (_, _, x_dot) = primals, tangents
    return _value(geometry, y, winner, x), _selected(geometry, winner, x_dot)


def _selected(geometry: PoolGeometry, winner: Array, x: Array) -> Array:
    """Σ_t [t = winner[n, o, c]] x[n, s·o + t, c], t with axes of its own: the transpose selects."""
    tiles, t, t_axes = _tiled(geometry, x)
    return jnp.sum(jnp.where(jnp.expand_dims(winner, t_axes) == t, tiles, 0), t_axes)


def _largest(geometry: PoolGeometry, x: Array) -> tuple[Array, Array]:
    """The largest of each window and the number of the first tap that it comes from; of some tap, where there is a NaN.

    In one loop: XLA makes a fold again for each element of the tile that is selected. With few operations: XLA starts a
    second thread for a loop with more of them than bytes, however small.
    """
    first, *others = window_taps(x, geometry.axes, 0)
    largest, winner = first, jnp.zeros(first.shape, jnp.int32)
    for number, tap in enumerate(others, start=1):
        winner = jnp.where(tap > largest, jnp.int32(number), winner)
        largest = jnp.maximum(largest, tap)
    largest, winner = in_one_loop([largest, winner])
    return largest, winner


def _tiled(geometry: PoolGeometry, x: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """x with axes of their own for the taps of each tile, the number of each tap along these, and which they are."""
    windows = [axis.window for axis in geometry.axes]
    tiles = x[:, *(slice(axis.output_size * axis.window) for axis in geometry.axes)]
    for number, axis in enumerate(geometry.axes):  # one at a time: explicit sharding asks for that
        before, after = tiles.shape[: 1 + 2 * number], tiles.shape[2 + 2 * number :]
        tiles = tiles.reshape(*before, axis.output_size, axis.window, *after)
    t = jnp.arange(prod(windows), dtype=jnp.int32).reshape([1, *(k for window in windows for k in (1, window)), 1])
    return tiles, t, tuple(range(2, tiles.ndim - 1, 2))


def _larger(largest, tap):
    """The later tap only where it is strictly larger, so that the first of equals stays; a NaN stays too."""
    return jnp.where((tap > largest) | jnp.isnan(tap), tap, largest)


def _lowest(dtype) -> float:
    """What no element is smaller than; not every float8 has an infinity."""
    if jnp.issubdtype(dtype, jnp.bool_):
        return False
    if not jnp.issubdtype(dtype, jnp.floating):
        return jnp.iinfo(dtype).min
    has_infinity = np.isinf(np.asarray(np.inf).astype(dtype))
    return -jnp.inf if has_infinity else float(jnp.finfo(dtype).min)
