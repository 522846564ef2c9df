"""Steps of differences, from 2 down: relative to the size of x, each a quarter of the one before."""

import numpy as np

from jaxcnn.verify.slopes import RATIO


def grid(rounding: float) -> np.ndarray:
    """Steps from 2 down, relative to x, to where rounding is nearly all that is left of a smooth function."""
    return _steps_down_to(rounding**0.6)


def deep_grid(rounding: float) -> np.ndarray:
    """Steps down to the spacing of floating point numbers, for what changes over much smaller distances than x."""
    return _steps_down_to(rounding)


def quick_steps(rounding: float) -> np.ndarray:
    """Three of them, around the best one for a smooth function, ε^(1/5)."""
    return _three_around(grid(rounding), rounding**0.2)


def fine_steps(rounding: float) -> np.ndarray:
    """Three small ones, which leave most kinks nearby outside."""
    return _three_around(grid(rounding), rounding**0.4)


def finest_steps(rounding: float) -> np.ndarray:
    """Three still smaller ones."""
    return _three_around(deep_grid(rounding), rounding**0.65)


def _steps_down_to(smallest: float) -> np.ndarray:
    count = int(np.ceil(np.log(2 / smallest) / np.log(RATIO)))
    return 2 * RATIO ** -np.arange(max(count, 4), dtype=np.float64)


def _three_around(steps: np.ndarray, middle: float) -> np.ndarray:
    nearest = int(np.argmin(np.abs(np.log(steps / middle))))
    first = min(max(nearest - 1, 0), len(steps) - 3)
    return steps[first : first + 3]
