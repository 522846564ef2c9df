"""The arguments of the function under test, taken apart: what is differentiated, and what is held fixed."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeGuard

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer

Which = int | str | Sequence[int | str] | None
"""Arguments by position or by name; all if None."""


class Static(NamedTuple):
    """A leaf that is no array of JAX's: a string, a Python integer, a function."""

    value: Any


class Structure(NamedTuple):
    """Where the leaves of the arguments go.

    Attributes:
      leaves: one entry a leaf: "floating", "fixed" (an array of another type), or a :class:`Static`.
    """

    treedef: Any
    leaves: tuple[str | Static, ...]
    has_aux: bool


class Arguments(NamedTuple):
    """The arguments taken apart; ``names`` are those of the floating leaves, with f's own words for its parameters."""

    floating: list
    fixed: list
    names: tuple[str, ...]
    structure: Structure


def take_apart(f: Callable, args: tuple, has_aux: bool, wrt: Which = None) -> Arguments:
    """Sort the leaves of the arguments.

    Raises:
      TypeError: a leaf that is to be differentiated is complex, or none is floating point.
      ValueError: ``wrt`` names no argument.
    """
    floating, fixed, names, kinds = [], [], [], []
    chosen = positions(f, args, wrt)
    paths, treedef = jax.tree_util.tree_flatten_with_path(args)
    for path, leaf in paths:
        name = _name(f, path)
        dtype = _dtype(leaf, name)
        if dtype is None:
            kinds.append(Static(leaf))
            continue
        differentiated = path[0].idx in chosen
        if differentiated and jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(f"{name} is {dtype}: give its real and its imaginary part as two real arguments")
        kinds.append("floating" if differentiated and jnp.issubdtype(dtype, jnp.floating) else "fixed")
        if kinds[-1] == "floating":
            floating.append(jnp.asarray(leaf))
            names.append(name)
        else:
            fixed.append(leaf)
    if not floating:
        among = ", ".join(parameter(f, index) for index in sorted(chosen)) or "no arguments"
        raise TypeError(f"expected at least one floating point array to differentiate, found none in {among}")
    return Arguments(floating, fixed, tuple(names), Structure(treedef, tuple(kinds), has_aux))


def positions(f: Callable, args: tuple, wrt: Which) -> set[int]:
    """The positions of the arguments that ``wrt`` names; of all if it is None.

    Raises:
      ValueError: it names another.
    """
    if wrt is None:
        return set(range(len(args)))
    names = [parameter(f, index) for index in range(len(args))]
    chosen = set()
    for item in (wrt,) if isinstance(wrt, str) or not isinstance(wrt, Iterable) else wrt:
        if isinstance(item, str) and item in names:
            chosen.add(names.index(item))
        elif is_whole(item) and -len(args) <= int(item) < len(args):
            chosen.add(int(item) % len(args))
        else:
            known = f"a position below {len(args)} or a name among {', '.join(names)}"
            raise ValueError(f"wrt: expected {known}, found {item!r}")
    return chosen


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is an integer of Python's or NumPy's; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _dtype(leaf: Any, name: str) -> Any:
    """The type of an array or of a Python float or complex number; None of what JAX holds fixed without looking at it.

    Raises:
      TypeError: it has no values, or more digits than JAX knows.
    """
    if isinstance(leaf, Tracer):
        raise TypeError(f"{name} is traced: check gradients outside of jit, grad and vmap")
    if isinstance(leaf, float | complex) and not isinstance(leaf, np.generic):
        return np.dtype(type(leaf))
    if isinstance(leaf, bool | int) or not hasattr(leaf, "dtype"):
        return None
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"{name}: expected an array with values, found {type(leaf).__name__}")
    if isinstance(leaf, jax.Array):
        return leaf.dtype
    if leaf.dtype in (np.longdouble, np.clongdouble):
        raise TypeError(f"{name} is {leaf.dtype}: expected at most float64")
    known = jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool
    return leaf.dtype if known else None


def put_together(structure: Structure, floating: Sequence, fixed: Sequence) -> tuple:
    """The arguments of f."""
    sources = {"floating": iter(floating), "fixed": iter(fixed)}
    leaves = [kind.value if isinstance(kind, Static) else next(sources[kind]) for kind in structure.leaves]
    return jax.tree.unflatten(structure.treedef, leaves)


def _name(f: Callable, path: tuple) -> str:
    """The parameter's name and the way to the leaf in it: params['Conv_0']['kernel']."""
    index, rest = path[0].idx, path[1:]
    return parameter(f, index) + jax.tree_util.keystr(rest)


def parameter(f: Callable, index: int) -> str:
    """The name of a positional parameter, or args[index]."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    if index < len(parameters) and parameters[index].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        return parameters[index].name
    return f"args[{index}]"
