"""Where a file has to be."""

import os
from pathlib import Path

from jaxcnn.errors import InputError

PathLike = str | os.PathLike[str]


def existing_file(path: PathLike, expected: str) -> Path:
    """``path``, at which there is a file.

    Args:
      path: of the file.
      expected: what it should be, for the error.

    Raises:
      FileNotFoundError: there is nothing.
      InputError: there is a directory.
    """
    file = Path(path)
    if os.path.isdir(file):
        raise InputError(f"{file}: expected {expected}, found a directory")
    if not os.path.exists(file):
        found = "no such file" if os.path.isdir(file.parent) else f"no directory {file.parent}"
        raise FileNotFoundError(f"{file}: expected {expected}, found {found}")
    return file
