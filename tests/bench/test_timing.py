"""No test here depends on how fast anything is: the clock is a fake that the timed functions themselves move."""

import itertools
import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.bench import Case, Timing, measure, measure_alternately, stopwatch, timing
from jaxcnn.errors import InputError


class FakeClock:
    """Seconds that pass only where a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds):
        """A Python function that takes ``seconds``, and keeps the order of the calls it got."""

        def f(*args):
            f.calls.append(args)
            self.now += seconds

        f.calls = []
        return f


class Pending:
    """A result that is there ``seconds`` after somebody waits for it."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def block_until_ready(self):
        self.clock.now += self.seconds
        return self


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(timing, "perf_counter", clock)
    return clock


@pytest.fixture
def ticking(monkeypatch):
    """Each reading is one second after the last."""
    readings = itertools.count(100.0)
    monkeypatch.setattr(timing, "perf_counter", lambda: next(readings))


def test_statistics():
    samples = Timing(compile=0.41, times=(4.0, 1.0, 2.0, 3.0, 10.0))
    assert samples.median == 3
    assert samples.fastest == 1
    assert samples.spread == (4 - 2) / 2 / 3
    assert samples.p95 == pytest.approx(4 + 0.8 * 6)
    assert Timing(0, (7.0,)).spread == 0


@pytest.mark.parametrize(
    ("samples", "line"),
    [
        (Timing(0.41, (87.1e-6,) * 3), "87.1 µs (±0.0 %, 95 % under 87.1 µs, compiled in 410 ms)"),
        (Timing(0, (0.9, 1.0, 1.1)), "1 s (±5.0 %, 95 % under 1.09 s)"),
        (Timing(12.345, (3.2e-9,)), "3.2 ns (±0.0 %, 95 % under 3.2 ns, compiled in 12.3 s)"),
        (Timing(0, (0.9996e-3, 1200.0)), "600 s (±50.0 %, 95 % under 1140 s)"),
        (Timing(0, (999.96e-6,)), "1000 µs (±0.0 %, 95 % under 1000 µs)"),
    ],
)
def test_one_line(samples, line):
    assert str(samples) == line


def test_at_least_the_repeats(clock):
    f = clock.work(0.25)
    found = measure(f, 1, "a", jit=False, repeats=7, min_time=1)
    assert found == Timing(0, (0.25,) * 7)
    assert f.calls == [(1, "a")] * (2 + 7)  # a warm-up, and one call to see how long it takes


def test_at_least_the_time(clock):
    assert measure(clock.work(0.25), jit=False, repeats=2, min_time=3).times == (0.25,) * 12


def test_at_most_the_time(clock):
    assert measure(clock.work(10), jit=False, repeats=100, max_time=35).times == (10.0,) * 4
    assert measure(clock.work(10), jit=False, max_time=1).times == (10.0,)


def test_short_calls_are_timed_together(clock):
    f = clock.work(2.0**-17)  # 7.6 µs: seven of them are over 50 µs
    found = measure(f, jit=False, repeats=4, min_time=0)
    np.testing.assert_allclose(found.times, [2.0**-17] * 4, rtol=1e-6)
    assert len(f.calls) == 2 + 4 * 7


def test_a_call_too_short_for_the_clock(clock):
    f = clock.work(0)
    measure(f, jit=False, repeats=3, min_time=0)
    assert len(f.calls) == 2 + 3 * timing.MOST_CALLS_PER_SAMPLE


def test_results_are_waited_for(clock):
    found = measure(lambda: {"result": Pending(clock, 0.5)}, jit=False, repeats=3, min_time=0)
    assert found.times == (0.5,) * 3


@pytest.mark.usefixtures("ticking")
def test_compiling_is_apart_and_happens_once():
    traces = []

    def f(x):
        traces.append(x)
        return x + 1

    found = measure(f, np.ones(3, np.float32), repeats=5, min_time=0)
    assert found == Timing(compile=1, times=(1.0,) * 5)
    assert len(traces) == 1


