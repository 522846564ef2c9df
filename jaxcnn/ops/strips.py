"""Images that are larger than a block, in strips: what is made of a few of an image's rows stays in the cache.

For windows with strides of 1 and no dilation. A strip of outputs sees as many rows of x, and window − 1 more.
"""

from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array

from jaxcnn.ops.geometry import WindowAxis
from jaxcnn.ops.lifetimes import first_element, zeros_after


def map_strips(f: Callable[[Array], Array], rows: int, axis: WindowAxis, x: Array) -> Array:
    """f, which gives ``rows`` rows of outputs for the rows of an image that they see, over all strips of all images.

    The last strip of an image begins early enough to be a whole one: some of its rows are made twice.
    """
    n, height = x.shape[0], axis.output_size
    count, seen = -(-height // rows), rows + axis.window - 1
    past = height - rows - axis.pad_lo + seen - axis.size

    def step(i, y):
        image, start = i // count, jnp.minimum(i % count * rows, height - rows)
        strip = f(_rows(_image(x, image), start - axis.pad_lo, seen, axis.pad_lo, past))
        return lax.dynamic_update_slice(y, strip, (image, start, *(0 for _ in y.shape[2:])))

    one = jax.eval_shape(f, jax.ShapeDtypeStruct((1, seen, *x.shape[2:]), x.dtype))
    y = jnp.full((n, height, *one.shape[2:]), first_element(x).astype(one.dtype))
    return lax.fori_loop(0, n * count, step, y)


def sum_strips(
    f: Callable[[Array, Array], list[Array]], rows: int, axis: WindowAxis, x: Array, g: Array
) -> list[Array]:
    """The sums that f gives as a list for ``rows`` rows of g and those of x that they see, over all strips.

    Past an image's end, both are zero.
    """
    n, height = x.shape[0], axis.output_size
    count, seen = -(-height // rows), rows + axis.window - 1
    start_of_last = (count - 1) * rows
    past_g, past_x = start_of_last + rows - height, start_of_last - axis.pad_lo + seen - axis.size

    def step(i, totals):
        image, start = i // count, i % count * rows
        x_rows = _rows(_image(x, image), start - axis.pad_lo, seen, axis.pad_lo, past_x)
        parts = f(x_rows, _rows(_image(g, image), start, rows, 0, past_g))
        return [total + part for total, part in zip(totals, parts, strict=True)]

    one = (jax.ShapeDtypeStruct((1, size, *a.shape[2:]), a.dtype) for size, a in ((seen, x), (rows, g)))
    return lax.fori_loop(0, n * count, step, zeros_after(g, jax.eval_shape(f, *one)))


def _image(x: Array, i) -> Array:
    return lax.dynamic_slice_in_dim(x, i, 1)


def _rows(image: Array, start, size: int, before: int, past: int) -> Array:
    """``size`` rows from ``start``, which may begin ``before`` the image and end ``past`` it: there they are zero."""
    height = image.shape[1]
    before, past, taken = max(before, 0), max(past, 0), min(size, height)
    first = jnp.clip(start, 0, height - taken)
    inside = lax.dynamic_slice_in_dim(image, first, taken, 1)
    pads = [(0, 0, 0), (before, size - taken + past, 0), *((0, 0, 0) for _ in image.shape[2:])]
    return lax.dynamic_slice_in_dim(lax.pad(inside, jnp.zeros((), image.dtype), pads), before + start - first, size, 1)
