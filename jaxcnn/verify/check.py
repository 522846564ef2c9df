"""Check the derivatives of any JAX function against differences of its values."""

import secrets
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.arguments import Arguments, Which, is_whole, take_apart
from jaxcnn.verify.judge import Judgement, judge_leaf, judge_smooth
from jaxcnn.verify.probe import Point
from jaxcnn.verify.program import flat_function
from jaxcnn.verify.report import Element, GradientReport, LeafEntry
from jaxcnn.verify.subject import DOUBLE, Mode, Subject, in_a_line, prepare

MODES = ("reverse", "forward")


def check_gradients(
    f: Callable,
    *args: Any,
    wrt: Which = None,
    order: int = 1,
    modes: Collection[str] | None = None,
    has_aux: bool = False,
    seed: int | None = None,
) -> GradientReport:
    """Compare the derivatives that JAX computes for f with differences of f's values.

    Values are taken in float64 where f lets itself be evaluated in it, so that float32 functions are checked sharply;
    no setting of JAX is changed. Each leaf is compared along a random direction in which one wrong element shows, an
    error of 0.1 % in one of millions too; a doubt is followed down to single elements. At a kink, such as that of ReLU
    at 0, any value between the one-sided derivatives is right.

    Args:
      f: any function of pytrees, jitted or not, with custom derivatives or not.
      *args: where its derivatives are checked: those of all floating point leaves; integers, keys and what is no array
        are held fixed.
      wrt: only these arguments, by position or name; the others are held fixed.
      order: 2 checks the derivatives of the gradient as well.
      modes: "reverse" (``jax.vjp``) and "forward" (``jax.jvp``); None for those that f has.
      has_aux: f returns (result, auxiliary), and only the result counts.
      seed: repeats the check of a report that names it; a new one is drawn if None.

    Returns:
      The report; ``report.ok`` is False where something is wrong, ``print(report)`` says what.

    Raises:
      TypeError: an argument is complex, or nothing is floating point.
      ValueError: ``wrt``, ``order``, ``modes`` or ``seed`` is not one of those above; f raises, or cannot be
        differentiated at all.

    >>> import jax.numpy as jnp
    >>> print(check_gradients(lambda x: jnp.sum(x**3), jnp.array([1.0, 2.0]), seed=0))
    gradients agree (values in float64, seed=0)
      ok    x (2,)
    """
    _check_options(f, order, modes, seed)
    seed = secrets.randbits(32) if seed is None else seed
    arguments = take_apart(f, args, has_aux, wrt)
    broken = _unusable(f, arguments)
    if broken:
        entries = [_entry(arguments, leaf, 1, Judgement([], 0.0), broken) for leaf in range(len(arguments.names))]
        return GradientReport(tuple(entries), seed, str(arguments.floating[0].dtype))
    rng = np.random.default_rng(seed)
    entries, notes, u, evaluated_in = [], [], None, ""
    for number in range(1, order + 1):
        subject, told = prepare(f, arguments, number, u, modes)
        with np.errstate(all="ignore"):  # what is not finite is told in the report
            point = Point(subject, arguments.floating, rng)
            entries += _judge(point, arguments, number, rng)
        notes += told + _blurred(entries, number) + _at_kinks(entries, number)
        evaluated_in = evaluated_in or _evaluated_in(subject, arguments)
        u = point.u / point.unit
        if any(entry.verdict == "wrong" for entry in entries):
            break  # a wrong gradient's own gradient says nothing
        if number < order and not all(point.finite(mode) for mode in subject.modes):
            notes.append("no second derivatives were checked: the gradient is infinite")
            break
    return GradientReport(tuple(entries), seed, evaluated_in, tuple(dict.fromkeys(notes)))


def assert_gradients(f: Callable, *args: Any, **options: Any) -> None:
    """:func:`check_gradients`, for tests.

    Raises:
      AssertionError: something is wrong; its text is the report.

    >>> import jax.numpy as jnp
    >>> assert_gradients(jnp.tanh, 0.5)
    """
    __tracebackhide__ = True
    report = check_gradients(f, *args, **options)
    if not report.ok:
        raise AssertionError(str(report))


def _judge(point: Point, arguments: Arguments, order: int, rng: np.random.Generator) -> list[LeafEntry]:
    """One entry a leaf."""
    entries, nearby = [], None
    mismatch = _rule_mismatch(point)
    for leaf, x in enumerate(arguments.floating):
        judgement = judge_leaf(point, leaf, rng) if x.size else Judgement([], 0.0)
        if any(element.verdict == "kink" for element in judgement.elements):
            nearby = nearby or point.nudged(rng)
            judgement.elements.extend(judge_smooth(nearby, leaf))
        entries.append(_entry(arguments, leaf, order, judgement, mismatch))
    return entries


