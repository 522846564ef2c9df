"""Each algorithm for a convolution, checked beside XLA's and timed; the fastest goes into the table."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn.bench import Timing, measure_alternately
from jaxcnn.ops import choose, tuned
from jaxcnn.ops.algorithms import IMPLEMENTATIONS
from jaxcnn.ops.bilinear import bind
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.rule import rule_of_thumb
from jaxcnn.tuning.find import PRIMITIVES, Convolution, find_convolutions

GAIN = 0.05
"""Share of its time by which an algorithm must beat the rule of thumb's to take its place: less may be noise."""

MANY_TAPS = 25
"""An FFT is not measured for smaller windows, where it has yet to win."""

TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
"""Error relative to the largest element: room for the transforms' roundings; in a narrower type, some of its own."""

NARROW_ROUNDINGS = 4


class Tuned(NamedTuple):
    """What was found for one convolution.

    Attributes:
      convolution: which.
      timings: by algorithm, in each of them one call of the jitted operation.
      left_out: by algorithm, why it was not timed.
      rule: the algorithm by the rule of thumb.
      chosen: what the table says from now on.
    """

    convolution: Convolution
    timings: dict[str, Timing]
    left_out: dict[str, str]
    rule: str
    chosen: str

    def row(self, algorithms: Sequence[str]) -> list[str]:
        """For a table: operation, shapes, strides, type, milliseconds by each of the algorithms, rule, choice."""
        operation, geometry, dtype = self.convolution
        shapes = [
            "×".join(map(str, shape)) for shape in (geometry.input_shape, geometry.kernel_shape, geometry.strides)
        ]
        times = [f"{1e3 * self.timings[name].median:.3g}" if name in self.timings else "–" for name in algorithms]
        return [operation, *shapes, dtype, *times, self.rule, self.chosen]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        operation, geometry, dtype = self.convolution
        return {
            "operation": operation,
            "input_shape": geometry.input_shape,
            "kernel_shape": geometry.kernel_shape,
            "strides": geometry.strides,
            "padding": geometry.padding,
            "kernel_dilation": geometry.kernel_dilation,
            "feature_group_count": geometry.groups,
            "dtype": dtype,
            "seconds": {name: timing.median for name, timing in self.timings.items()},
            "left_out": self.left_out,
            "rule_of_thumb": self.rule,
            "chosen": self.chosen,
        }


def tune(f: Callable, *args: Any, rounds: int = 10) -> list[Tuned]:
    """Measure the algorithms for each convolution in f, and its gradients, on JAX's default device.

    The fastest go into a table in the user's cache, which ``algorithm="auto"`` follows in programs that are compiled
    from then on, on this device with these versions of JAX. Results then differ by roundings from those before.

    Args:
      f: a JAX function.
      *args: its arguments, or for each array a ``jax.ShapeDtypeStruct``.
      rounds: samples of each algorithm.

    Returns:
      What was found, one row for each of :func:`jaxcnn.tuning.find_convolutions`.

    Raises:
      InputError: ``rounds`` is not positive.
      OSError: the table cannot be written.
    """
    return list(tune_convolutions(find_convolutions(f, *args), rounds=rounds))


def tune_convolutions(convolutions: Iterable[Convolution], *, rounds: int = 10) -> Iterator[Tuned]:
    """Measure one after the other, as :func:`tune` does; each is in the table when it is returned."""
    for convolution in convolutions:
        arrays = _arrays(convolution)
        (device,) = arrays[0].devices()
        result = _measured(convolution, arrays, device.platform, rounds)
        tuned.write(device, {tuned.key(*convolution): result.chosen})
        yield result


def _arrays(convolution: Convolution) -> list[jax.Array]:
    """Standard normal operands."""
    geometry = convolution.geometry
    x, w, y = geometry.input_shape, geometry.kernel_shape, geometry.output_shape
    shapes = {"convolve": (x, w), "input_gradient": (y, w), "kernel_gradient": (x, y)}[convolution.operation]
    draw = np.random.default_rng(0)  # jax.random would be compiled for each shape
    return [jnp.asarray(draw.standard_normal(shape, np.float32), convolution.dtype) for shape in shapes]


def _measured(convolution: Convolution, arrays: list[jax.Array], platform: str, rounds: int) -> Tuned:
    programs = {name: jax.jit(_program(convolution, name)) for name in _candidates(convolution)}
    left_out = _wrong(convolution, programs, arrays)
    cases = {name: (program, tuple(arrays)) for name, program in programs.items() if name not in left_out}
    timings = measure_alternately(cases, rounds=rounds)
    rule = rule_of_thumb(*convolution, precision=None, platform=platform)
    seconds = {name: timing.median for name, timing in timings.items()}
    return Tuned(convolution, timings, left_out, rule, _choice(convolution, seconds, rule, platform))


def _program(convolution: Convolution, algorithm: str, precision=None) -> Callable:
    primitive = PRIMITIVES[convolution.operation]
    return partial(bind, primitive, geometry=convolution.geometry, algorithm=algorithm, precision=precision)


def _candidates(convolution: Convolution) -> list[str]:
    """The algorithms that can do it, and that "auto" may choose."""
    _, geometry, dtype = convolution
    names = [name for name, implementation in IMPLEMENTATIONS.items() if implementation.limit(geometry) is None]
    few_taps = math.prod(geometry.kernel_shape[:-2]) < MANY_TAPS
    return [n for n in names if choose.is_exact_enough(n, geometry, dtype, None) and not (n == "fft" and few_taps)]


def _wrong(convolution: Convolution, programs: Mapping[str, Callable], arrays: list[jax.Array]) -> dict[str, str]:
    """Which programs must not be chosen, and why.

    The yardstick is XLA's convolution at the highest precision. Where a device rounds XLA's own products more than
    the tolerance (TF32, bfloat16), the others may err twice as much as that.
    """
    exact = jax.jit(_program(convolution, "xla", "highest"))(*arrays)
    errors, reasons = {}, {}
    for name, program in programs.items():
        try:
            errors[name] = float(_error(program(*arrays), exact))
        except jax.errors.JaxRuntimeError as error:  # out of memory, for one
            reasons[name] = str(error).partition("\n")[0]
    narrow = NARROW_ROUNDINGS * float(jnp.finfo(convolution.dtype).eps)
    tolerance = max(TOLERANCE.get(convolution.dtype, narrow), 2 * errors.get("xla", 0.0))
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    return reasons | {
        name: f"differs from XLA's by {error:.1e} of the largest element" for name, error in wrong.items()
    }


@jax.jit
def _error(found: jax.Array, exact: jax.Array) -> jax.Array:
    """The largest difference, beside the largest element."""
    found, exact = (array.astype(accumulator(array.dtype)) for array in (found, exact))
    scale = jnp.maximum(jnp.max(jnp.abs(exact)), jnp.finfo(exact.dtype).tiny)
    return jnp.max(jnp.abs(found - exact)) / scale


def _choice(convolution: Convolution, seconds: Mapping[str, float], rule: str, platform: str) -> str:
    """The fastest, if it is much faster than the rule of thumb's."""
    if platform == "cpu" and convolution.operation == "kernel_gradient":
        # XLA's is a hundred times slower inside a loop than here, outside of one.
        seconds = {name: time for name, time in seconds.items() if name != "xla"}
    fastest = min(seconds, key=lambda name: seconds[name], default=rule)
    if rule in seconds and seconds[fastest] >= (1 - GAIN) * seconds[rule]:
        return rule
    return fastest
