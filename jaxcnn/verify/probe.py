"""One point of the function's domain: analytic and numerical derivatives there, along parts of a random direction.

With a cotangent u and a direction v, both drawn from the seed, c(t) = Σ u · (f(x + t v) − f(x)) is a function of one
variable whose derivative is Σ u · (J v) = Σ (Jᵀ u) · v. No element of u or v is small (each is ± a number from ½ to
1½), so that the error of a single element of J shows in full, and errors of several cancel by chance only, with a
probability as small as the noise is against them. A part of v is its elements in [lo, hi), counted through all leaves.

The function runs in JAX, on its device; sums over its results are NumPy's, in float64.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.draws import cotangent, direction
from jaxcnn.verify.leaves import cast, flat, flat_rows, length, products, split
from jaxcnn.verify.program import out_info
from jaxcnn.verify.slopes import Slopes, noise_of, slopes
from jaxcnn.verify.subject import DOUBLE, Mode, Subject

ROWS = 8
"""Values that one call computes, if they have few outputs: a call costs as much as a small function."""
MOST_OUTPUTS_IN_ROWS = 2**17
LARGEST_NARROW = 1e4
"""What float16 holds, and float32 several times over."""
TIER = 1e4
"""Ratio of distances that are not alike."""
TINY = 1e-300
"""Added to what is divided by."""


class Comparison(NamedTuple):
    """Analytic and numerical derivative of Σ u · f along a part of v.

    Attributes:
      size: √Σ of the squared terms of the analytic one.
      noise: the rounding error of a value of c.
    """

    mode: Mode
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
        return self.slopes.error_bar


class Point:
    """x, f(x), the random cotangent and direction, and what is known of f there.

    Attributes:
      modes: those that are compared.
      u: the cotangent, (outputs,); 0 where f is not finite.
      y: f(x), (outputs,).
      v: the direction, (elements,); 0 for elements that are left out.
      reach: |v| before any was, (elements,): how far is far for each.
      unit: what Σ u · f is told in: u, if f is a single number.
      size_of_values: √Σ (u · f(x))².
      noise: the rounding error of c along v.
      rounding: the noise against the values: the machine epsilon that f seems to have.
    """

    def __init__(self, subject: Subject, x: list, rng: np.random.Generator):
        self.subject = subject
        self.native_x = x
        self.ends = np.cumsum([leaf.size for leaf in x])
        self._x = cast(subject.precision, x)
        self._direction = direction(rng, x)
        self.v = self._direction.copy()
        self.reach = np.abs(self.v)
        self._uploaded = None
        self._y = self._evaluate(self._x)
        self.y = flat(self._y)
        self.u = cotangent(rng, self._y)
        self.unit = float(self.u[0]) if self.y.size == 1 else 1.0
        self._own_x = {precision: cast(precision, x) for precision in subject.fixed}
        self._reverse = {mode: self._gradients(mode) for mode in subject.modes if mode.name == "reverse"}
        self.size_of_values = length(products(self.u, self.y))
        self.modes = self._modes_to_compare()
        self._measured = False
        self.noise, self.rounding = 2 * DOUBLE * self.size_of_values, DOUBLE
        if subject.eps > DOUBLE:
            self.measure_noise()

    def measure_noise(self) -> bool:
        """Find out what the rounding of f is: at first it is taken for the least that there is.

        Derivatives that agree as well as that are right, be it larger or not. False if it was known.
        """
        if self._measured:
            return False
        self._measured = True
        self.noise = self.noise_along(0, len(self.v))
        # Where f is nearly 0, what it changes by over a distance like x is its size.
        change = self._along(self.modes[0], 0, len(self.v))[1]
        size = max(self.size_of_values, np.nan_to_num(change, posinf=0)) + TINY
        self.rounding = float(np.clip(np.nan_to_num(self.noise / size) / 6, DOUBLE, 1 / 64))
        return True

    def _modes_to_compare(self) -> list[Mode]:
        """All; but not forward mode where it gives what reverse mode does, nor beside a gradient that is not finite.

        It adds up all elements, and so tells nothing beside one that is infinite.
        """
        if not self._reverse or len(self.subject.modes) == 1:
            return list(self.subject.modes)
        forward, reverse = sorted(self.subject.modes, key=lambda mode: mode.name)
        if not self.finite(reverse):
            return [reverse]
        (a, size), (b, _) = (self._along(mode, 0, len(self.v)) for mode in (reverse, forward))
        same = max(forward.eps, reverse.eps) == DOUBLE and abs(a - b) <= 1e-12 * size
        return [reverse] if same else list(self.subject.modes)

    def compare(self, lo: int, hi: int, steps: np.ndarray, noise: float | None = None) -> list[Comparison]:
        """Both derivatives along v in [lo, hi), for each mode."""
        noise = self.noise if noise is None else noise
        right, left = np.split(self.values(lo, hi, np.concatenate([steps, -steps])), 2)
        numerical = slopes(steps, right, left, noise)
        along = ((mode, self._along(mode, lo, hi)) for mode in self.modes)
        return [Comparison(mode, analytic, numerical, size, noise) for mode, (analytic, size) in along]

    def central(self, i: int, mode: Mode) -> tuple[float, float]:
        """The derivative along v in element i, analytic and by the central difference."""
        step = self.rounding ** (1 / 3)
        right, left = self.values(i, i + 1, (step, -step))
        return self._along(mode, i, i + 1)[0], float(right - left) / (2 * step)

    def values(self, lo: int, hi: int, ts: Sequence[float] | np.ndarray, move: np.ndarray | None = None) -> np.ndarray:
        """c(t) for each t, (len(ts),); at x + move in place of x, if given."""
        return np.concatenate([self._dot(rows) for rows in self._differences(lo, hi, ts, move)])

    def outputs(self, lo: int, hi: int, ts: Sequence[float] | np.ndarray) -> np.ndarray:
        """f(x + t v) − f(x) for each t, (len(ts), outputs)."""
        return np.concatenate(list(self._differences(lo, hi, ts)))

    def noise_along(self, lo: int, hi: int) -> float:
        """The rounding error of c, from values a few roundings of x apart.

        They lie on one side of x, which may be a kink or a jump; on the other where these are not finite, or so far
        apart that a jump lies among them.
        """
        distances = 16 * self.subject.eps * np.arange(1, 9)
        usual = 1e4 * self.subject.eps * self.size_of_values
        found = []
        for side in (1, -1):
            samples = self.values(lo, hi, side * distances)
            noise = float(4 * noise_of(samples)) + 2 * DOUBLE * self.size_of_values
            if noise <= usual:
                return noise
            found.append(noise if np.isfinite(noise) else np.inf)
        return min(found) if np.isfinite(min(found)) else usual

    def rule_value(self, mode: Mode) -> float:
        """Σ u · (f(x) as the rule of reverse mode computes it − f(x)): 0 but for rounding."""
        return float(self._dot(flat(self._reverse[mode][0]) - self.y))

    def finite(self, mode: Mode) -> bool:
        """Whether the gradient of reverse mode holds neither infinity nor NaN; True of forward mode."""
        return mode not in self._reverse or bool(np.isfinite(self._reverse[mode][1]).all())

    def not_finite(self, mode: Mode, lo: int, hi: int) -> np.ndarray:
        """The elements in [lo, hi) where the gradient of reverse mode is infinite or NaN."""
        return lo + np.flatnonzero(~np.isfinite(self._reverse[mode][1][lo:hi]))

    def overflows(self, lo: int, hi: int) -> Iterator[tuple[int, float, float]]:
        """Elements in [lo, hi) whose gradient is not finite in the caller's types only, with both their gradients."""
        if self._narrow_gradient is not None:
            (wide,) = (gradient for _, gradient in self._reverse.values())
            largest = min(float(jnp.finfo(leaf.dtype).max) for leaf in self.native_x)
            bad = ~np.isfinite(self._narrow_gradient[lo:hi]) & (np.abs(wide[lo:hi]) <= largest)
            for i in (lo + np.flatnonzero(bad)).tolist():
                yield i, float(self._narrow_gradient[i]), float(wide[i])

    @cached_property
    def _narrow_gradient(self) -> np.ndarray | None:
        """The gradient in the caller's types, where these hold u."""
        if self.subject.narrow is None or not self._reverse or np.abs(self.u).max(initial=0) > LARGEST_NARROW:
            return None
        return self._gradients(self.subject.narrow)[1]

    def exclude(self, elements: int | np.ndarray) -> None:
        """Leave elements out of v from here on."""
        self._direction[elements] = self.v[elements] = 0
        self._uploaded = None

    def tiers(self, lo: int, hi: int) -> Iterator[None]:
        """Leave in v, a tier after the other, those elements of [lo, hi) that are moved by a like distance.

        What one that is moved by little does would go under in the rounding of what the others do.
        """
        reach = self.reach[lo:hi]
        levels = np.floor(np.log(reach.max() / np.maximum(reach, TINY)) / np.log(TIER))
        present = np.unique(levels)
        if len(present) == 1:
            yield
            return
        self.measure_noise()
        noise = self.noise
        for level in present:
            self._aim(lo, hi, levels == level)
            self.noise = self.noise_along(lo, hi)
            yield
        self._aim(0, len(self.v), np.True_)
        self.noise = noise

    def _aim(self, lo: int, hi: int, kept: np.ndarray | np.bool) -> None:
        """Let v be the direction, for the elements in [lo, hi) that are kept."""
        self.v = np.zeros_like(self._direction)
        self.v[lo:hi] = np.where(kept, self._direction[lo:hi], 0)
        self._uploaded = None

    def locate(self, element: int) -> tuple[int, tuple[int, ...]]:
        """Leaf, and index in it, of an element counted through all leaves."""
        leaf = int(np.searchsorted(self.ends, element, side="right"))
        shape = self.native_x[leaf].shape
        within_leaf = element - int(self.ends[leaf]) + self.native_x[leaf].size
        return leaf, tuple(map(int, np.unravel_index(within_leaf, shape)))

    def own_step(self, i: int) -> float:
        """The step by which v moves element i as far as it is from 0; 1 where it is 0."""
        leaf, index = self.locate(i)
        size = abs(float(self.native_x[leaf][index]))
        return size / float(self.reach[i]) if size else 1.0

    def nudged(self, rng: np.random.Generator) -> "Point":
        """A point nearby, in general position: off the kinks that x is on."""
        moves = self._like_x(direction(rng, self.native_x))
        x = [a + (np.asarray(m) / 64).astype(a.dtype) for a, m in zip(self.native_x, moves, strict=True)]
        point = Point(self.subject, x, rng)
        for mode in point._reverse:
            point.exclude(point.not_finite(mode, 0, len(point.v)))
        return point

    def _differences(
        self, lo: int, hi: int, ts: Sequence[float] | np.ndarray, move: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Rows of f(x + t v) − f(x), (some, outputs) at a time."""
        x, y = self._x, self._y
        if move is not None:
            with self.subject.precision.context():
                x = [a + b for a, b in zip(x, self._like_x(move), strict=True)]
            y = self._evaluate(x)
        at_once = ROWS if self._in_rows(y) else 1
        for first in range(0, len(ts), at_once):
            some = np.asarray(ts[first : first + at_once], np.float64)
            yield flat_rows(self._rows(x, y, lo, hi, some), len(some))

    def _evaluate(self, x: list) -> list:
        """f(x), by the program of the differences, so that they are 0 at 0 to the last bit."""
        with self.subject.precision.context():
            like = out_info(self.subject.programs.value, x, self.subject.fixed[self.subject.precision])
            zeros = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in like]
            rows = self._rows(x, zeros, 0, 0, np.zeros(1))
            return [jnp.asarray(np.asarray(leaf)[0]) for leaf in rows]

    def _in_rows(self, y: list) -> bool:
        return self.subject.precision.jit and sum(leaf.size for leaf in y) <= MOST_OUTPUTS_IN_ROWS

    def _rows(self, x: list, y: list, lo: int, hi: int, ts: np.ndarray) -> list:
        """f(x + t v) − y, a row for each t, in leaves, those of the first len(ts) rows."""
        programs, precision, v = self.subject.programs, self.subject.precision, self._uploaded_direction()
        with precision.context():
            operands = x, self.subject.fixed[precision], y, v, lo, hi
            if self._in_rows(y):
                return programs.differences(*operands, np.pad(ts, (0, ROWS - len(ts))), len(ts))
            (t,) = ts
            return [leaf[None] for leaf in programs.difference(*operands, float(t))]

    def _dot(self, rows: np.ndarray) -> np.ndarray:
        """Σ u · rows (…, outputs); what u leaves out may be anything."""
        used = self.u != 0
        return (rows if used.all() else np.where(used, rows, 0)) @ self.u

    def _gradients(self, mode: Mode) -> tuple[list, np.ndarray]:
        """f(x) by the forward pass of the rule, and Jᵀ u, (elements,)."""
        x, fixed = self._own_x[mode.precision], self.subject.fixed[mode.precision]
        with mode.precision.context():
            y = out_info(mode.programs.value, x, fixed)
            u = [jnp.asarray(a, like.dtype) for a, like in zip(split(self.u, y), y, strict=True)]
            y, gradient = mode.programs.pull(x, fixed, u)
        return y, flat(gradient)

    def _along(self, mode: Mode, lo: int, hi: int) -> tuple[float, float]:
        """The analytic derivative and its size."""
        if mode.name == "reverse":
            terms = products(self._reverse[mode][1][lo:hi], self.v[lo:hi])
        else:
            terms = products(self.u, self._tangents(mode, lo, hi))
        return float(np.sum(terms)), length(terms)

    def _tangents(self, mode: Mode, lo: int, hi: int) -> np.ndarray:
        """J v with v in [lo, hi), (outputs,)."""
        x = self._own_x[mode.precision]
        with mode.precision.context():
            v = [jnp.asarray(a, like.dtype) for a, like in zip(self._uploaded_direction(), x, strict=True)]
            return flat(mode.programs.push(x, self.subject.fixed[mode.precision], v, lo, hi))

    def _uploaded_direction(self) -> list:
        if self._uploaded is None:
            self._uploaded = self._like_x(self.v)
        return self._uploaded

    def _like_x(self, flat: np.ndarray) -> list:
        with self.subject.precision.context():
            return [jnp.asarray(a, like.dtype) for a, like in zip(split(flat, self._x), self._x, strict=True)]
