"""How a function can be evaluated: in float64 if it lets itself, compiled if it can be, and which modes it has."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.arguments import Arguments
from jaxcnn.verify.captured import widened
from jaxcnn.verify.leaves import cast
from jaxcnn.verify.program import Precision, Programs, coarsest_eps, out_info, programs

DOUBLE = float(np.finfo(np.float64).eps)
SINGLE = float(np.finfo(np.float32).eps)

NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
"""What a function raises that cannot be compiled, because its Python looks at values."""


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
      narrow: reverse mode in the caller's types, if values are taken in wider ones.
      eps: the coarsest rounding in the program of f.
    """

    programs: Programs
    precision: Precision
    fixed: dict[Precision, Any]
    modes: tuple[Mode, ...]
    narrow: Mode | None
    eps: float


@dataclass(eq=False)
class Candidate:
    """The function in one precision.

    Attributes:
      fixed: what its programs are given besides x.
    """

    f: Callable
    arguments: Arguments
    order: int
    precision: Precision
    fixed: Any

    @cached_property
    def programs(self) -> Programs:
        """Its programs."""
        with self.precision.context():
            return programs(self.f, self.arguments.structure, self.order, self.precision, (self.x, self.fixed))

    @cached_property
    def x(self) -> list:
        """The floating leaves as the function gets them."""
        return cast(self.precision, self.arguments.floating)

    @cached_property
    def y(self) -> list:
        """What has the shapes and types of its result."""
        with self.precision.context():
            return out_info(self.programs.value, self.x, self.fixed)

    def rounding_of_value(self) -> float:
        """The coarsest rounding in the program of f, which it has if this returns."""
        y = self.y
        if not self.precision.jit:
            return max(SINGLE, *map(_eps, y))
        with self.precision.context():
            return max(DOUBLE, coarsest_eps(self.programs.value.trace(self.x, self.fixed).jaxpr))

    def rounding_of(self, mode: str) -> float:
        """The coarsest rounding in a mode's program, which it has if this returns."""
        x, y = self.x, self.y
        with self.precision.context():
            if mode == "forward":
                program, operands = self.programs.push, (x, self.fixed, x, 0, 0)
            else:
                u = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in y]
                program, operands = self.programs.pull, (x, self.fixed, u)
            if not self.precision.jit:
                program(*operands)
                return SINGLE
            program.prepare(*operands)  # forward mode of a custom_vjp is refused here only
            return max(DOUBLE, coarsest_eps(program.trace(*operands).jaxpr))


def prepare(
    f: Callable, arguments: Arguments, order: int, u: np.ndarray | None, modes: Collection[str] | None
) -> tuple[Subject, list[str]]:
    """The subject, and notes on what limits its check.

    Args:
      u: for order 2, the cotangent of f whose gradient is checked, (outputs,).
      modes: "reverse", "forward"; those that f has if None.

    Raises:
      ValueError: f cannot be differentiated in a mode that was asked for, or in none at all.
    """
    chosen, eps, refusal = _choose(f, arguments, order, u)
    notes = [f"not evaluated in float64: {in_a_line(refusal)}"] if refusal else []
    own = _candidate(f, arguments, order, u, chosen.precision._replace(wide=False))
    found: list[Mode] = []
    missing: dict[str, Exception] = {}
    for name in modes or ("reverse", "forward"):
        mode, error = _mode(name, chosen, own, eps)
        if mode is not None:
            found.append(mode)
            if mode.precision.wide != chosen.precision.wide:
                notes.append(f"the {name}-mode rule works in the arguments' own types only: {in_a_line(error)}")
        elif modes is not None and error is not None:
            raise ValueError(f"modes: f has no {name} mode: {in_a_line(error)}") from error
        elif error is not None:
            missing[name] = error
    if not found:
        of = "f" if order == 1 else "the gradient of f"
        raise ValueError(f"{of} cannot be differentiated: {in_a_line(missing['reverse'])}") from missing["reverse"]
    notes += [f"{name} mode is not there to be checked: {in_a_line(error)}" for name, error in missing.items()]
    fixed = {mode.precision: (chosen if mode.precision.wide == chosen.precision.wide else own).fixed for mode in found}
    fixed[chosen.precision] = chosen.fixed
    narrow = _narrow(own) if chosen.precision == Precision(wide=True, jit=True) and order == 1 else None
    if narrow is not None:
        fixed[narrow.precision] = own.fixed
    return Subject(chosen.programs, chosen.precision, fixed, tuple(found), narrow, eps), notes


