"""The function under test, as a function of its floating point leaves alone, at one precision."""

import functools
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import sha256
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp
from jax.extend import core

from jaxcnn.verify.arguments import Structure, put_together

Flat = Callable[[list, Any], list]
"""From the floating leaves of the arguments, and what is held fixed, to the floating leaves of the result."""


def flat_function(f: Callable, structure: Structure) -> Flat:
    """f between lists of floating leaves; a complex result is its real and its imaginary part."""

    def flat(x: list, fixed: list) -> list:
        result = f(*put_together(structure, x, fixed))
        if structure.has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise TypeError(f"has_aux: expected f to return a pair, found {type(result).__name__}")
            result, _ = result
        parts = []
        for leaf in map(jnp.asarray, jax.tree.leaves(result)):
            if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                parts += [jnp.real(leaf), jnp.imag(leaf)]
            elif jnp.issubdtype(leaf.dtype, jnp.floating):
                parts.append(leaf)
        return parts

    return flat


def gradient_function(flat: Flat) -> Flat:
    """x ↦ the gradient of Σ u · f(x), to be checked for second derivatives; (fixed, u) is held fixed."""

    def gradient(x: list, fixed_and_u: tuple[list, list]) -> list:
        fixed, u = fixed_and_u
        return jax.vjp(lambda x: flat(x, fixed), x)[1](u)[0]

    return gradient


class Program:
    """A function that is compiled at its first call, unless an earlier check has compiled the same program.

    The same is what has the same text: a function whose Python reads something else than before has another. All calls
    have operands of the same shapes and types.
    """

    def __init__(self, f: Callable):
        self._jitted = jax.jit(f)
        self._traced: jax.stages.Traced | None = None
        self._compiled: Callable | None = None

    def trace(self, *operands) -> jax.stages.Traced:
        """The program as JAX's primitives."""
        self._traced = self._traced or self._jitted.trace(*operands)
        return self._traced

    def prepare(self, *operands) -> None:
        """Compile it, if that has not been done."""
        if self._compiled is not None:
            return
        traced = self.trace(*operands)
        lowered = traced.lower()
        types = tuple(map(str, traced.jaxpr.in_avals)), lowered.in_tree, lowered.out_tree
        places = tuple(getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(operands))
        key = sha256(lowered.as_text().encode()).digest(), types, places, jax.config.values["jax_default_device"]
        if key not in _COMPILED:
            _COMPILED[key] = lowered.compile()
            if len(_COMPILED) > MOST_COMPILED:
                _COMPILED.popitem(last=False)
        _COMPILED.move_to_end(key)
        self._compiled = _COMPILED[key]

    def __call__(self, *operands):
        """Its results."""
        self.prepare(*operands)
        assert self._compiled is not None
        return self._compiled(*operands)


def out_info(program: Callable, *operands) -> list:
    """What has the shapes and types of its results."""
    return program.trace(*operands).out_info if isinstance(program, Program) else program(*operands)


MOST_COMPILED = 256
"""Programs that are kept for checks to come."""

_COMPILED: OrderedDict[tuple, Callable] = OrderedDict()


class Programs(NamedTuple):
    """What is asked of a function: compiled, or as it stands where its Python looks at values."""

    value: Callable
    """x, fixed → y = f(x)"""
    pull: Callable
    """x, fixed, u → y by the forward rule, Jᵀ u"""
    push: Callable
    """x, fixed, v, lo, hi → J v"""
    difference: Callable
    """x, fixed, y, v, lo, hi, t → f(x + t v) − y"""
    differences: Callable
    """x, fixed, y, v, lo, hi, ts, k → the same for the first k of ts, in rows, in one call; compiled only"""


