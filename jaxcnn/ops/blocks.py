"""Images in blocks: what is made of a block stays in the cache, and its memory does not grow with the batch.

Block i of ``count`` holds the images i, i + count, i + 2 count, …: where the batch is sharded over devices, each of
them has its share of every block that has as many images. Of smaller blocks the compiler gathers the batch; inside of
``shard_map`` each device has its own.
"""

from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array

from jaxcnn.ops.lifetimes import first_element, not_before, zeros_after


def images_per_block(n, image_size: int, block_size: int):
    """How many images make a block of about ``block_size``; all n, where that is only known at run time.

    Sizes are in any unit: bytes, or rows of a product.
    A divisor of n, unless the largest that fits is less than half of what would: then some images are left over.
    """
    if not isinstance(n, int):
        return n
    most = max(min(block_size // max(image_size, 1), n), 1)
    divisor = next((block for block in range(most, 0, -1) if n % block == 0), 1)
    return divisor if 2 * divisor >= most else most


def map_blocks(f: Callable[[Array], Array], block, x: Array) -> Array:
    """f, which treats each image by itself, over blocks of x's first axis."""
    count, whole = _count(x, block)
    if count == 1:
        return f(x)
    blocks = _split(x, count, whole)
    f = jax.jit(f)  # traced once for its shape and for the loop

    def step(i, y):
        return lax.dynamic_update_index_in_dim(y, f(lax.dynamic_index_in_dim(blocks, i, 1, keepdims=False)), i, 1)

    one = jax.eval_shape(f, blocks[:, 0])
    # Every element is written over. Zeros, XLA would make once, at the program's start, and copy for each such loop.
    y = jnp.full((block, count, *one.shape[1:]), first_element(x).astype(one.dtype))
    y = lax.fori_loop(0, count, step, y).reshape(whole, *one.shape[1:])
    return y if whole == x.shape[0] else jnp.concatenate([y, f(x[whole:])])


def sum_blocks(f: Callable[..., list[Array]], block, *arrays: Array) -> list[Array]:
    """The sums over images that f gives as a list, over blocks of the arrays' first axis.

    The last array is the one that is made last: nothing is done before it.
    """
    count, whole = _count(arrays[0], block)
    *earlier, last = arrays
    if count == 1:
        return f(*(not_before(last, a) for a in earlier), last)
    blocks = [_split(a, count, whole) for a in arrays]
    f = jax.jit(f)  # traced once for its shapes and for the loop

    def step(i, totals):
        parts = f(*(lax.dynamic_index_in_dim(b, i, 1, keepdims=False) for b in blocks))
        return [total + part for total, part in zip(totals, parts, strict=True)]

    if whole == last.shape[0]:
        totals = zeros_after(last, jax.eval_shape(f, *(b[:, 0] for b in blocks)))
    else:
        totals = [not_before(last, total) for total in f(*(a[whole:] for a in arrays))]
    return lax.fori_loop(0, count, step, totals)


def _count(x: Array, block) -> tuple[int, int]:
    """The number of blocks, and of the images in them."""
    n = x.shape[0]
    if not isinstance(n, int) or n <= block:
        return 1, n
    return n // block, n - n % block


def _split(x: Array, count: int, whole: int) -> Array:
    return x[:whole].reshape(whole // count, count, *x.shape[1:])