@pytest.mark.usefixtures("ticking")
def test_a_jitted_function_is_timed_as_it_is():
    ran = []

    def f(x, *, power):
        jax.debug.callback(lambda: ran.append(power))
        return x**power

    jitted = jax.jit(f, static_argnames="power")
    found = measure(jax.jit(lambda x: jitted(x, power=3)), jnp.ones(3), repeats=5, min_time=0)
    jax.effects_barrier()
    assert ran == [3] * (2 + 5)
    assert found.compile == 1


@pytest.mark.usefixtures("ticking")
def test_static_arguments():
    f = jax.jit(lambda x, n: x * n, static_argnums=1)
    assert measure(f, jnp.ones(3), 2, repeats=3, min_time=0).times == (1.0,) * 3


@pytest.mark.usefixtures("ticking")
def test_donated_arguments_are_copied():
    step = jax.jit(lambda n, state, x: {"w": state["w"] + n * x}, static_argnums=0, donate_argnums=1)
    state, x = {"w": jnp.ones(3)}, jnp.ones(3)
    assert len(measure(step, 2, state, x, repeats=3, min_time=0).times) == 3
    assert not state["w"].is_deleted()
    step(2, state, x)
    assert state["w"].is_deleted()


def test_cases_take_turns(clock):
    order = []

    def case(name, seconds):
        def f():
            order.append(name)
            clock.now += seconds

        return Case(f, jit=False)

    found = measure_alternately({"a": case("a", 0.5), "b": case("b", 1), "c": case("c", 2)}, rounds=3)
    assert "".join(order) == "aabbcc" + "aabbcc" + "ccbbaa" + "aabbcc"
    assert found == {"a": Timing(0, (0.5,) * 3), "b": Timing(0, (1.0,) * 3), "c": Timing(0, (2.0,) * 3)}
    assert list(found) == ["a", "b", "c"]


def test_short_calls_settle_before_each_sample(clock):
    f = clock.work(0.75 * timing.SETTLING)
    found = measure_alternately({"short": Case(f, jit=False)}, rounds=3)
    prepared, settling, timed = 2, 2, 1
    assert len(f.calls) == prepared + 3 * (settling + timed)
    assert found["short"].times == pytest.approx((0.75 * timing.SETTLING,) * 3)


@pytest.mark.usefixtures("ticking")
def test_compiled_beside_plain():
    x = jnp.ones(2)
    cases = {"pair": (jnp.sin, (x,)), "case": Case(jnp.cos, (x,)), "plain": Case(np.tanh, (np.ones(2),), jit=False)}
    found = measure_alternately(cases, rounds=2)
    assert {name: each.compile for name, each in found.items()} == {"pair": 1, "case": 1, "plain": 0}
    assert {each.times for each in found.values()} == {(1.0, 1.0)}


def test_stopwatch_of_a_block(clock):
    with stopwatch() as watch:
        clock.now += 2
        assert watch.seconds == 2
        clock.now += 1
    clock.now += 10
    assert watch.seconds == 3


def test_stopwatch_goes_on_without_a_block(clock):
    watch = stopwatch()
    clock.now += 2
    assert watch.seconds == 2
    clock.now += 2
    assert watch.seconds == 4


def test_stopwatch_stops_at_an_error(clock):
    watch, fail = stopwatch(), {}.__getitem__
    clock.now += 2
    with pytest.raises(KeyError), watch:
        fail("missing")
    clock.now += 1
    assert watch.seconds == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure(abs, 1, repeats=0), "repeats must be positive, found 0"),
        (lambda: measure(abs, 1, max_time=0), "max_time must be positive, found 0"),
        (lambda: measure(abs, 1, max_time=float("nan")), "max_time must be positive, found nan"),
        (lambda: measure(abs, 1, min_time=-1), "min_time must be from 0 to max_time, 30.0 seconds, found -1"),
        (lambda: measure(abs, 1, min_time=40), "min_time must be from 0 to max_time, 30.0 seconds, found 40"),
        (lambda: measure_alternately({}, rounds=0), "rounds must be positive, found 0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(InputError, match=re.escape(message)):
        call()
