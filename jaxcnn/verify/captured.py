"""The arrays that a function has captured, in float64, so that it can be evaluated in float64 all through.

In ``lambda kernel: conv2d(images, kernel)`` the images are float32 whatever the kernel is. A copy of the function
is made whose closure, default arguments and global names hold float64 arrays instead, and so do the functions of the
same module that it calls; the original stays as it is.

Its NumPy arrays of 64 bits are copied, too. JAX remembers as what type it has seen such an array, for as long as a
program holds it, whether 64-bit types are on or not: the caller's own would stay an int64 in their float32 programs.
"""

import contextlib
import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.program import wide_types

SEPARATE = frozenset(map(np.dtype, ("int64", "uint64", "float64", "complex128")))
"""Types of NumPy arrays that are others where 64-bit types are off."""


class Copy(NamedTuple):
    """A function with copies of what it captured.

    Attributes:
      needed: the function itself must not be evaluated with 64-bit types.
    """

    f: Callable
    needed: bool


def widened(f: Callable) -> Copy | None:
    """f with its captured floating point arrays in float64; None where it has none, or none can be seen."""
    copies = _Copies()
    with wide_types():
        duplicate = copies.of(f)
    return Copy(duplicate, copies.separated) if copies.widened or copies.separated else None


class _Copies:
    """Copies of functions and arrays, each made once, so that functions may refer to each other."""

    def __init__(self):
        self.widened = self.separated = False
        self._made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """A copy of a function or of a pytree with arrays; anything else as it is."""
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, functools.partial):
            return functools.partial(self.of(value.func), *map(self.of, value.args), **self._mapped(value.keywords))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, jax.custom_vjp | jax.custom_jvp):
            return self._rule(value)
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(value, jax.stages.Wrapped) and isinstance(wrapped, types.FunctionType):
            return self.of(wrapped)
        if not isinstance(value, jax.Array | np.ndarray | dict | list | tuple):
            return value
        try:
            return jax.tree.map(self._leaf, value)
        except (TypeError, ValueError):  # a dictionary whose keys have no order is no pytree
            return value

    def _function(self, f: types.FunctionType) -> types.FunctionType:
        cells = tuple(types.CellType() for _ in f.__closure__ or ())
        names = _global_names(f.__code__) & f.__globals__.keys()
        scope = dict(f.__globals__)
        duplicate = types.FunctionType(f.__code__, scope, f.__name__, None, cells)
        self._made[id(f)] = duplicate
        duplicate.__defaults__ = None if f.__defaults__ is None else tuple(map(self.of, f.__defaults__))
        duplicate.__kwdefaults__ = None if f.__kwdefaults__ is None else self._mapped(f.__kwdefaults__)
        for cell, original in zip(cells, f.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a variable that has no value yet
                cell.cell_contents = self.of(original.cell_contents)
        for name in names:
            value = f.__globals__[name]
            if not isinstance(value, types.FunctionType) or value.__module__ == f.__module__:
                scope[name] = self.of(value)
        return duplicate

    def _rule(self, rule: Any) -> Any:
        duplicate = self._made[id(rule)] = type(rule)(rule.fun)
        vars(duplicate).update(vars(rule))
        for part in ("fun", "fwd", "bwd", "jvp"):
            if isinstance(vars(rule).get(part), types.FunctionType):
                setattr(duplicate, part, self.of(vars(rule)[part]))
        return duplicate

    def _mapped(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: self.of(value) for name, value in values.items()}

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) and leaf.dtype in SEPARATE:
            self.separated = True
            return leaf.copy()
        if isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating):
            if leaf.dtype == np.float64:
                return leaf
            self.widened = True
            return jnp.asarray(np.asarray(leaf, np.float64)) if isinstance(leaf, jax.Array) else leaf.astype(np.float64)
        return leaf


def _global_names(code: types.CodeType) -> set[str]:
    """Names that a function's code looks up, and that of the functions inside it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_global_names, inner))
