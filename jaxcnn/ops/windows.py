"""What a sliding window sees, tap by tap: strided slices of the padded input.

The axes of the window are those before the last, which is the channels'; whatever is before them is a batch.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Shaped

from jaxcnn.ops.geometry import WindowAxis


def window_taps(
    x: Shaped[Array, "*spatial c"], axes: tuple[WindowAxis, ...], pad_value: float
) -> Iterator[Shaped[Array, "*output c"]]:
    """For each tap t of the window, in row-major order, x[n, s·o + d·t − p, c] over all positions o."""
    padded = _pad(x, [(axis.pad_lo, axis.pad_hi) for axis in axes], pad_value)
    batch, c = x.shape[: -len(axes) - 1], x.shape[-1]
    for tap in itertools.product(*(range(axis.window) for axis in axes)):
        starts = [axis.dilation * t for axis, t in zip(axes, tap, strict=True)]
        limits = [start + (axis.output_size - 1) * axis.stride + 1 for axis, start in zip(axes, starts, strict=True)]
        strides = (*(1 for _ in batch), *(axis.stride for axis in axes), 1)
        yield lax.slice(padded, (*(0 for _ in batch), *starts, 0), (*batch, *limits, c), strides)


def padded_apart(
    x: Shaped[Array, "*spatial c"], axes: tuple[WindowAxis, ...], *, always: bool = False
) -> tuple[Shaped[Array, "*padded c"], tuple[WindowAxis, ...]]:
    """x with its zeros around it, kept out of the loops that read it, and the axes of windows over that.

    A loop that pads what it reads asks of every element whether it is there. So does one that cuts a block out of x:
    with ``always``, x is kept out of the loops even where there are no zeros, by some at the end that nobody reads.
    """
    pads = [(axis.pad_lo, max(axis.pad_hi, 1) if always else axis.pad_hi) for axis in axes]
    inside = [
        axis._replace(size=axis.size + lo + hi, pad_lo=0, pad_hi=axis.pad_hi - hi)
        for axis, (lo, hi) in zip(axes, pads, strict=True)
    ]
    return lax.optimization_barrier(_pad(x, pads, 0)), tuple(inside)


def kept_apart(x: Shaped[Array, "*shape c"]) -> Shaped[Array, "*shape c"]:
    """x, kept out of the loops that read it by zeros at its end, which are cut off again."""
    size = x.shape[-2]
    return lax.slice_in_dim(lax.optimization_barrier(_pad(x, [(0, 1)], 0)), 0, size, axis=-2)


def put_back(take: Callable[[Array], Array], shape: tuple[int, ...], taken: Array) -> Array:
    """The transpose of ``take``, which rearranges an array of that shape: elements go back and add up.

    Inside ``shard_map`` the array varies over the mesh axes that ``taken`` varies over.
    """
    zeros = lax.pcast(jnp.zeros(shape, taken.dtype), tuple(jax.typeof(taken).mat.varying), to="varying")
    _, transpose = jax.vjp(take, zeros)
    return transpose(taken)[0]


def _pad(x, pads: Sequence[tuple[int, int]], value: float):
    batch = [(0, 0)] * (x.ndim - len(pads) - 1)
    return lax.pad(x, jnp.asarray(value, x.dtype), [(lo, hi, 0) for lo, hi in (*batch, *pads, (0, 0))])