def _narrow(own: Candidate) -> Mode | None:
    """Reverse mode in the caller's types, where these are narrower than float64 and it has it."""
    eps = max(map(_eps, own.arguments.floating))
    if eps > DOUBLE:
        with suppress(Exception):  # that f has no reverse mode is told elsewhere
            own.rounding_of("reverse")
            return Mode("reverse", own.programs, own.precision, eps)
    return None


def _choose(f, arguments, order, u) -> tuple[Candidate, float, Exception | None]:
    """The best candidate that can be evaluated, the rounding of its program, and why it is not float64 if it is not."""
    copy = widened(f)
    wide, refusal = (None, None) if copy and copy.needed else _try(f, arguments, order, u, wide=True)
    if copy and (wide is None or wide[1] > DOUBLE):
        finer, error = _try(copy.f, arguments, order, u, wide=True)
        refusal = refusal or error
        if finer is not None and (wide is None or finer[1] < wide[1]):
            wide = finer
    if wide is not None:
        return *wide, None
    own, error = _try(f, arguments, order, u, wide=False)
    if own is None:
        of = "f" if order == 1 else "the gradient of f"
        raise ValueError(f"{of} cannot be evaluated: {in_a_line(error)}") from error
    return *own, refusal


def _try(f, arguments, order, u, *, wide: bool) -> tuple[tuple[Candidate, float] | None, Exception | None]:
    """A candidate with the rounding of its program, compiled if it can be; or what f raises."""
    refusal: Exception | None = None
    for jit in (True, False):
        if refusal is not None and not isinstance(refusal, NEEDS_VALUES):
            break
        try:
            candidate = _candidate(f, arguments, order, u, Precision(wide, jit))
            return (candidate, candidate.rounding_of_value()), None
        except Exception as error:  # whatever f raises: the caller raises it again if no way is left
            refusal = error
    return None, _let_go(refusal)


def _candidate(f, arguments: Arguments, order: int, u, precision: Precision) -> Candidate:
    first = Candidate(f, arguments, 1, precision, _fixed(arguments, precision))
    if order == 1:
        return first
    y = first.y
    with precision.context():
        ends = np.cumsum([leaf.size for leaf in y])[:-1]
        parts = zip(np.split(u, ends), y, strict=True)
        cotangent = [jnp.asarray(part.reshape(leaf.shape), leaf.dtype) for part, leaf in parts]
    return Candidate(f, arguments, 2, precision, (first.fixed, cotangent))


def _fixed(arguments: Arguments, precision: Precision) -> list:
    """What is held fixed, as the function gets it: floating point arrays like x, keys and integers as given."""

    def as_given(leaf):
        floating = isinstance(leaf, float) or jnp.issubdtype(leaf.dtype, jnp.floating)
        return cast(precision, [leaf])[0] if floating else leaf

    return [as_given(leaf) for leaf in arguments.fixed]


def _mode(name: str, chosen: Candidate, own: Candidate, eps: float) -> tuple[Mode | None, Exception | None]:
    """A mode in the precision of the values, or else in the caller's own, and why it is not in the first."""
    error: Exception | None = None
    eager = [replace(c, precision=c.precision._replace(jit=False)) for c in (chosen, own)]
    for candidate in (chosen, eager[0], own, eager[1]):
        if error is not None and not candidate.precision.jit and not isinstance(error, NEEDS_VALUES):
            continue  # only a rule that looks at values needs to be run as it stands
        try:
            coarse = candidate.rounding_of(name)
        except Exception as refusal:  # the reason that the report gives
            error = error or _let_go(refusal)
            continue
        # A rule may round to float32, and as coarsely as f does; coarser rounding is an error that is to be found.
        least = DOUBLE if candidate.precision.wide else max(map(_eps, candidate.arguments.floating))
        return Mode(name, candidate.programs, candidate.precision, max(min(coarse, SINGLE), least, eps)), error
    return None, error


def _let_go(error: Exception | None) -> Exception | None:
    """What was raised, without the frames that it was raised in.

    They hold programs, and are held by what they hold until Python looks for such rings; meanwhile arrays that a
    program holds keep the type that JAX has seen them in.
    """
    cause = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
    return error


def _eps(leaf) -> float:
    return float(jnp.finfo(leaf.dtype).eps)


def in_a_line(error: BaseException | None) -> str:
    """What was raised, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'…' if len(text) > 160 else ''}"
