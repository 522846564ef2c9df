"""The random cotangent and direction of a check: all of their elements count, whatever the sizes of x and f(x)."""

import numpy as np

from jaxcnn.verify.leaves import flat, length

LARGEST_AT_ZERO = 1e4
"""What a zero is moved by at most, be the others as large as they are: in a mask they are -1e38."""


def cotangent(rng: np.random.Generator, y: list) -> np.ndarray:
    """u, the leaves of the result by their sizes, and none of it small, so that a rule that clips it shows.

    For a single number it is negative: a rule that forgets it shows.
    """
    values = flat(y)
    known = np.isfinite(values)
    if values.size == 1:
        return np.where(known, -2 - _numbers(rng, 1) ** 2, 0)
    sizes = np.array([_root_mean_square(flat([leaf])) for leaf in y])
    weights = np.clip(8 * sizes.max(), 1, 1e6) / sizes
    return np.where(known, _numbers(rng, values.size) * np.repeat(weights, [leaf.size for leaf in y]), 0)


def _numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """± numbers from ½ to 1½."""
    numbers = rng.uniform(-1, 1, count)
    return numbers + np.copysign(0.5, numbers)


def direction(rng: np.random.Generator, x: list) -> np.ndarray:
    """v: each element by the geometric mean of its own size and a typical one of its leaf.

    So it is no larger than is good for small elements of a function such as the logarithm, and yet moves them all.
    """
    return np.concatenate([_sizes(flat([leaf])) * _numbers(rng, leaf.size) for leaf in x])


def _sizes(leaf: np.ndarray) -> np.ndarray:
    own = np.abs(np.where(np.isfinite(leaf), leaf, 0))
    typical = _typical(own)
    sizes = np.sqrt(own) * np.sqrt(typical)
    return np.where(own > 0, np.maximum(sizes, 1e-4 * own), min(typical, LARGEST_AT_ZERO))


def _typical(own: np.ndarray) -> float:
    """The squared mean root of sizes, those that are far above three quarters of the others cut off."""
    if not own.any():
        return 1.0
    largest = 100 * np.quantile(own[own > 0], 0.75)
    return float(np.mean(np.sqrt(np.minimum(own, largest))) ** 2)


def _root_mean_square(leaf: np.ndarray) -> float:
    """1 where nothing is finite and other than 0."""
    finite = leaf[np.isfinite(leaf)]
    return length(finite) / np.sqrt(len(finite)) if finite.any() else 1.0
