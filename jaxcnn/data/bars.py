"""Bars in four orientations: a task for which a network has to look at neighbouring pixels together."""

from functools import partial

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxcnn.data.arguments import integer, non_negative
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.labels import balanced_labels

# One step along the bar (rows, columns; rows count downwards), for each class.
_STEPS = {"horizontal": (0, 1), "diagonal": (-1, 1), "vertical": (1, 0), "antidiagonal": (1, 1)}


def oriented_bars(key: PRNGKeyArray, n: int, size: int = 16, noise: float = 0.25) -> Dataset:
    """n images of size × size × 1, each with one bright bar on a dark, noisy ground.

    The classes are the bar's angle: horizontal (0°), diagonal (45°, rising to the right), vertical (90°) and
    antidiagonal (135°, falling to the right), equally many of each, in random order. A bar is a line of
    ⌊size / 2⌋ pixels of value 1, its start uniform over the image; where it leaves the image on one side it
    enters again on the other. So every pixel has the same mean in every class, and every image the same
    brightness but for the noise: a linear function of the pixels has the same mean in every class, while a
    convolution with the four bars tells them apart.

    Args:
      key: where labels, positions and noise come from.
      n: how many images; static under ``jit``, as are the others.
      size: height and width in pixels, at least 4.
      noise: standard deviation of the normal noise on every pixel.

    Raises:
      InputError: n, size or noise is out of its range.
    """
    n, size = integer("n", n, minimum=1), integer("size", size, minimum=4)
    return _bars(key, n, size, non_negative("noise", noise))


@partial(jax.jit, static_argnums=(1, 2, 3))  # one program: eagerly, each of its operations is compiled on its own
def _bars(key: PRNGKeyArray, n: int, size: int, noise: float) -> Dataset:
    key_labels, key_start, key_noise = jax.random.split(key, 3)
    labels = balanced_labels(key_labels, n, len(_STEPS))
    start = jax.random.randint(key_start, (n, 2, 1), 0, size, jnp.int32)
    step = jnp.asarray(np.array(list(_STEPS.values()), np.int32))[labels]
    along = jnp.arange(size // 2, dtype=jnp.int32)
    pixels = (start + step[:, :, None] * along) % size
    image = jnp.arange(n)[:, None]
    bars = jnp.zeros((n, size, size), jnp.float32).at[image, pixels[:, 0], pixels[:, 1]].set(1.0)
    z = jax.random.normal(key_noise, (n, size, size, 1), jnp.float32)
    return Dataset(bars[..., None] + noise * z, labels, tuple(_STEPS))
