"""From comparisons to verdicts: a leaf as a whole, and where that leaves a doubt, the elements that cause it.

A whole leaf is compared at once. If both derivatives agree as sharply as one wrong element would show, it is right. If
not, the doubt is followed by halves down to single elements, and only there is anything called wrong or a kink.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxcnn.verify.kinks import Kink
from jaxcnn.verify.probe import TINY, Comparison, Point
from jaxcnn.verify.report import Element
from jaxcnn.verify.steps import deep_grid, fine_steps, finest_steps, grid, quick_steps

RELATIVE = 1e-5
"""Relative error that one element may have: ill-conditioned rules stay below, an error of 0.1 % is far above."""

SHARP = 1e-4
"""Relative error of one typical element that must show when a whole leaf is compared."""

FEW = 64
"""Elements that are all looked at, if a doubt is of none alone."""

SMALL = 1e-2
"""Step of an element that is much smaller than those of its leaf."""

MOST_WRONG, MOST_KINKS, MOST_RIGHT = 3, 4, 3
"""Elements of each verdict that are followed up in a leaf before the rest is left."""


class Judgement(NamedTuple):
    """Elements that were looked at, and the relative error of one element that would have been seen."""

    elements: list[Element]
    resolution: float


def judge_leaf(point: Point, leaf: int, rng: np.random.Generator) -> Judgement:
    """Follow every doubt about a leaf; the first few elements of each verdict are kept."""
    lo, hi = _range(point, leaf)
    elements, resolution = [*_not_finite(point, lo, hi), *_not_finite_in_own_types(point, lo, hi)], 0.0
    for _ in point.tiers(lo, hi):
        comparisons, typical = _compare_sharply(point, lo, hi)
        found = _follow(point, lo, hi, typical) if _doubt(point, comparisons, lo, hi) > 1 else []
        unexplained = [c.apart for c in comparisons if _evidence(c) > 1 and not {"wrong", "kink"} & _verdicts(found)]
        seen = max(0.0, *(comparison.error_bar for comparison in comparisons), *unexplained)
        resolution = max(resolution, float(min(seen / typical, 1.0)) if typical else 0.0)
        elements += found
    return Judgement(elements or [_sample(point, int(rng.integers(lo, hi)))], resolution)


def judge_smooth(point: Point, leaf: int) -> list[Element]:
    """The wrong elements of a leaf at a point in general position, for those that a kink may have hidden."""
    lo, hi = _range(point, leaf)
    comparisons, typical = _compare_sharply(point, lo, hi)
    if _doubt(point, comparisons, lo, hi) <= 1:
        return []
    return [element for element in _follow(point, lo, hi, typical) if element.verdict == "wrong"]


def judge_element(point: Point, i: int, typical: float) -> Element:
    """The verdict on one element, from every mode; the worst of them is told."""
    comparisons: list[Comparison] = []
    for steps in _steps_for(point, i):
        noise = point.noise_along(i, i + 1) if comparisons else point.noise
        comparisons = point.compare(i, i + 1, steps, noise)
        if all(_right(point, comparison, typical) for comparison in comparisons):
            worst = max(comparisons, key=lambda comparison: comparison.apart)
            return _element(point, i, worst, "ok")
        if len(steps) > 3 and not any(_unresolved(point, comparison, 1) for comparison in comparisons):
            break
    kink = Kink(point, i)
    judged = [_judge(kink, comparison, typical) for comparison in comparisons]
    severity = {"wrong": 2, "kink": 1, "ok": 0}
    return max(judged, key=lambda e: (severity[e.verdict], np.nan_to_num(e.absolute_error, nan=np.inf)))


def _steps_for(point: Point, i: int) -> Iterator[np.ndarray]:
    """A few steps; more; down to rounding; and by the element's own size, where v moves it by far more than that."""
    for steps in (quick_steps, grid, deep_grid):
        yield steps(point.rounding)
    own = point.own_step(i)
    if own < SMALL:
        yield own * grid(point.rounding)


