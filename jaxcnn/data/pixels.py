"""Stored pixels as numbers a network can take."""

import numpy as np
from jaxtyping import Float32

from jaxcnn.errors import InputError

# The value that stands for full brightness.
_FULL_SCALE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.bool_): 1}


def as_images(pixels: np.ndarray, name: str) -> Float32[np.ndarray, "..."]:
    """:func:`as_float32` of several images, where those of one channel may come without it: n h w becomes n h w 1.

    Any other number of axes is left as it is, for :func:`jaxcnn.data.validate.validate_images` to judge.
    """
    images = as_float32(pixels, name)
    return images[..., None] if images.ndim == 3 else images


def as_float32(pixels: np.ndarray, name: str) -> Float32[np.ndarray, "..."]:
    """Pixels as float32: uint8 / 255, uint16 / 65535, False and True as 0 and 1, floats as they are.

    A float that is too large for float32 becomes infinite.

    Args:
      pixels: of any shape and byte order.
      name: what to call them in an error.

    Raises:
      InputError: any other dtype: its full scale cannot be known.
    """
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    full_scale = _FULL_SCALE.get(pixels.dtype.newbyteorder("="))
    if full_scale is None:
        raise InputError(
            f"{name}: expected pixels of dtype uint8 (0…255), uint16 (0…65535), bool or floating point, "
            f"found {pixels.dtype}; convert them, as in pixels.astype(numpy.uint8)"
        )
    return pixels.astype(np.float32) / np.float32(full_scale)
