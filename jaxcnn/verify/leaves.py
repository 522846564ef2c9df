"""The leaves of pytrees as one float64 vector of NumPy's, and back."""

import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.program import Precision


def cast(precision: Precision, leaves: list) -> list:
    """The leaves as the function gets them."""
    if not precision.wide:
        return leaves
    with precision.context():
        return [jnp.asarray(np.asarray(leaf, np.float64)) for leaf in leaves]


def flat_rows(leaves: list, count: int) -> np.ndarray:
    """The first rows of all leaves, side by side in float64."""
    return np.concatenate([np.asarray(leaf, np.float64)[:count].reshape(count, -1) for leaf in leaves], axis=1)


def flat(leaves: list) -> np.ndarray:
    """All elements in one float64 vector, without a copy where one leaf is one already."""
    parts = [np.asarray(leaf, np.float64).reshape(-1) for leaf in leaves]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def split(vector: np.ndarray, like: list) -> list[np.ndarray]:
    """The vector's parts in the shapes of the leaves."""
    ends = np.cumsum([leaf.size for leaf in like])[:-1]
    return [part.reshape(leaf.shape) for part, leaf in zip(np.split(vector, ends), like, strict=True)]


def products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b; a zero takes out what it meets, NaN and infinity too."""
    return a * b if a.all() and b.all() else np.where((a == 0) | (b == 0), 0, a * b)


def length(terms: np.ndarray) -> float:
    """√Σ terms², whatever their size."""
    largest = np.max(np.abs(terms), initial=0)
    if largest == 0 or not np.isfinite(largest):
        return float(largest)
    return float(largest * np.linalg.norm(terms / largest))
