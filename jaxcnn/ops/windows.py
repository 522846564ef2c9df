"""What a sliding window sees, tap by tap: strided slices of the padded input."""

import itertools
from collections.abc import Iterator

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Shaped

from jaxcnn.ops.geometry import WindowAxis


def window_taps(
    x: Shaped[Array, "n *spatial c"], axes: tuple[WindowAxis, ...], pad_value: float
) -> Iterator[Shaped[Array, "n *output c"]]:
    """For each tap t of the window, in row-major order, x[n, s·o + d·t − p, c] over all positions o."""
    pads = [(axis.pad_lo, axis.pad_hi, 0) for axis in axes]
    padded = lax.pad(x, jnp.asarray(pad_value, x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    n, *_, c = x.shape
    for tap in itertools.product(*(range(axis.window) for axis in axes)):
        starts = [axis.dilation * t for axis, t in zip(axes, tap, strict=True)]
        limits = [start + (axis.output_size - 1) * axis.stride + 1 for axis, start in zip(axes, starts, strict=True)]
        yield lax.slice(padded, (0, *starts, 0), (n, *limits, c), (1, *(axis.stride for axis in axes), 1))
