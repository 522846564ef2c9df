"""From comparisons to verdicts: a leaf as a whole, and where that leaves a doubt, the elements that cause it.

A whole leaf is compared at once. If both derivatives agree as sharply as one wrong element would show, it is right. If
not, the doubt is followed by halves down to single elements, and only there is anything called wrong or a kink.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxcnn.verify.kinks import accepted, among_neighbours, diverges
from jaxcnn.verify.probe import Comparison, Point, deep_grid, fine_steps, finest_steps, grid, quick_steps
from jaxcnn.verify.report import Element

RELATIVE = 1e-5
"""Relative error that one element may have: ill-conditioned rules stay below, an error of 0.1 % is far above."""

SHARP = 1e-4
"""Relative error of one typical element that must show when a whole leaf is compared."""

MOST_WRONG, MOST_KINKS, MOST_RIGHT = 3, 8, 3
"""Elements of each verdict that are followed up in a leaf before the rest is left."""

SAMPLED = 2
"""Elements looked at in a leaf that raises no doubt, for the report."""


class Judgement(NamedTuple):
    """Elements that were looked at, and the relative error of one element that would have been seen."""

    elements: list[Element]
    resolution: float


def judge_leaf(point: Point, leaf: int, rng: np.random.Generator) -> Judgement:
    """Follow every doubt about a leaf; the first few elements of each verdict are kept."""
    lo, hi = _range(point, leaf)
    elements = list(_not_finite(point, lo, hi))
    comparisons, typical = _compare_sharply(point, lo, hi)
    if _doubt(point, comparisons, hi - lo) > 1:
        elements += _follow(point, lo, hi, typical)
    elif not elements:
        chosen = dict.fromkeys(rng.integers(lo, hi, SAMPLED).tolist())
        elements = [judge_element(point, element, typical) for element in chosen]
    bar = max(comparison.error_bar for comparison in comparisons)
    return Judgement(elements, min(bar / typical, 1.0) if typical else 0.0)


def judge_smooth(point: Point, leaf: int) -> list[Element]:
    """The wrong elements of a leaf at a point in general position, for those that a kink may have hidden."""
    lo, hi = _range(point, leaf)
    comparisons, typical = _compare_sharply(point, lo, hi)
    if _doubt(point, comparisons, hi - lo) <= 1:
        return []
    return [element for element in _follow(point, lo, hi, typical) if element.verdict == "wrong"]


def judge_element(point: Point, i: int, typical: float) -> Element:
    """The verdict on one element, from every mode and cotangent; the worst of them is told."""
    comparisons: list[Comparison] = []
    for steps in (quick_steps, grid, deep_grid):
        noise = point.noise if steps is quick_steps else point.noise_along(i, i + 1)
        comparisons = point.compare(i, i + 1, steps(point.rounding), noise)
        if all(_right(point, comparison, typical) for comparison in comparisons):
            worst = max(comparisons, key=lambda comparison: comparison.apart)
            return _element(point, i, worst, "ok")
        if steps is grid and not any(_unresolved(point, comparison, 1) for comparison in comparisons):
            break
    judged = [_judge(point, i, comparison, typical) for comparison in comparisons]
    severity = {"wrong": 2, "kink": 1, "ok": 0}
    return max(judged, key=lambda e: (severity[e.verdict], np.nan_to_num(e.absolute_error, nan=np.inf)))


def _right(point: Point, comparison: Comparison, typical: float) -> bool:
    """Whether the derivatives agree, sharply, where the function is smooth."""
    clear = not comparison.slopes.bent and not _unresolved(point, comparison, 1)
    return clear and comparison.apart <= comparison.error_bar + _rounding(comparison, typical)


def _judge(point: Point, i: int, comparison: Comparison, typical: float) -> Element:
    if _right(point, comparison, typical):
        return _element(point, i, comparison, "ok")
    if not np.isfinite(comparison.analytic):
        return _element(point, i, comparison, "kink" if diverges(point, i, comparison) else "wrong")
    low, high = np.inf, -np.inf
    if comparison.slopes.bent or _unresolved(point, comparison, 1):
        low, high = accepted(point, i, comparison)
        if _between(comparison, low, high, typical):
            return _element(point, i, comparison, "kink", (low, high))
        if not comparison.slopes.bent and comparison.apart <= comparison.error_bar:
            return _element(point, i, comparison, "ok")
    lowest, highest = among_neighbours(point, i, comparison)
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
    step, (_, index) = point.v[i], point.locate(i)
    numerical = comparison.numerical
    if between is not None:
        numerical = sum(between) / 2 if np.isfinite(sum(between)) else numerical
        between = tuple(sorted(end / step for end in between))
    return Element(index, comparison.analytic / step, numerical / step, verdict, comparison.mode.name, between)


def _compare_sharply(point: Point, lo: int, hi: int) -> tuple[list[Comparison], float]:
    """A whole range, with few steps if they tell enough; and the size of a typical term of it."""
    comparisons: list[Comparison] = []
    for steps in (quick_steps, grid, deep_grid):
        comparisons = point.compare(lo, hi, steps(point.rounding))
        if _doubt(point, comparisons, hi - lo) <= 1:
            break
    return comparisons, max(comparison.size for comparison in comparisons) / np.sqrt(hi - lo)


def _doubt(point: Point, comparisons: list[Comparison], count: int) -> float:
    """Above 1 where the derivatives differ, or the function has a kink, or nothing sharp can be said."""
    return max(_doubts(point, comparison, count) for comparison in comparisons)


def _doubts(point: Point, comparison: Comparison, count: int) -> float:
    rounding = (1e-9 + comparison.mode.eps) * comparison.size
    doubt = comparison.apart / (comparison.error_bar + rounding + 1e-300)
    if comparison.slopes.bent:
        right, left = comparison.slopes.right, comparison.slopes.left
        doubt = max(doubt, 1 + abs(right.value - left.value) / (right.error + left.error + rounding + 1e-300))
    if _unresolved(point, comparison, count):
        doubt = max(doubt, 2.0)
    return doubt if np.isfinite(doubt) else np.inf


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
    return found["wrong"] + found["kink"] + found["ok"]


def _search(point: Point, lo: int, hi: int) -> int | None:
    """The element that a doubt comes from, by halves; None where there is no doubt."""
    if _doubt(point, _compare_sharply(point, lo, hi)[0], hi - lo) <= 1:
        return None
    choices = [steps(point.rounding) for steps in (quick_steps, fine_steps, finest_steps)]
    steps = max(choices, key=lambda steps: _doubt(point, point.compare(lo, hi, steps), hi - lo))
    while hi - lo > 1:
        middle = (lo + hi) // 2
        halves = [(lo, middle), (middle, hi)]
        doubts = [_doubt(point, point.compare(*half, steps), half[1] - half[0]) for half in halves]
        if max(doubts) <= 1:
            return None
        lo, hi = halves[int(np.argmax(doubts))]
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


def _range(point: Point, leaf: int) -> tuple[int, int]:
    hi = int(point.ends[leaf])
    return hi - point.native_x[leaf].size, hi
