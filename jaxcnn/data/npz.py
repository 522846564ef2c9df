"""Arrays out of an .npz archive: all of them intact, none of them pickled."""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcnn.data.paths import PathLike, existing_file
from jaxcnn.errors import InputError

# What zipfile lets through of a damaged archive, found by cutting archives at every byte and changing each
# one.
_DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # an unknown compression method or version
    RuntimeError,  # marked as encrypted
    UnicodeDecodeError,
)
# What NumPy lets through of a member whose checksum is right but which is not a plain array.
_NOT_AN_ARRAY = (ValueError, TypeError, SyntaxError, OverflowError, MemoryError, tokenize.TokenError)


def read_members(path: PathLike, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The named arrays of an archive written by ``numpy.savez`` or ``numpy.savez_compressed``.

    Args:
      path: of the archive.
      required: members that must be there.
      optional: members to read where they are there.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: it is not an archive, is damaged, lacks a required member, or a member is not a plain array.
    """
    file = existing_file(path, "an .npz archive")
    present, contents = _read_archive(file, (*required, *optional))
    for name in required:
        if name not in contents:
            raise InputError(f"{file}: expected a member '{name}.npy', found {present}")
    return {name: _parse_array(content, f"{file}: {name}") for name, content in contents.items()}


def _read_archive(file: Path, names: Sequence[str]) -> tuple[list[str], dict[str, bytes]]:
    """The names of all members, and the bytes of the wanted ones."""
    try:
        with zipfile.ZipFile(file) as archive:
            present = archive.namelist()
            # Whole members: only at its end is a member's checksum compared.
            return present, {name: archive.read(f"{name}.npy") for name in names if f"{name}.npy" in present}
    except _DAMAGED_ARCHIVE as error:
        raise InputError(
            f"{file}: expected an intact .npz archive as numpy.savez writes it, found "
            f"{file.stat().st_size} bytes that cannot be read ({_one_line(error)})"
        ) from error


def _parse_array(content: bytes, name: str) -> np.ndarray:
    # numpy.load would take what is no .npy for a pickle; this is the part of it that reads .npy alone.
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except _NOT_AN_ARRAY as error:
        raise InputError(f"{name}: expected a plain array of numbers or strings, found {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