def _sample(point: Point, i: int) -> Element:
    """An element of a leaf that raises no doubt, for the report."""
    (_, index), mode = point.locate(i), point.modes[0]
    analytic, numerical = (slope / (point.v[i] * point.unit) for slope in point.central(i, mode))
    return Element(index, analytic, numerical, "ok", mode.name)


def _right(point: Point, comparison: Comparison, typical: float) -> bool:
    """Whether the derivatives agree, sharply, where the function is smooth."""
    clear = not comparison.slopes.bent and not _unresolved(point, comparison, 1)
    return clear and comparison.apart <= comparison.error_bar + _rounding(comparison, typical)


def _judge(kink: Kink, comparison: Comparison, typical: float) -> Element:
    point, i = kink.point, kink.i
    if _right(point, comparison, typical):
        return _element(point, i, comparison, "ok")
    if not np.isfinite(comparison.analytic):
        return _element(point, i, comparison, "kink" if kink.diverges(comparison) else "wrong")
    low, high = np.inf, -np.inf
    if comparison.slopes.bent or _unresolved(point, comparison, 1):
        low, high = kink.accepted(comparison)
        if _between(comparison, low, high, typical):
            return _element(point, i, comparison, "kink", (low, high))
        if not comparison.slopes.bent and comparison.apart <= comparison.error_bar:
            return _element(point, i, comparison, "ok")
    lowest, highest = kink.among_neighbours(comparison)
    low, high = min(low, lowest), max(high, highest)
    verdict = "kink" if _between(comparison, low, high, typical) else "wrong"
    return _element(point, i, comparison, verdict, (low, high) if high > low else None)


def _between(comparison: Comparison, low: float, high: float, typical: float) -> bool:
    slack = _rounding(comparison, typical) + comparison.noise
    return low - slack <= comparison.analytic <= high + slack


def _rounding(comparison: Comparison, typical: float) -> float:
    """What rounding in the rule may do to an element, in a leaf where ``typical`` is the size of one."""
    mode, size = comparison.mode, max(abs(comparison.analytic), abs(comparison.numerical))
    return max(RELATIVE, 4 * mode.eps) * np.nan_to_num(size) + 16 * mode.eps * typical


def _element(point: Point, i: int, comparison: Comparison, verdict, between=None) -> Element:
    """In units of x, not of v."""
    step, (_, index) = point.v[i] * point.unit, point.locate(i)
    numerical = comparison.numerical
    if between is not None:
        numerical = sum(between) / 2 if np.isfinite(sum(between)) else numerical
        between = tuple(sorted(end / step for end in between))
    return Element(index, comparison.analytic / step, numerical / step, verdict, comparison.mode.name, between)


def _compare_sharply(point: Point, lo: int, hi: int) -> tuple[list[Comparison], float]:
    """A whole range, with few steps if they tell enough; and the size of a typical term of it."""
    comparisons = point.compare(lo, hi, quick_steps(point.rounding))
    for steps in (quick_steps, grid, deep_grid):
        if _doubt(point, comparisons, lo, hi) <= 1:
            break
        if steps is not quick_steps or point.measure_noise():
            comparisons = point.compare(lo, hi, steps(point.rounding))
    return comparisons, max(comparison.size for comparison in comparisons) / np.sqrt(_count(point, lo, hi))


def _count(point: Point, lo: int, hi: int) -> int:
    """Elements in [lo, hi) that are moved."""
    return max(int(np.count_nonzero(point.v[lo:hi])), 1)


def _doubt(point: Point, comparisons: list[Comparison], lo: int, hi: int) -> float:
    """Above 1 where the derivatives differ, or the function has a kink, or nothing sharp can be said."""
    count = _count(point, lo, hi)
    return max(2.0 if _unresolved(point, c, count) else _evidence(c) for c in comparisons)