def programs(f: Callable, structure: Structure, order: int, precision: "Precision", operands: Any) -> Programs:
    """The programs of f, or with order 2 of its gradient, for operands like these.

    Those of a jitted function are found again without tracing it, as that function's own are.
    """
    if isinstance(f, jax.stages.Wrapped):
        leaves = jax.tree.leaves(operands)
        types = tuple((jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves)
        with suppress(TypeError):  # a static leaf that has no hash
            return _programs_of_jitted(f, structure, order, precision, (types, jax.config.values["jax_default_device"]))
    return programs_of(f, structure, order, precision.jit)


@functools.lru_cache(maxsize=64)
def _programs_of_jitted(f: Callable, structure: Structure, order: int, precision: "Precision", _) -> Programs:
    return programs_of(f, structure, order, precision.jit)


def programs_of(f: Callable, structure: Structure, order: int, jit: bool) -> Programs:
    """The same, not compiled yet."""
    flat = flat_function(f, structure)
    if order == 2:
        flat = gradient_function(flat)

    def pull(x, fixed, u):
        y, vjp = jax.vjp(lambda x: flat(x, fixed), x)
        return y, vjp(u)[0]

    def push(x, fixed, v, lo, hi):
        return jax.jvp(lambda x: flat(x, fixed), (x,), (within(v, lo, hi),))[1]

    def difference(x, fixed, y, v, lo, hi, t):
        moved = [a + jnp.asarray(t, a.dtype) * b for a, b in zip(x, within(v, lo, hi), strict=True)]
        return [b - a for a, b in zip(y, flat(moved, fixed), strict=True)]

    def differences(x, fixed, y, v, lo, hi, ts, k):
        def fill(row, rows):
            found = difference(x, fixed, y, v, lo, hi, ts[row])
            return [leaf.at[row].set(part) for leaf, part in zip(rows, found, strict=True)]

        return lax.fori_loop(0, k, fill, [jnp.zeros((len(ts), *leaf.shape), leaf.dtype) for leaf in y])

    all_of_them = (flat, pull, push, difference, differences)
    return Programs(*(map(Program, all_of_them) if jit else all_of_them))


def within(v: list, lo, hi) -> list:
    """v, with zeros where the index, counted through all leaves, is not in [lo, hi)."""
    masked, offset = [], 0
    for leaf in v:
        index = jnp.arange(leaf.size).reshape(leaf.shape) + offset
        masked.append(jnp.where((lo <= index) & (index < hi), leaf, jnp.zeros_like(leaf)))
        offset += leaf.size
    return masked


class Precision(NamedTuple):
    """What a function is evaluated in.

    Attributes:
      wide: arguments are cast to float64, 64-bit types are on; otherwise all is as the caller has it.
      jit: it is compiled.
    """

    wide: bool
    jit: bool

    def context(self) -> AbstractContextManager:
        """Under it the function is traced and run; the caller's own settings are back behind it."""
        return wide_types() if self.wide else nullcontext()


class wide_types:
    """64-bit types for a block of code, and promotion, so that a float32 constant in f may meet a float64 argument."""

    def __enter__(self):
        self._contexts = (jax.enable_x64(True), jax.numpy_dtype_promotion("standard"))
        for context in self._contexts:
            context.__enter__()

    def __exit__(self, *exception):
        for context in reversed(self._contexts):
            context.__exit__(*exception)


def coarsest_eps(jaxpr: core.ClosedJaxpr | core.Jaxpr, least: float = 0.0) -> float:
    """The largest machine epsilon among the floating point types that a program computes in."""
    inner = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    eps = least
    for eqn in inner.eqns:
        for variable in eqn.outvars:
            dtype = getattr(variable.aval, "dtype", None)
            if dtype is not None and dtype != jax.dtypes.float0 and jnp.issubdtype(dtype, jnp.floating):
                eps = max(eps, float(jnp.finfo(dtype).eps))
        for value in eqn.params.values():
            for sub in value if isinstance(value, tuple | list) else (value,):
                if isinstance(sub, core.ClosedJaxpr | core.Jaxpr):
                    eps = coarsest_eps(sub, eps)
    return eps
