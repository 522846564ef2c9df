"""Where a function is not differentiable: which values a derivative rule may give there.

One element moves, and each output o has a derivative to its right, r_o, and to its left, l_o. A rule may give any value
between the two (Clarke 1983, "Optimization and Nonsmooth Analysis", §2.1: in one variable the generalised gradient is
that interval). For Σ u · f the interval is the sum of those of the outputs,

    Σ_o [min(u_o r_o, u_o l_o), max(u_o r_o, u_o l_o)]

and not the one between the sum's own two derivatives, in which kinks of opposite sign cancel. Where an output jumps,
nothing can be said and every value is accepted.

In many variables the generalised gradient is the convex hull of the gradients nearby, and holds values that no one
element's own motion shows: of three equal numbers the median follows the second, in sorted order, and yet stays where
it is if that one alone moves. So the other elements are moved, too, by a little, to break such ties.
"""

import itertools
from functools import cached_property
from typing import NamedTuple

import numpy as np

from jaxcnn.verify.probe import Comparison, Point
from jaxcnn.verify.slopes import RATIO, SURE, noise_of
from jaxcnn.verify.steps import grid

TIES_BROKEN = 8
"""Ways in which ties are broken; in the first two by the order of the elements, as sorting does."""

JUMP = 2.5
"""Growth of a quotient from step to step: 4 for a jump, 1 for a kink, 2 for a square root."""


class Kink:
    """Element i of a point, where it may have a kink; what is measured there serves all modes."""

    def __init__(self, point: Point, i: int):
        self.point, self.i = point, i

    def accepted(self, comparison: Comparison) -> tuple[float, float]:
        """The lowest and the highest derivative of Σ u · f along v here that are right; (∞, −∞) if no kink."""
        u = self.point.u
        used = u != 0
        right, left = self._sides
        if ((right.jumps | left.jumps) & used).any():
            return -np.inf, np.inf
        errors = right.errors + left.errors
        size = np.maximum(np.abs(right.values), np.abs(left.values))
        bent = used & (np.abs(right.values - left.values) > SURE * errors + 1e-6 * size)
        if not bent.any():
            sides = [side.value for side in comparison.slopes[1:] if np.isfinite(side.value)]
            return (min(sides), max(sides)) if comparison.slopes.bent else (np.inf, -np.inf)
        smooth = np.sum(np.where(used & ~bent, u * (right.values + left.values) / 2, 0))
        ends = np.stack([u * right.values, u * left.values])[:, bent]
        slack = np.sum(np.abs(u[bent]) * errors[bent])
        return float(smooth + ends.min(0).sum() - slack), float(smooth + ends.max(0).sum() + slack)

    def among_neighbours(self, comparison: Comparison) -> tuple[float, float]:
        """The lowest and the highest derivative at points nearby; (∞, −∞) where all are the same."""
        step, slopes = self._neighbours
        found = slopes[np.isfinite(slopes)]
        if not len(found):
            return np.inf, -np.inf
        slack = 1e-4 * np.abs(found).max() + 3 * comparison.noise / step
        low, high = float(found.min()), float(found.max())
        return (low, high) if high - low > slack else (np.inf, -np.inf)

    def diverges(self, comparison: Comparison) -> bool:
        """Whether an infinite derivative is one: the quotient of some side grows without end, with the same sign."""
        if np.isnan(comparison.analytic):
            return False
        steps = grid(self.point.rounding)[-5:]
        for side in (1, -1):
            values = self.point.values(self.i, self.i + 1, [0.0, *(side * steps)])
            quotients = (values[1:] - values[0]) / (side * steps) * np.sign(comparison.analytic)
            if np.isfinite(quotients).all() and (quotients[1:] > 1.3 * quotients[:-1]).all() and quotients[0] > 0:
                return True
        return False

    @cached_property
    def _sides(self) -> tuple["_Side", "_Side"]:
        return _one_side(self.point, self.i, 1), _one_side(self.point, self.i, -1)

    @cached_property
    def _neighbours(self) -> tuple[float, np.ndarray]:
        """A step, and the derivatives at points nearby, (points,).

        The others are moved by ± distance, if need be that of this element, which so is not within an eighth of that of
        any that it was tied with.
        """
        point, i = self.point, self.i
        rng = np.random.default_rng(i)
        distance = point.rounding**0.4
        step = distance / 8
        reach = np.maximum(point.reach, np.minimum(point.reach[i], 1e3 * point.reach))
        before = np.arange(len(point.v)) < i
        found = []
        for number in range(TIES_BROKEN):
            up = rng.random(len(point.v)) < 0.5 if number > 1 else before if number else ~before
            move = np.where(up, distance, -distance) * reach
            move[i] = 0
            right, left = point.values(i, i + 1, (step, -step), move)
            found.append((right - left) / (2 * step))
        return step, np.stack(found)


class _Side(NamedTuple):
    """For each output its one-sided derivative, what that may be off by, and whether it jumps instead."""

    values: np.ndarray
    errors: np.ndarray
    jumps: np.ndarray


def _one_side(point: Point, i: int, side: int) -> _Side:
    steps = grid(point.rounding)[-3:]
    at_zero, *moved = point.outputs(i, i + 1, [0.0, *(side * steps)])
    nearby = point.outputs(i, i + 1, side * 16 * point.subject.eps * np.arange(1, 9))
    noise = 4 * noise_of(nearby) + 2 * point.rounding * np.abs(point.y)
    quotients = [(value - at_zero) / (side * t) for value, t in zip(moved, steps, strict=True)]
    first, second = ((RATIO * b - a) / (RATIO - 1) for a, b in itertools.pairwise(quotients))
    sizes = [np.abs(quotient) for quotient in quotients]
    jumps = (sizes[-1] * steps[-1] > 8 * noise) & (sizes[1] > JUMP * sizes[0]) & (sizes[2] > JUMP * sizes[1])
    return _Side(second, np.abs(second - first) + 3 * noise / steps[-1], jumps)
