"""The derivative of a function of one variable at 0, from its values near there, with an error bar.

For c sampled at t_k = t₀ 4^{−k} on both sides, c(0) = 0, there are three difference quotients,

    D(t) = (c(t) − c(−t)) / 2t        S₊(t) = c(t) / t        S₋(t) = −c(−t) / t

whose errors are series in t², in t and in t. Richardson's extrapolation removes the first term of each; what two
neighbouring steps then differ by, and what the rounding of c gives divided by t, is the error that is left (Ridders
1982, "Accurate computation of F'(x) and F'(x) F''(x)"). The step where it is smallest wins, for each quotient by
itself, unless smaller steps contradict it. Where S₊ and S₋ differ by more than their errors, c has a kink at 0.
"""

from typing import NamedTuple

import numpy as np

RATIO = 4.0
"""Between neighbouring steps: a power of two, so that steps are exact."""

SURE = 8.0
"""Error bars that two numbers lie apart before they are called different."""


class Estimate(NamedTuple):
    """A derivative, and how far from it the true one may be (one error bar)."""

    value: float
    error: float


NOTHING = Estimate(np.nan, np.inf)
"""No estimate."""


class Slopes(NamedTuple):
    """The two-sided derivative, and both one-sided ones; NaN with an infinite error where there is none."""

    central: Estimate
    right: Estimate
    left: Estimate

    @property
    def bent(self) -> bool:
        """Whether the one-sided derivatives differ by more than their errors, and by more than rounding could."""
        apart = abs(self.right.value - self.left.value)
        size = max(abs(self.right.value), abs(self.left.value))
        return bool(apart > SURE * (self.right.error + self.left.error) + 1e-6 * size)

    @property
    def best(self) -> Estimate:
        """The two-sided derivative; at the edge of the function's domain the one that there is."""
        return min((self.central, self.right, self.left), key=lambda e: (not np.isfinite(e.error), e is not self[0]))

    @property
    def error_bar(self) -> float:
        """What the best of them may be off by.

        One that is beyond the error of another says that there is more to both than their errors tell; and where the
        function has values on one side only, nothing speaks against its estimate.
        """
        central, bar = self.central, 4 * self.best.error
        if not np.isfinite(central.error):
            return SURE * bar
        if self.bent:
            return bar
        apart = [(abs(central.value - side.value), 4 * (central.error + side.error)) for side in self[1:]]
        return max(bar, *(distance for distance, allowed in apart if distance > allowed), 0.0)


def slopes(t: np.ndarray, right: np.ndarray, left: np.ndarray, noise: float) -> Slopes:
    """Estimate the derivative of c at 0.

    Args:
      t: steps (k,), k ≥ 3, each a quarter of the one before.
      right: c(t) − c(0), (k,); may hold NaN where c has no value.
      left: c(−t) − c(0), (k,).
      noise: the rounding error of a value of c.

    >>> t = 0.25 ** np.arange(4, 10)
    >>> [round(abs(side.value), 6) for side in slopes(t, np.maximum(np.sin(t), 0), np.maximum(np.sin(-t), 0), 1e-16)]
    [0.5, 1.0, 0.0]
    """
    return Slopes(
        extrapolate(t, (right - left) / (2 * t), noise, power=2),
        extrapolate(t, right / t, noise, power=1),
        extrapolate(t, -left / t, noise, power=1),
    )


def extrapolate(t: np.ndarray, quotients: np.ndarray, noise: float, *, power: int) -> Estimate:
    """The limit for t → 0 of quotients whose error begins with t to ``power`` and goes on in its multiples."""
    best, column, steps = NOTHING, quotients, t
    for order in (power, 2 * power, 3 * power):
        best = min(best, _limit(column, 3 * noise / steps), key=lambda estimate: estimate.error)
        factor = RATIO**order
        column, steps = (factor * column[1:] - column[:-1]) / (factor - 1), steps[1:]
        if len(column) < 2:
            break
    return best


def _limit(column: np.ndarray, noise: np.ndarray) -> Estimate:
    """The member of a sequence that is surest to be near its limit.

    The error of each is what it differs by from the one before, or a quarter of the difference before that, lest two be
    equal by chance. A member that is not borne out by all later ones, up to their noise, is none: the function has
    more to it at smaller steps.
    """
    differences = np.abs(np.diff(column))
    before = np.concatenate([[0.0], differences[:-1] / 4])
    errors = np.fmax(differences, before) + noise[1:]
    for k in np.argsort(np.where(np.isfinite(errors), errors, np.inf)):
        later = np.abs(column[k + 2 :] - column[k + 1])
        if np.isfinite(errors[k]) and (later <= SURE * (errors[k] + noise[k + 2 :])).all():
            return Estimate(float(column[k + 1]), float(errors[k]))
    return NOTHING


def noise_of(samples: np.ndarray) -> np.ndarray:
    """The rounding error of a smooth function's values at equal, tiny distances, from their differences.

    The k-th difference of n values with independent errors of size σ has the mean square σ² (2k)! / (k!)², while that
    of the function itself is of the k-th power of the distance (Moré & Wild 2011, "Estimating computational noise",
    §2). The middle one of k = 3, 4, 5 is taken.

    Args:
      samples: (n, …), n at least 7 values at equal distances.

    Returns:
      σ, (…); NaN where a sample is not finite.
    """
    differences, weight, levels = samples, 1.0, []
    for k in range(1, 6):
        differences = np.diff(differences, axis=0)
        weight *= k * k / ((2 * k) * (2 * k - 1))  # (k!)² / (2k)!
        if k >= 3:
            levels.append(np.sqrt(weight * np.mean(differences**2, axis=0)))
    return np.median(levels, axis=0)
