"""Where a function is not differentiable: which values a derivative rule may give there.

One element moves, and each output o has a derivative to its right, r_o, and to its left, l_o. A rule may give any value
between the two (Clarke 1983, "Optimization and Nonsmooth Analysis", §2.1: in one variable the generalised gradient is
that interval). For Σ u · f the interval is the sum of those of the outputs,

    Σ_o [min(u_o r_o, u_o l_o), max(u_o r_o, u_o l_o)]

and not the one between the sum's own two derivatives, in which kinks of opposite sign cancel. Where an output jumps,
nothing can be said and every value is accepted.
"""

import itertools
from typing import NamedTuple

import numpy as np

from jaxcnn.verify.probe import Comparison, Point, grid
from jaxcnn.verify.slopes import RATIO, SURE, noise_of

JUMP = 2.5
"""Growth of a quotient from step to step: 4 for a jump, 1 for a kink, 2 for a square root."""


def accepted(point: Point, i: int, comparison: Comparison) -> tuple[float, float]:
    """The lowest and the highest derivative of Σ u · f along v in element i that are right; (∞, −∞) if no kink."""
    steps = grid(point.rounding)[-3:]
    u = point.u[comparison.cotangent]
    used = u != 0
    right, left = (_one_side(point, i, side, steps) for side in (1, -1))
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


def diverges(point: Point, i: int, comparison: Comparison) -> bool:
    """Whether an infinite derivative is one: the quotient of some side grows without end, with the same sign."""
    if np.isnan(comparison.analytic):
        return False
    steps = grid(point.rounding)[-5:]
    for side in (1, -1):
        values = point.values(i, i + 1, [0.0, *(side * steps)])[:, comparison.cotangent]
        quotients = (values[1:] - values[0]) / (side * steps) * np.sign(comparison.analytic)
        if np.isfinite(quotients).all() and (quotients[1:] > 1.3 * quotients[:-1]).all() and quotients[0] > 0:
            return True
    return False


class _Side(NamedTuple):
    """For each output its one-sided derivative, what that may be off by, and whether it jumps instead."""

    values: np.ndarray
    errors: np.ndarray
    jumps: np.ndarray


def _one_side(point: Point, i: int, side: int, steps: np.ndarray) -> _Side:
    at_zero, *moved = point.outputs(i, i + 1, [0.0, *(side * steps)])
    nearby = np.stack(point.outputs(i, i + 1, side * 16 * point.subject.eps * np.arange(1, 9)))
    noise = 4 * noise_of(nearby) + 2 * point.rounding * np.abs(point.y)
    quotients = [(value - at_zero) / (side * t) for value, t in zip(moved, steps, strict=True)]
    first, second = ((RATIO * b - a) / (RATIO - 1) for a, b in itertools.pairwise(quotients))
    sizes = [np.abs(quotient) for quotient in quotients]
    jumps = (sizes[-1] * steps[-1] > 8 * noise) & (sizes[1] > JUMP * sizes[0]) & (sizes[2] > JUMP * sizes[1])
    return _Side(second, np.abs(second - first) + 3 * noise / steps[-1], jumps)
