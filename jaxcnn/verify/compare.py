"""Check a gradient formula written by hand, as if it were the function's own rule."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn.verify.arguments import Which, parameter, positions, take_apart
from jaxcnn.verify.check import check_gradients
from jaxcnn.verify.report import GradientReport, LeafEntry
from jaxcnn.verify.subject import in_a_line


def compare_gradients(
    manual: Callable, f: Callable, *args: Any, wrt: Which = None, seed: int | None = None
) -> GradientReport:
    """Compare a hand-written gradient with differences of f's values, and say whether autodiff agrees.

    Args:
      manual: the formula, in JAX or NumPy: ``manual(*args)`` where f returns a single number, ``manual(g, *args)``
        with the cotangent g of f's result otherwise. It returns one gradient an argument, in a tuple, or where one
        argument is compared that gradient alone; None for an argument that it has no formula for.
      f: the function whose gradient it is meant to be.
      *args: where they are compared.
      wrt: only these arguments, by position or name, as in :func:`check_gradients`; the formula then returns gradients
        of these alone, in the order of the arguments.
      seed: repeats the comparison of a report that names it.

    Returns:
      A report like that of :func:`check_gradients`, whose mode is "manual"; a kink is told as there. Its last note says
      what became of JAX's own gradient of f, if the formula is wrong.

    Raises:
      TypeError: as in :func:`check_gradients`; the formula's gradients do not have the arguments' structure.
      ValueError: as in :func:`check_gradients`; a gradient's shape is not that of its argument.

    >>> import jax.numpy as jnp
    >>> print(compare_gradients(lambda x: 2 * x, lambda x: jnp.sum(x**2), jnp.array([1.0, 2.0]), seed=0))
    gradients agree (values in float64, seed=0)
      ok    x (2,)
    """
    for name, function in (("manual", manual), ("f", f)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, found {type(function).__name__}")
    take_apart(f, args, has_aux=False, wrt=wrt)
    chosen = [i for i in sorted(positions(f, args, wrt)) if wrt is not None or _has_floats(args[i])]
    y = _call("f", f, *args)
    scalar = [np.shape(leaf) for leaf in jax.tree.leaves(y)] == [()]
    formula = functools.partial(_call, "manual", manual)
    tried = _gradients(formula, f, chosen, scalar, args, jax.tree.map(jnp.ones_like, y))
    known = [i for i, gradient in zip(chosen, tried, strict=True) if gradient is not None]
    if not known:
        raise TypeError(f"manual: expected a gradient of {', '.join(parameter(f, i) for i in chosen)}, found None")
    report = check_gradients(
        _with_formula(manual, f, chosen, known, scalar), *args, wrt=known, modes=("reverse",), seed=seed
    )
    notes = report.notes if report.ok else (*report.notes, _of_autodiff(f, args, known, report.seed))
    return replace(report, entries=tuple(map(_manual, report.entries)), notes=notes)


def _with_formula(manual: Callable, f: Callable, chosen: list[int], known: list[int], scalar: bool) -> Callable:
    """f with the formula for its reverse-mode rule, in the arguments that it is known for."""

    @functools.wraps(f)
    def with_formula(*args):
        def given(xs):
            moved = dict(zip(known, xs, strict=True))
            return [moved.get(i, arg) for i, arg in enumerate(args)]

        @jax.custom_vjp
        def value(*xs):
            return f(*given(xs))

        def backward(xs, g):
            gradients = _gradients(manual, f, chosen, scalar, given(xs), g)
            return tuple(gradient for gradient in gradients if gradient is not None)

        value.defvjp(lambda *xs: (f(*given(xs)), xs), backward)
        return value(*(args[i] for i in known))

    return with_formula


def _gradients(manual: Callable, f: Callable, chosen: list[int], scalar: bool, args, g) -> list:
    """What the formula returns, one gradient for each chosen argument, in that argument's structure and types.

    Raises:
      TypeError, ValueError: where it does not fit.
    """
    found = manual(*args) if scalar else manual(g, *args)
    if len(chosen) == 1 and not (isinstance(found, tuple) and len(found) == 1):
        found = (found,)
    if not isinstance(found, tuple | list) or len(found) != len(chosen):
        count = len(found) if isinstance(found, tuple | list) else 1
        of = ", ".join(parameter(f, i) for i in chosen)
        raise TypeError(f"manual: expected {len(chosen)} gradients, of {of}, found {count}")
    scale = jax.tree.leaves(g)[0] if scalar else 1
    pairs = zip(chosen, found, strict=True)
    return [None if gradient is None else _like(args[i], gradient, scale, parameter(f, i)) for i, gradient in pairs]


def _like(x: Any, gradient: Any, scale: Any, name: str) -> Any:
    """The gradient times a number, in the types of the argument x; float0 for its leaves that are not floating."""
    leaves, structure = jax.tree.flatten(x)
    try:
        parts = structure.flatten_up_to(gradient)
    except ValueError as error:
        raise TypeError(f"manual: expected the gradient of {name} in {name}'s structure: {error}") from error
    result = []
    for leaf, part in zip(leaves, parts, strict=True):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            result.append(np.zeros(np.shape(leaf), jax.dtypes.float0))
            continue
        if np.shape(part) != np.shape(leaf):
            raise ValueError(f"manual: expected a gradient of {name} of shape {np.shape(leaf)}, found {np.shape(part)}")
        try:
            result.append(jnp.asarray(part, dtype) * jnp.asarray(scale, dtype))
        except (TypeError, ValueError) as error:
            raise TypeError(f"manual: expected an array for the gradient of {name}, found {part!r}") from error
    return jax.tree.unflatten(structure, result)


def _call(name: str, function: Callable, *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:
        raise ValueError(f"{name} cannot be evaluated: {in_a_line(error)}") from error


def _has_floats(arg: Any) -> bool:
    leaves = jax.tree.leaves(arg)
    arrays = [leaf for leaf in leaves if isinstance(leaf, float) or hasattr(leaf, "dtype")]
    return any(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in arrays)


def _manual(entry: LeafEntry) -> LeafEntry:
    return replace(entry, worst=tuple(replace(element, mode="manual") for element in entry.worst))


def _of_autodiff(f: Callable, args: tuple, known: list[int], seed: int) -> str:
    try:
        right = check_gradients(f, *args, wrt=known, seed=seed).ok
    except ValueError as error:
        return f"autodiff has no gradient to compare with: {error}"
    return "the gradient by autodiff is right" if right else "the gradient by autodiff is wrong, too"