def _evidence(comparison: Comparison) -> float:
    """Above 1 where the derivatives differ, or the function has a kink."""
    rounding = (1e-9 + comparison.mode.eps) * comparison.size + TINY
    evidence = comparison.apart / (comparison.error_bar + rounding)
    if comparison.slopes.bent:
        right, left = comparison.slopes.right, comparison.slopes.left
        evidence = max(evidence, 1 + abs(right.value - left.value) / (right.error + left.error + rounding))
    return evidence if np.isfinite(evidence) else np.inf


def _unresolved(point: Point, comparison: Comparison, count: int) -> bool:
    """Whether the error bar is neither sharp enough for one element nor all due to rounding."""
    rounding = 100 * comparison.noise / quick_steps(point.rounding)[1]
    return not comparison.error_bar <= max(SHARP * comparison.size / np.sqrt(count), rounding)


def _follow(point: Point, lo: int, hi: int, typical: float) -> list[Element]:
    """Single elements, found one by one from the doubt about all, each left out of the next search."""
    found: dict[str, list[Element]] = {"wrong": [], "kink": [], "ok": []}
    most = {"wrong": MOST_WRONG, "kink": MOST_KINKS, "ok": MOST_RIGHT}
    while all(len(found[verdict]) < most[verdict] for verdict in most):
        i = _search(point, lo, hi)
        if i is None:
            break
        element = judge_element(point, i, typical)
        found[element.verdict].append(element)
        point.exclude(i)
    if not found["wrong"] + found["kink"] and hi - lo <= FEW:
        for element in (judge_element(point, i, typical) for i in range(lo, hi) if point.v[i]):
            found[element.verdict].append(element)
    return found["wrong"] + found["kink"] + found["ok"]


def _verdicts(elements: list[Element]) -> set[str]:
    return {element.verdict for element in elements}


def _search(point: Point, lo: int, hi: int) -> int | None:
    """The element that a doubt comes from; None where there is no doubt, or it comes from none alone."""
    if _doubt(point, _compare_sharply(point, lo, hi)[0], lo, hi) <= 1:
        return None
    for steps in (quick_steps, fine_steps, finest_steps, grid, deep_grid):
        i = _by_halves(point, lo, hi, steps(point.rounding))
        if i is not None:
            return i
    return None


def _by_halves(point: Point, lo: int, hi: int, steps: np.ndarray) -> int | None:
    """The element with the most evidence."""

    def evidence(part: tuple[int, int]) -> float:
        return max(map(_evidence, point.compare(*part, steps))) if point.v[slice(*part)].any() else 0.0

    if evidence((lo, hi)) <= 1:
        return None
    while hi - lo > 1:
        middle = (lo + hi) // 2
        halves = [(lo, middle), (middle, hi)]
        found = [evidence(half) for half in halves]
        if max(found) <= 1:
            return None
        lo, hi = halves[int(np.argmax(found))]
    return lo


def _not_finite(point: Point, lo: int, hi: int) -> Iterator[Element]:
    """The first elements whose gradient is infinite or NaN; all of them leave the direction."""
    for mode in point.subject.modes:
        if mode.name != "reverse":
            continue
        bad = point.not_finite(mode, lo, hi)
        for i in bad[:MOST_WRONG]:
            yield judge_element(point, int(i), 0.0)
        if len(bad):
            point.exclude(bad)


def _not_finite_in_own_types(point: Point, lo: int, hi: int) -> Iterator[Element]:
    """The first elements whose gradient overflows, or becomes NaN, where the function is not evaluated in float64."""
    for i, narrow, wide in itertools.islice(point.overflows(lo, hi), MOST_WRONG):
        leaf, index = point.locate(i)
        mode = f"reverse in {point.native_x[leaf].dtype}"
        yield Element(index, narrow / point.unit, wide / point.unit, "wrong", mode)


def _range(point: Point, leaf: int) -> tuple[int, int]:
    hi = int(point.ends[leaf])
    return hi - point.native_x[leaf].size, hi
