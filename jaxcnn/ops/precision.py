"""What sums are kept in, and how exact a caller wants them."""

import jax
from jax import lax
from jax import numpy as jnp

RELAXED = (
    *(None, lax.Precision.DEFAULT, lax.Precision.HIGH),
    *("default", "fastest", "bfloat16", "high", "bfloat16_3x", "tensorfloat32"),
)
"""Precisions that leave some rounding to the machine."""


def accumulator(dtype):
    """The type that sums of products of a type are kept in: float32 or better; integers wrap around in their own."""
    is_narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize < 4
    return jnp.dtype(jnp.float32 if is_narrow else dtype)


def resolved(precision: lax.PrecisionLike):
    """The precision, hashable; the default of the moment where nothing is said, as lax takes it when it traces."""
    if precision is None:
        return jax.config.values["jax_default_matmul_precision"]
    return tuple(precision) if isinstance(precision, list) else precision


def is_highest(precision: lax.PrecisionLike) -> bool:
    """Whether float32 is to be as exact as it can be."""
    said = resolved(precision)
    operands = said if isinstance(said, tuple) else (said,)
    return any(operand not in RELAXED for operand in operands)


def of_cpu(precision: lax.PrecisionLike) -> lax.Precision:
    """The same for a product on a CPU: there all are as exact, and the algorithms of other devices are refused."""
    return lax.Precision.HIGHEST if is_highest(precision) else lax.Precision.DEFAULT
