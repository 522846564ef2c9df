"""Any dataset by its name or path, as the command line gives it."""

import os

from jaxtyping import PRNGKeyArray

from jaxcnn.data.bars import oriented_bars
from jaxcnn.data.blobs import shifted_blobs
from jaxcnn.data.brightness import dark_vs_bright, lab_images
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.digits import digits
from jaxcnn.data.files import load_npz
from jaxcnn.data.paths import PathLike
from jaxcnn.errors import InputError

_GENERATED = {
    "dark_vs_bright": dark_vs_bright,
    "oriented_bars": oriented_bars,
    "shifted_blobs": shifted_blobs,
}
_NUM_GENERATED = 2000


def load(name_or_path: PathLike, *, key: PRNGKeyArray | None = None) -> Dataset:
    """The dataset of that name, or in the .npz archive at that path.

    ``lab``
      ten images of 8 × 8 × 1, dark and bright (:func:`jaxcnn.data.lab_images`).
    ``dark_vs_bright``, ``oriented_bars``, ``shifted_blobs``
      2000 images drawn from ``key``, of 8 × 8 × 1 with noise 1.0, 16 × 16 × 1 with noise 0.25, and 16 × 16 ×
      1 with noise 0.25 and displacements of up to 4 pixels (the functions of these names).
    ``digits``, ``digits:3,8``
      all ten handwritten digits, or only those that are listed (:func:`jaxcnn.data.digits`).

    Anything else that exists, ends in .npz or contains a path separator is a path
    (:func:`jaxcnn.data.load_npz`); a file that has one of the names above is found as ``./digits``.

    Args:
      name_or_path: one of these.
      key: where generated images come from; the others do not look at it.

    Raises:
      FileNotFoundError: it is a path and there is no such file.
      InputError: it is neither name nor path, a key is missing, or the file cannot be used.
    """
    name = os.fspath(name_or_path)
    if name == "lab":
        return lab_images()
    if name in _GENERATED:
        return _generate(name, key)
    if name == "digits":
        return digits()
    if name.startswith("digits:"):
        return digits(_listed_digits(name))
    if _looks_like_path(name):
        return load_npz(name)
    raise InputError(
        f"expected a dataset (lab, {', '.join(_GENERATED)}, digits, digits:3,8) "
        f"or the path of an .npz archive, found {name!r}"
    )


def _generate(name: str, key: PRNGKeyArray | None) -> Dataset:
    if key is None:
        raise InputError(f"{name} is drawn at random: expected a key, as in key=jax.random.key(0), found None")
    return _GENERATED[name](key, _NUM_GENERATED)


def _listed_digits(name: str) -> list[int]:
    try:
        return [int(digit) for digit in name.removeprefix("digits:").split(",")]
    except ValueError:
        raise InputError(f"expected digits separated by commas, as in digits:3,8, found {name!r}") from None


def _looks_like_path(name: str) -> bool:
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return name.endswith(".npz") or any(s in name for s in separators) or os.path.exists(name)
