"""A function of the user's, named on the command line, and the check of its gradients."""

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod
from operator import attrgetter
from pathlib import Path
from textwrap import shorten
from typing import Any

import jax

from jaxcnn.errors import InputError
from jaxcnn.verify import GradientReport, check_gradients

LONG = 300
"""Characters of an error's text that are shown."""

SCALAR = "scalar"

MOST = 2**31 - 1
"""Elements of an array: its check holds a dozen more of them, in float64."""


def check_function(target: str, shapes: Sequence[str], dtype: str, order: int, seed: int) -> GradientReport:
    """Check the derivatives of a function at standard normal arguments.

    Args:
      target: ``package.module:function``, looked for in the current directory first, as ``python -m`` does.
      shapes: one an argument: 4,8,8,1 or scalar.
      dtype: of all arguments; under float64 JAX's 64-bit types are on, for the import too.
      order: 2 checks the derivatives of the gradient as well.
      seed: what arguments and directions are drawn from, from 0 to 2³² − 1.

    Raises:
      InputError: the target, or one of the shapes, is not what is described above, or the function does not take
        arguments of these shapes.
    """
    sizes = parse_shapes(target, shapes)
    with jax.enable_x64(True) if dtype == "float64" else nullcontext():
        f = load_function(target)
        keys = jax.random.split(jax.random.key(seed), len(sizes))
        args = [jax.random.normal(key, size, dtype) for key, size in zip(keys, sizes, strict=True)]
        try:
            return check_gradients(f, *args, order=order, seed=seed)
        except (TypeError, ValueError) as error:  # the checker's words for what f raises, among others
            raise InputError(f"{target}: {error}") from error


def load_function(target: str) -> Callable[..., Any]:
    """Import ``package.module:function``; the current directory is put first on the path.

    Raises:
      InputError: there is no such function, or its module cannot be imported.
    """
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise InputError(f"target: expected package.module:function, found {target!r}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module does
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise InputError(f"{name}: expected a module in this directory or installed, found none") from error
        found = shorten(f"{type(error).__name__}: {error}", LONG, placeholder=" …")
        raise InputError(f"{name}: expected a module that can be imported, found {found}") from error
    try:
        f = attrgetter(attribute)(module)
    except AttributeError as error:
        raise InputError(f"{target}: expected a function, found none of this name in {name}") from error
    if not callable(f):
        raise InputError(f"{target}: expected a function, found a value of type {type(f).__name__}")
    return f


def parse_shapes(target: str, shapes: Sequence[str]) -> list[tuple[int, ...]]:
    """The shapes of a function's arguments.

    Raises:
      InputError: there are none, or one is not such a text as :func:`parse_shape` reads.
    """
    if not shapes:
        raise InputError(f"shapes: expected one for each argument of {target}, such as 4,8,8,1, found none")
    return [parse_shape(text) for text in shapes]


def parse_shape(text: str) -> tuple[int, ...]:
    """An array's shape.

    Raises:
      InputError: it is not such a text.

    >>> parse_shape("4,8,8,1"), parse_shape("3"), parse_shape("scalar")
    ((4, 8, 8, 1), (3,), ())
    """
    if text == SCALAR:
        return ()
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", text):
        raise InputError(f"shapes: expected sizes of at least 0 such as 4,8,8,1, or {SCALAR}, found {text!r}")
    shape = tuple(map(int, text.split(",")))
    if prod(shape) > MOST:
        raise InputError(f"shapes: expected at most {MOST} elements, found {text!r}")
    return shape
