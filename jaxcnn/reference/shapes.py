"""The one check of an array's shape that every layer makes."""

from collections.abc import Sequence


def check_shape(name: str, found: Sequence[int], expected: Sequence[int]) -> None:
    """Raise a ValueError that names both shapes where they differ."""
    if tuple(found) != tuple(expected):
        raise ValueError(f"{name}.shape must be {tuple(expected)}, found {tuple(found)}")
