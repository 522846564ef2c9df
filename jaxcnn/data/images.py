"""Images without labels, out of the files that cameras, scanners and drawing programs write."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from jaxcnn.data.npz import read_members
from jaxcnn.data.paths import PathLike, existing_file
from jaxcnn.data.pixels import as_float32, as_images
from jaxcnn.data.validate import validate_images
from jaxcnn.errors import InputError

# Formats that hold pixels; Pillow also knows some that start another program to draw them.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
# What Pillow lets through of damaged files, found by cutting such files and changing their bytes.
_DAMAGED_IMAGE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
# Pillow's names of layouts: black and white, grey of 8 and of 16 bits, colour, colour and opacity.
_READABLE = ("1", "L", "I;16", "I;16B", "RGB", "RGBA")
_CONVERTED = {"LA": "RGBA", "CMYK": "RGB"}


def read_image(path: PathLike) -> Float32[np.ndarray, "h w c"]:
    """One PNG, JPEG, BMP, GIF, PPM, TIFF or WebP file as float32 in [0, 1].

    Black-and-white and grey images have one channel (16 bits: divided by 65535), colour three, colour with
    opacity four; a palette is looked up. The pixels come as they are stored: an orientation in a photo's EXIF
    is not applied, and an animation gives its first image.

    Args:
      path: of the file.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: the file is damaged or no image, has more pixels than Pillow trusts (89 million), or pixels
        without a known full scale (32-bit TIFF).
    """
    file = existing_file(path, "an image")
    image = _decode(file)
    if image.mode not in _READABLE:
        raise InputError(
            f"{file}: expected a black-and-white, grey (8 or 16 bits), palette, RGB, RGBA or CMYK image, "
            f"found Pillow's mode {image.mode!r}; save it as one of these or in an .npz archive"
        )
    pixels = as_float32(np.asarray(image), str(file))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read_images(paths: Iterable[PathLike]) -> tuple[list[str], list[Float32[np.ndarray, "h w c"]]]:
    """All images of several files, each an image or an .npz archive with a member ``images``.

    The archive's images are n × h × w × c or n × h × w, of the dtypes that :func:`jaxcnn.data.load_npz`
    takes. Images of different files may have different shapes.

    Args:
      paths: of the files.

    Returns:
      The images' names (a path, or for those of an archive ``path[0]``, ``path[1]``, …) and the images.

    Raises:
      FileNotFoundError: a file is not there.
      InputError: a file cannot be used, or there are no paths.
    """
    named = [pair for path in paths for pair in _named_images(path)]
    if not named:
        raise InputError("expected the paths of images, found none")
    names, images = zip(*named, strict=True)
    return list(names), list(images)


def _named_images(path: PathLike) -> list[tuple[str, Float32[np.ndarray, "h w c"]]]:
    if Path(path).suffix.lower() != ".npz":
        return [(str(path), read_image(path))]
    images = as_images(read_members(path, ("images",))["images"], f"{path}: images")
    validate_images(images, str(path))
    return [(f"{path}[{i}]", image) for i, image in enumerate(images)]


def _decode(file: Path) -> Image.Image:
    """All of the file's pixels, in a readable mode where there is one."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities that do not change a pixel, and of a size that only an attack has.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as image:
                return image.convert(_target_mode(image))
    except _DAMAGED_IMAGE as error:
        raise InputError(f"{file}: expected an intact image ({', '.join(_FORMATS)}), found: {error}") from error


def _target_mode(image: Image.Image) -> str:
    if image.mode == "P":
        return "RGBA" if image.has_transparency_data else "RGB"
    return _CONVERTED.get(image.mode) or image.mode
