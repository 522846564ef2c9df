"""Functions of the compiled program that XLA does not inline on the CPU.

XLA optimises such a function once however often it is called, its scheduler does not mix one call's arrays with
another's, and what makes a function's result is no part of the loops that read it.
"""

from collections.abc import Callable
from typing import Any

from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array


def not_inlined(result: Array) -> Any:
    """The result of a jitted function, whose call stays one; that of anything else is only marked."""
    # As an attribute of the result: as a context it would be that of the calls inside, too.
    return set_xla_metadata(result, inlineable="false")


def call(f: Callable[..., Array], *args: Array) -> Array:
    """f(*args) for a jitted f, not inlined where the program is a CPU's."""
    return lax.platform_dependent(*args, cpu=lambda *args: not_inlined(f(*args)), default=f)
