"""Parameters on disk: Orbax's files, with a checksum of each so that a damaged one is never read.

Orbax alone notices a missing or shortened file, but a changed byte inside an array may pass. ``SHA256SUMS`` is in the
format of the ``sha256sum`` tool, which can check a directory too: ``sha256sum --check SHA256SUMS``.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from jaxcnn.errors import InputError

SUMS = "SHA256SUMS"


def save_checkpoint(directory: Path, tree: Any) -> None:
    """Write a pytree of arrays to ``directory``, which must not exist yet."""
    import orbax.checkpoint as ocp  # half a second to import, and only runs that save or load need it

    with _plain_path(directory) as path, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    sums = _checksums(directory)
    (directory / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def restore_checkpoint(directory: Path, like: Any, sharding: jax.sharding.Sharding) -> Any:
    """Read a pytree of arrays to where ``sharding`` says.

    Args:
      directory: what :func:`save_checkpoint` wrote.
      like: a pytree of the structure, shapes and dtypes that are expected.

    Raises:
      InputError: the checkpoint is absent, damaged, or of another structure.
    """
    import orbax.checkpoint as ocp

    _verify(directory)
    expected = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like)
    with _plain_path(directory) as path, ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.metadata(path).item_metadata
        found = {} if stored is None else _shapes(stored.tree)
        if found != _shapes(expected):
            raise InputError(
                f"checkpoint {directory}: expected the arrays {_shapes(expected)} of the run's model, found {found}"
            )
        return checkpointer.restore(path, expected)


@contextmanager
def _plain_path(directory: Path) -> Iterator[Path]:
    """A path to the same place without brackets: Orbax finds its files by a glob, which reads those as a pattern."""
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder) / "parent"
        parent.symlink_to(directory.parent.absolute(), target_is_directory=True)
        yield parent / directory.name


def _shapes(tree: Any) -> dict[str, str]:
    """The shape and dtype of each array, by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): f"{x.dtype}{list(x.shape)}" for path, x in leaves}


def _verify(directory: Path) -> None:
    """Compare each file with its checksum, and the files that are there with those that were."""
    sums = directory / SUMS
    if not sums.is_file():
        raise InputError(f"checkpoint {directory}: expected a file {SUMS} in it, found none")
    lines = (line.partition("  ") for line in sums.read_text(errors="replace").splitlines())
    expected, found = {name: digest for digest, _, name in lines}, _checksums(directory)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise InputError(
                f"checkpoint {directory} is damaged: {name}: "
                f"expected SHA-256 {expected.get(name, 'of no such file')}, found {found.get(name, 'no such file')}"
            )


def _checksums(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file but the list of them, by its path in the directory."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != SUMS)
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
