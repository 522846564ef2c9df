"""Random changes of training images that leave their class as it is."""

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxcnn.data.arguments import integer
from jaxcnn.errors import InputError


def random_shift(key: PRNGKeyArray, images: Float[Array, "n h w c"], max_shift: int) -> Float[Array, "n h w c"]:
    """Move each image by its own displacement; zeros come in where it leaves.

    The displacements along rows and columns are independent integers, uniform in −max_shift … max_shift.

    Args:
      key: where the displacements come from.
      images: NHWC.
      max_shift: in pixels, smaller than h and w; static under ``jit``.

    Raises:
      InputError: max_shift is not an integer of at least 0, or would move an image out of its frame.
    """
    n, h, w, c = images.shape
    m = integer("max_shift", max_shift, minimum=0)
    if m >= min(h, w):
        raise InputError(f"max_shift must be smaller than height and width, found {m} for images of {h} × {w}")
    padded = jnp.pad(images, ((0, 0), (m, m), (m, m), (0, 0)))
    corners = jax.random.randint(key, (n, 2), 0, 2 * m + 1, jnp.int32)

    def window(image, corner):
        return lax.dynamic_slice(image, (corner[0], corner[1], jnp.int32(0)), (h, w, c))

    # One gather of whole windows. Measured on a CPU: as fast as gathering rows, then columns; 2 to 6 times
    # faster than a where for each displacement, and up to 6 times faster than products with shifted
    # identities.
    return jax.vmap(window)(padded, corners)
