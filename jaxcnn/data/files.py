"""A user's own labelled images, out of an .npz archive."""

import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.npz import read_members
from jaxcnn.data.paths import PathLike
from jaxcnn.data.pixels import as_images
from jaxcnn.data.validate import validate
from jaxcnn.errors import InputError


def load_npz(path: PathLike) -> Dataset:
    """The dataset in an archive written by ``numpy.savez``.

    Its members:

    ``images``
      n × h × w × c, or n × h × w for one channel; uint8 (divided by 255), uint16 (by 65535), bool (0 and 1),
      or floating point, which is taken as it is, in float32.
    ``labels``
      n integers 0 … K−1, each class with at least one image. An integer dtype: labels in floating point are
      refused even where they are whole numbers, for they are more often a target of regression than a class.
    ``class_names``
      K different strings; without it the classes are called "0", "1", …

    Nothing is ever unpickled.

    Args:
      path: of the archive.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: the file is damaged, a member is missing, or its shape, dtype or values are not as above.
    """
    members = read_members(path, ("images", "labels"), optional=("class_names",))
    images, labels = as_images(members["images"], f"{path}: images"), members["labels"]
    class_names = _class_names(members, f"{path}: class_names")
    validate(Dataset(images, labels, class_names), str(path))
    # Only now, for a label that int32 cannot hold would have become another one.
    return Dataset(images, labels.astype(np.int32), class_names)


def _class_names(members: dict[str, np.ndarray], name: str) -> tuple[str, ...]:
    if "class_names" not in members:
        return tuple(str(label) for label in np.unique(members["labels"]))
    names = members["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(
            f"{name}: expected one string a class, as in numpy.array(['cat', 'dog']), "
            f"found dtype {names.dtype}, shape {names.shape}"
        )
    return tuple(names.tolist())
