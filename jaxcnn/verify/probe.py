"""One point of the function's domain: analytic and numerical derivatives there, along parts of a random direction.

With cotangents u and a direction v, all drawn from the seed, c(t) = Σ u · (f(x + t v) − f(x)) is a function of one
variable whose derivative is Σ u · (J v) = Σ (Jᵀ u) · v. No element of u or v is small (each is ± a number from ½ to
1½), so that the error of a single element of J shows in full, and errors of several cancel by chance only, with a
probability as small as the noise is against them. A part of v is its elements in [lo, hi), counted through all leaves.

The function runs in JAX, on its device; sums over its results are NumPy's, in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.function import Precision, Programs
from jaxcnn.verify.slopes import RATIO, Slopes, noise_of, slopes

COTANGENTS = 2
DOUBLE = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Mode:
    """One way of differentiating, and the precision that its rules work in.

    Attributes:
      name: "reverse" or "forward".
      eps: the rounding that its results may have.
    """

    name: str
    programs: Programs
    precision: Precision
    eps: float


class Subject(NamedTuple):
    """What is checked, and how it is evaluated.

    Attributes:
      fixed: at each of the precisions, what is held fixed.
      eps: the coarsest rounding in the program of f.
    """

    programs: Programs
    precision: Precision
    fixed: dict[Precision, Any]
    modes: tuple[Mode, ...]
    eps: float


class Comparison(NamedTuple):
    """Analytic and numerical derivative of Σ u · f along a part of v.

    Attributes:
      size: √Σ of the squared terms of the analytic one.
      noise: the rounding error of a value of c.
    """

    mode: Mode
    cotangent: int
    analytic: float
    slopes: Slopes
    size: float
    noise: float

    @property
    def numerical(self) -> float:
        """The numerical derivative."""
        return self.slopes.best.value

    @property
    def apart(self) -> float:
        """|analytic − numerical|."""
        return abs(self.analytic - self.numerical)

    @property
    def error_bar(self) -> float:
        """What the numerical derivative may be off by."""
        return 4 * self.slopes.best.error


class Point:
    """x, f(x), the random cotangents and direction, and what is known of f there.

    Attributes:
      u: cotangents, (cotangents, outputs); 0 where f is not finite.
      y: f(x), (outputs,).
      v: the direction, (elements,); 0 for elements that were excluded.
      reach: |v| before any was, (elements,): how far is far for each.
      size_of_values: √Σ (u · f(x))², (cotangents,).
      noise: the rounding error of c along all of v, (cotangents,).
      rounding: the noise against the values: the machine epsilon that f seems to have.
    """

    def __init__(self, subject: Subject, x: list, rng: np.random.Generator):
        self.subject = subject
        self.native_x = x
        self.ends = np.cumsum([leaf.size for leaf in x])
        self._x = cast(subject.precision, x)
        with subject.precision.context():
            self._y = subject.programs.value(self._x, subject.fixed[subject.precision])
        self.y = _flat(self._y)
        self.u = _cotangents(rng, self._y)
        self.v = _direction(rng, x)
        self.reach = np.abs(self.v)
        self._uploaded = None
        self._own_x = {mode.precision: cast(mode.precision, x) for mode in subject.modes}
        self._reverse = {mode: self._gradients(mode) for mode in subject.modes if mode.name == "reverse"}
        infinite = not all(map(self.finite, subject.modes))
        # Forward mode adds up all elements, and so tells nothing beside one that is infinite.
        self._modes = [mode for mode in subject.modes if mode.name == "reverse" or not infinite]
        self.size_of_values = np.array([np.linalg.norm(term) for term in _terms(self.u, self.y)])
        self.noise = self.noise_along(0, len(self.v))
        # Where f is nearly 0, what it changes by over a distance like x is its size.
        changes = [[size for _, size in self._along(mode, 0, len(self.v))] for mode in self._modes]
        size = np.maximum(self.size_of_values, np.nan_to_num(changes, posinf=0).max(0)) + 1e-300
        self.rounding = float(np.clip(np.max(self.noise / size) / 6, DOUBLE, 1 / 64))

    def compare(self, lo: int, hi: int, steps: np.ndarray, noise: np.ndarray | None = None) -> list[Comparison]:
        """Both derivatives along v in [lo, hi), for each mode and cotangent."""
        noise = self.noise if noise is None else noise
        values = self.values(lo, hi, np.concatenate([[0.0], steps, -steps]))
        right, left = np.split(values[1:] - values[0], 2)
        numerical = [slopes(steps, right[:, j], left[:, j], noise[j]) for j in range(len(self.u))]
        result = []
        for mode in self._modes:
            for j, (analytic, size) in enumerate(self._along(mode, lo, hi)):
                result.append(Comparison(mode, j, analytic, numerical[j], size, float(noise[j])))
        return result

    def values(self, lo: int, hi: int, ts: Sequence[float] | np.ndarray, move: np.ndarray | None = None) -> np.ndarray:
        """c(t) for each t and cotangent, (len(ts), cotangents); at x + move in place of x, if given."""
        return np.stack([self._dot(difference) for difference in self._differences(lo, hi, ts, move)])

    def outputs(self, lo: int, hi: int, ts: Sequence[float] | np.ndarray) -> list[np.ndarray]:
        """f(x + t v) − f(x) for each t, (outputs,) each."""
        return [_flat(difference) for difference in self._differences(lo, hi, ts)]

    def noise_along(self, lo: int, hi: int) -> np.ndarray:
        """The rounding error of c, one number a cotangent, from values a few roundings of x apart.

        They lie on one side of x, which may be a kink or a jump; on the other where these are not finite, or so far
        apart that a jump lies among them.
        """
        distances = 16 * self.subject.eps * np.arange(1, 9)
        usual = 1e4 * self.subject.eps * self.size_of_values
        found = []
        for side in (1, -1):
            samples = self.values(lo, hi, side * distances)
            noise = 4 * noise_of(samples) + 2 * DOUBLE * self.size_of_values
            if (noise <= usual).all():
                return noise
            found.append(np.where(np.isfinite(noise), noise, np.inf))
        least = np.minimum(*found)
        return np.where(np.isfinite(least), least, usual)

    def rule_values(self, mode: Mode) -> np.ndarray:
        """Σ u · (f(x) as the rule of reverse mode computes it − f(x)), one number a cotangent: 0 but for rounding."""
        return self._dot([_flat(self._reverse[mode][0]) - self.y])

    def finite(self, mode: Mode) -> bool:
        """Whether the gradients of reverse mode hold neither infinity nor NaN; True of forward mode."""
        return mode not in self._reverse or bool(np.isfinite(self._reverse[mode][1]).all())

    def not_finite(self, mode: Mode, lo: int, hi: int) -> np.ndarray:
        """The elements in [lo, hi) where a gradient of reverse mode is infinite or NaN."""
        _, gradients = self._reverse[mode]
        return lo + np.flatnonzero(~np.isfinite(gradients[:, lo:hi]).all(axis=0))

    def exclude(self, elements: int | np.ndarray) -> None:
        """Leave elements out of v from here on."""
        self.v[elements] = 0
        self._uploaded = None

    def locate(self, element: int) -> tuple[int, tuple[int, ...]]:
        """Leaf, and index in it, of an element counted through all leaves."""
        leaf = int(np.searchsorted(self.ends, element, side="right"))
        shape = self.native_x[leaf].shape
        within_leaf = element - int(self.ends[leaf]) + self.native_x[leaf].size
        return leaf, tuple(map(int, np.unravel_index(within_leaf, shape)))

    def nudged(self, rng: np.random.Generator) -> "Point":
        """A point nearby, in general position: off the kinks that x is on."""
        moves = self._like_x(_direction(rng, self.native_x))
        x = [a + (np.asarray(m) / 64).astype(a.dtype) for a, m in zip(self.native_x, moves, strict=True)]
        point = Point(self.subject, x, rng)
        for mode in point._reverse:
            point.exclude(point.not_finite(mode, 0, len(point.v)))
        return point

    def _differences(
        self, lo: int, hi: int, ts: Sequence[float] | np.ndarray, move: np.ndarray | None = None
    ) -> list[list]:
        subject, x, y = self.subject, self._x, self._y
        if self._uploaded is None:
            self._uploaded = self._like_x(self.v)
        with subject.precision.context():
            fixed = subject.fixed[subject.precision]
            if move is not None:
                x = [a + b for a, b in zip(x, self._like_x(move), strict=True)]
                y = subject.programs.value(x, fixed)
            return [subject.programs.difference(x, fixed, y, self._uploaded, lo, hi, float(t)) for t in ts]

    def _dot(self, outputs: list) -> np.ndarray:
        """Σ u · outputs, one number a cotangent; what u leaves out may be anything."""
        return np.array([np.sum(term) for term in _terms(self.u, _flat(outputs))])

    def _gradients(self, mode: Mode) -> tuple[list, np.ndarray]:
        """f(x) by the forward pass of the rule, and Jᵀ u, (cotangents, elements)."""
        x, fixed = self._own_x[mode.precision], self.subject.fixed[mode.precision]
        with mode.precision.context():
            y = jax.eval_shape(mode.programs.value, x, fixed) if mode.precision.jit else self._y
            us = [[jnp.asarray(a, like.dtype) for a, like in zip(_split(u, y), y, strict=True)] for u in self.u]
            y, gradients = mode.programs.pull(x, fixed, us)
        return y, np.stack([_flat(gradient) for gradient in gradients])

    def _along(self, mode: Mode, lo: int, hi: int) -> list[tuple[float, float]]:
        """The analytic derivative and its size, for each cotangent."""
        if mode.name == "reverse":
            terms = _terms(self._reverse[mode][1][:, lo:hi], self.v[lo:hi])
        else:
            terms = _terms(self.u, self._tangents(mode, lo, hi))
        return [(float(np.sum(term)), float(np.linalg.norm(term))) for term in terms]

    def _tangents(self, mode: Mode, lo: int, hi: int) -> np.ndarray:
        """J v with v in [lo, hi), (outputs,)."""
        x = self._own_x[mode.precision]
        with mode.precision.context():
            v = [jnp.asarray(a, like.dtype) for a, like in zip(_split(self.v, x), x, strict=True)]
            return _flat(mode.programs.push(x, self.subject.fixed[mode.precision], v, lo, hi))

    def _like_x(self, flat: np.ndarray) -> list:
        with self.subject.precision.context():
            return [jnp.asarray(a, like.dtype) for a, like in zip(_split(flat, self._x), self._x, strict=True)]


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


def cast(precision: Precision, leaves: list) -> list:
    """The leaves as the function gets them."""
    if not precision.wide:
        return leaves
    with precision.context():
        return [jnp.asarray(np.asarray(leaf, np.float64)) for leaf in leaves]


def _steps_down_to(smallest: float) -> np.ndarray:
    count = int(np.ceil(np.log(2 / smallest) / np.log(RATIO)))
    return 2 * RATIO ** -np.arange(max(count, 4), dtype=np.float64)


def _three_around(steps: np.ndarray, middle: float) -> np.ndarray:
    nearest = int(np.argmin(np.abs(np.log(steps / middle))))
    first = min(max(nearest - 1, 0), len(steps) - 3)
    return steps[first : first + 3]


def _terms(rows: np.ndarray, column: np.ndarray) -> list[np.ndarray]:
    """Products, each row with the column; a zero takes out what it meets, NaN and infinity too."""
    zeros = (column == 0).any() or not rows.all()
    return [np.where((row == 0) | (column == 0), 0, row * column) if zeros else row * column for row in rows]


def _cotangents(rng: np.random.Generator, y: list) -> np.ndarray:
    """u, each output leaf by its size; 1 for a single number, so that plain derivatives are told."""
    flat = _flat(y)
    if flat.size == 1:
        return np.isfinite(flat).astype(np.float64)[None]
    weights = np.concatenate([np.full(leaf.size, 1 / _root_mean_square(_flat([leaf]))) for leaf in y])
    draws = np.stack([_numbers(rng, flat.size) for _ in range(COTANGENTS)])
    return np.where(np.isfinite(flat), draws * weights, 0)


def _numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """± numbers from ½ to 1½."""
    numbers = rng.uniform(-1, 1, count)
    return numbers + np.copysign(0.5, numbers)


def _direction(rng: np.random.Generator, x: list) -> np.ndarray:
    """v: each element by the geometric mean of its own size and a typical one of its leaf.

    So it is no larger than is good for small elements of a function such as the logarithm, and yet moves them all.
    """
    return np.concatenate([_sizes(_flat([leaf])) * _numbers(rng, leaf.size) for leaf in x])


def _sizes(flat: np.ndarray) -> np.ndarray:
    own = np.abs(np.where(np.isfinite(flat), flat, 0))
    # The squared mean root: a few large elements do not rule it.
    typical = float(np.mean(np.sqrt(own)) ** 2) if own.any() else 1.0
    return np.sqrt(np.where(own > 0, own, typical) * typical)


def _root_mean_square(flat: np.ndarray) -> float:
    """1 where nothing is finite and other than 0."""
    finite = flat[np.isfinite(flat)]
    return float(np.sqrt(np.mean(finite**2))) if finite.any() else 1.0


def _flat(leaves: list) -> np.ndarray:
    """All elements in one float64 vector, without a copy where one leaf is one already."""
    parts = [np.asarray(leaf, np.float64).reshape(-1) for leaf in leaves]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _split(flat: np.ndarray, like: list) -> list[np.ndarray]:
    """The vector's parts in the shapes of the leaves."""
    ends = np.cumsum([leaf.size for leaf in like])[:-1]
    return [part.reshape(leaf.shape) for part, leaf in zip(np.split(flat, ends), like, strict=True)]
