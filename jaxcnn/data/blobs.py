"""Small shapes away from the centre: does what was learnt at one place hold at another?"""

from functools import partial

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Float32, PRNGKeyArray

from jaxcnn.data.arguments import integer, non_negative
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.labels import balanced_labels
from jaxcnn.errors import InputError

_CLASS_NAMES = ("blob", "ring", "cross")
_RADIUS = 3
_WIDTH = 2 * _RADIUS + 1


def shifted_blobs(key: PRNGKeyArray, n: int, size: int = 16, max_shift: int = 4, noise: float = 0.25) -> Dataset:
    """n images of size × size × 1, each with one shape of 7 × 7 pixels on a dark, noisy ground.

    The classes are a filled blob, a ring and a cross, equally many of each, in random order. The shape's
    pixels have the value 1, and its centre is moved from the image's centre by two integers, each uniform in
    −max_shift … max_shift. With ``max_shift=0`` every shape is centred, so that an experiment can train on
    centred images and test on moved ones. (The centre of an even size is the pixel above and left of the true
    one.)

    Args:
      key: where labels, displacements and noise come from.
      n: how many images; static under ``jit``, as are the others.
      size: height and width in pixels, at least 7.
      max_shift: largest displacement in each direction, in pixels, at most ⌊(size − 7) / 2⌋: no shape is cut.
      noise: standard deviation of the normal noise on every pixel.

    Raises:
      InputError: n, size, max_shift or noise is out of its range.
    """
    n, size = integer("n", n, minimum=1), integer("size", size, minimum=_WIDTH)
    return _blobs(key, n, size, _uncut_shift(max_shift, size), non_negative("noise", noise))


@partial(jax.jit, static_argnums=(1, 2, 3, 4))  # one program: eagerly, each of its operations is compiled on its own
def _blobs(key: PRNGKeyArray, n: int, size: int, max_shift: int, noise: float) -> Dataset:
    key_labels, key_shift, key_noise = jax.random.split(key, 3)
    labels = balanced_labels(key_labels, n, len(_CLASS_NAMES))
    shift = jax.random.randint(key_shift, (n, 2, 1), -max_shift, max_shift + 1, jnp.int32)
    # The pixel that moves to each place; what is taken around the border is ground, for no shape reaches it.
    source = (jnp.arange(size, dtype=jnp.int32) - shift) % size
    shapes = jnp.asarray(_centred_shapes(size))
    moved = shapes[labels[:, None, None], source[:, 0, :, None], source[:, 1, None, :]]
    z = jax.random.normal(key_noise, (n, size, size, 1), jnp.float32)
    return Dataset(moved[..., None] + noise * z, labels, _CLASS_NAMES)


def _uncut_shift(max_shift, size: int) -> int:
    shift, room = integer("max_shift", max_shift, minimum=0), (size - _WIDTH) // 2
    if shift > room:
        raise InputError(
            f"max_shift must be at most {room}, so that no shape of {_WIDTH} pixels is cut by an image "
            f"of size {size}, found {max_shift!r}"
        )
    return shift


def _centred_shapes(size: int) -> Float32[np.ndarray, "3 size size"]:
    """Blob: u² + v² ≤ 10; ring: 8 ≤ u² + v² ≤ 10; cross: u v = 0, with (u, v) counted from the centre."""
    u, v = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
    squared = u**2 + v**2
    shapes = np.stack([squared <= 10, (squared >= 8) & (squared <= 10), u * v == 0]).astype(np.float32)
    before = (size - _WIDTH) // 2
    after = size - _WIDTH - before
    return np.pad(shapes, ((0, 0), (before, after), (before, after)))
