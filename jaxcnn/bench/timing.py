"""Seconds: the one place where a clock is read to say how fast something is.

JAX compiles at the first call, and returns before the result is there. A time here is therefore apart from
the compilation, after a warm-up, and includes the wait for the result. One number says little on a machine
with other users: every sample is kept, and what is shown is their median and spread.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter, sleep
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.errors import InputError

SHORTEST_SAMPLE = 50e-6
"""Seconds. Shorter calls are timed several at once, so that reading the clock (0.1 µs) is below a percent."""

MOST_CALLS_PER_SAMPLE = 1000
"""Enough for the shortest call that there is: in Python none takes less than 50 ns."""


REST = 0.01
"""Seconds. Threads of OpenMP and of XLA spin for some milliseconds after their work, on cores that the next needs."""

SETTLING = 0.03
"""Seconds. Threads that slept may wake up on one core together, which halves the speed of the two; the operating system
parts them after some 20 ms of work."""


@dataclass(frozen=True)
class Timing:
    """How long one call takes, until its result is there.

    Attributes:
      compile: seconds that tracing, lowering and compiling took: little where JAX has the program in a cache,
        0 for what is not compiled.
      times: seconds a call, one number a sample, in the order they were taken.
    """

    compile: float
    times: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds that half of the samples stay below."""
        return self._quantile(0.5)

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median: how far from it the middle half of the samples reaches."""
        return (self._quantile(0.75) - self._quantile(0.25)) / (2 * self.median)

    @property
    def p95(self) -> float:
        """Seconds that 95 % of the samples stay below."""
        return self._quantile(0.95)

    @property
    def fastest(self) -> float:
        """Seconds of the fastest sample."""
        return min(self.times)

    def _quantile(self, q: float) -> float:
        return float(np.quantile(self.times, q))

    def __str__(self) -> str:
        """One line, such as 87.1 µs (±3.2 %, 95 % under 92 µs, compiled in 410 ms)."""
        compiled = f", compiled in {_readable(self.compile)}" if self.compile else ""
        spread = f"±{100 * self.spread:.1f} %, 95 % under {_readable(self.p95)}"
        return f"{_readable(self.median)} ({spread}{compiled})"


class Case(NamedTuple):
    """Something to time: ``f(*args)``.

    Attributes:
      f: a JAX function, jitted or not, or with ``jit=False`` any callable.
      args: its arguments. Those that a jitted ``f`` donates are copied before each call, outside its time.
      jit: compile ``f`` first. False calls it as it stands, for plain Python such as a PyTorch loop, which
        must have done its work when it returns, or return JAX arrays.
    """

    f: Callable
    args: tuple = ()
    jit: bool = True


def measure(
    f: Callable,
    *args: Any,
    jit: bool = True,
    repeats: int = 10,
    min_time: float = 0.5,
    max_time: float = 30.0,
) -> Timing:
    """Time ``f(*args)``: compile, warm up, then sample single calls, each until its result is there.

    Samples are taken until there are ``repeats`` of them and they make up ``min_time``, or they make up
    ``max_time``.

    Args:
      f: a JAX function, jitted or not, or with ``jit=False`` any callable, as in :class:`Case`.
      *args: its arguments, as in :class:`Case`.
      jit: compile ``f`` first, and tell how long that took.
      repeats: the fewest samples, unless ``max_time`` is over.
      min_time: seconds that the samples together take at least.
      max_time: seconds after which no further sample begins.

    Raises:
      InputError: ``repeats`` is not positive, or the seconds are not 0 <= min_time <= max_time, 0 < max_time.

    >>> timing = measure(lambda x: x @ x, np.ones((8, 8), np.float32), repeats=3, min_time=0)
    >>> len(timing.times)
    3
    """
    _check_positive("repeats", repeats)
    _check_positive("max_time", max_time)
    if not 0 <= min_time <= max_time:
        raise InputError(f"min_time must be from 0 to max_time, {max_time} seconds, found {min_time}")
    call = _prepare(Case(f, args, jit))
    times, spent = [], 0.0
    while spent < max_time and (len(times) < repeats or spent < min_time):
        times.append(call.sample())
        spent += times[-1] * call.repeat
    return Timing(call.compile, tuple(times))


def measure_alternately(cases: Mapping[str, Case | tuple[Callable, tuple]], *, rounds: int = 20) -> dict[str, Timing]:
    """Time several things for a comparison: each round takes one sample of each.

    A machine's speed drifts with its heat and its other users; what is sampled in turn drifts together. Every
    second round goes backwards, so that nothing always follows the same neighbour. Before each sample come a rest, in
    which the neighbour's threads go to sleep, and calls that are not timed, 30 ms of them or one, which bring back its
    own data and threads, and each thread to a core of its own.

    Args:
      cases: by name, each a :class:`Case`, or its ``(f, args)`` where it is to be compiled:
        ``{"jax": (f, (x,)), "torch": Case(g, (y,), jit=False)}``.
      rounds: samples of each.

    Returns:
      The timing of each, by name.

    Raises:
      InputError: ``rounds`` is not positive.
    """
    _check_positive("rounds", rounds)
    calls = {name: _prepare(case if isinstance(case, Case) else Case(*case)) for name, case in cases.items()}
    times = {name: [] for name in calls}
    for i in range(rounds):
        for name in calls if i % 2 == 0 else reversed(calls):
            sleep(REST)
            calls[name].settle()
            times[name].append(calls[name].sample())
    return {name: Timing(call.compile, tuple(times[name])) for name, call in calls.items()}


class stopwatch:
    """Seconds since it was made, or those of its ``with`` block, for a log.

    It waits for nothing: read it where results are on the host, or JAX may still be at work.

    >>> with stopwatch() as watch:
    ...     total = sum(range(10))
    >>> watch.seconds > 0
    True
    """

    def __init__(self):
        self._start, self._stop = perf_counter(), None

    def __enter__(self) -> "stopwatch":
        self._start, self._stop = perf_counter(), None
        return self

    def __exit__(self, *_) -> None:
        self._stop = perf_counter()

    @property
    def seconds(self) -> float:
        """From the start until now, or until the ``with`` block ended."""
        return (perf_counter() if self._stop is None else self._stop) - self._start


@dataclass(frozen=True)
class _Call:
    """A case that is ready to be timed."""

    f: Callable
    args: tuple
    donates: bool = False
    compile: float = 0.0
    repeat: int = 1

    def sample(self) -> float:
        """Seconds a call, the mean of ``repeat`` of them."""
        calls = [self._fresh_args() for _ in range(self.repeat)]
        jax.block_until_ready(calls)
        start = perf_counter()
        for args in calls:
            jax.block_until_ready(self.f(*args))
        return (perf_counter() - start) / self.repeat

    def settle(self) -> None:
        """Calls for ``SETTLING``, but one at least."""
        watch = stopwatch()
        self.sample()
        while watch.seconds < SETTLING:
            self.sample()

    def _fresh_args(self) -> tuple:
        """Copies, where a call consumes some; which ones can no longer be told if others are static."""
        if not self.donates:
            return self.args
        return jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, jax.Array) else leaf, self.args)


def _prepare(case: Case) -> _Call:
    """Compiled if it can be, warm, and with as many calls a sample as their length asks for."""
    call = _compile(case) if case.jit else _Call(case.f, case.args)
    call.sample()
    shortest_call = SHORTEST_SAMPLE / MOST_CALLS_PER_SAMPLE
    return replace(call, repeat=math.ceil(SHORTEST_SAMPLE / max(call.sample(), shortest_call)))


def _compile(case: Case) -> _Call:
    """The jitted function, its program in JAX's cache: it is then called the way that users call it."""
    jitted = case.f if isinstance(case.f, jax.stages.Wrapped) else jax.jit(case.f)
    with stopwatch() as watch:
        lowered = jitted.lower(*case.args)
        lowered.compile()
    donates = any(info.donated for info in jax.tree.leaves(lowered.args_info))
    return _Call(jitted, case.args, donates, watch.seconds)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name} must be positive, found {value!r}")


def _readable(seconds: float) -> str:
    """Three digits and a unit."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))
    unit, size = next((pair for pair in units if seconds >= pair[1]), units[-1])
    return f"{float(f'{seconds / size:.3g}'):g} {unit}"