def _entry(arguments: Arguments, leaf: int, order: int, judgement: Judgement, reason: str) -> LeafEntry:
    rank = {"wrong": 0, "kink": 1, "ok": 2}

    def worst_first(element: Element) -> tuple:
        return rank[element.verdict], -np.nan_to_num(element.absolute_error, nan=np.inf)

    worst = sorted(judgement.elements, key=worst_first)
    verdict = "wrong" if reason else (worst[0].verdict if worst else "ok")
    shape = arguments.floating[leaf].shape
    return LeafEntry(arguments.names[leaf], shape, order, verdict, tuple(worst), judgement.resolution, reason)


def _unusable(f: Callable, arguments: Arguments) -> str:
    """Why nothing can be said: f is not a function, or has no value here; otherwise an empty string."""
    flat = flat_function(f, arguments.structure)
    try:
        # Copies, for f may donate its arguments' memory.
        first, second = (flat(*jax.tree.map(jnp.copy, arguments[:2])) for _ in range(2))
    except Exception as error:
        shapes = ", ".join(
            f"{name} {leaf.dtype}{list(leaf.shape)}"
            for name, leaf in zip(arguments.names, arguments.floating, strict=True)
        )
        raise ValueError(f"f cannot be evaluated at {shapes}: {in_a_line(error)}") from error
    if not first:
        raise TypeError("expected f to return a floating point array, found none in its result")
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        output = f"output {number} at" if len(first) > 1 else "its output at"
        eps = float(jnp.finfo(a.dtype).eps)
        a, b = (np.asarray(leaf, np.float64) for leaf in (a, b))
        differ = _differ(a, b, eps)
        if differ.any():
            return f"f is not pure: two calls with the same arguments differ, first in {output} {_first(differ)}"
        if np.isnan(a).any():
            return f"f is nan here, first in {output} {_first(np.isnan(a))}"
    return ""


def _differ(a: np.ndarray, b: np.ndarray, eps: float) -> np.ndarray:
    """Where two results are apart by more than the rounding that a parallel sum may have."""
    slack = 64 * eps * np.max(np.abs(a), where=np.isfinite(a), initial=0)
    with np.errstate(invalid="ignore"):
        return ~((np.abs(a - b) <= slack) | (a == b) | (np.isnan(a) & np.isnan(b)))


def _first(mask: np.ndarray) -> list[int]:
    """The first index where it is True."""
    return [int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape)]


def _rule_mismatch(point: Point) -> str:
    """Whether the forward pass of a reverse-mode rule computes something else than f does."""
    for mode in point.subject.modes:
        if mode.name == "reverse" and not _same_value(point, mode):
            point.measure_noise()
            if not _same_value(point, mode):
                return "the reverse-mode rule's own forward pass gives another value than f"
    return ""


def _same_value(point: Point, mode: Mode) -> bool:
    return abs(point.rule_value(mode)) <= 64 * point.noise + 64 * mode.eps * point.size_of_values


def _blurred(entries: list[LeafEntry], order: int) -> list[str]:
    return [
        f"{entry.leaf}: an error below {entry.resolution:.1g} of a typical element could not be seen for rounding"
        for entry in entries
        if entry.order == order and entry.verdict != "wrong" and entry.resolution > 1e-3
    ]


def _at_kinks(entries: list[LeafEntry], order: int) -> list[str]:
    return [
        f"{entry.leaf}: this is at a kink; where several meet in one element, automatic differentiation may give what"
        " none of them does, and a point nearby tells whether the rule is right elsewhere"
        for entry in entries
        if entry.order == order
        and {element.between is not None for element in entry.worst if element.verdict == "wrong"} == {True}
    ]


def _evaluated_in(subject: Subject, arguments: Arguments) -> str:
    if not subject.precision.wide:
        return " and ".join(dict.fromkeys(str(leaf.dtype) for leaf in arguments.floating))
    return "float64" if subject.eps == DOUBLE else "float64, in part coarser"


def _check_options(f: Callable, order: int, modes: Collection[str] | None, seed: int | None) -> None:
    if not callable(f):
        raise TypeError(f"f: expected a function, found {type(f).__name__}")
    if not is_whole(order) or order not in (1, 2):
        raise ValueError(f"order: expected 1 or 2, found {order!r}")
    if modes is not None and not _some_modes(modes):
        raise ValueError(f"modes: expected some of {', '.join(MODES)}, found {modes!r}")
    if seed is not None and (not is_whole(seed) or seed < 0):
        raise ValueError(f"seed: expected a whole number from 0, found {seed!r}")


def _some_modes(modes: Any) -> bool:
    known = isinstance(modes, Collection) and not isinstance(modes, str) and all(mode in MODES for mode in modes)
    return known and len(modes) > 0
