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
    """The type that sums of products of a type are kept in: float32 or better."""
    return jnp.dtype(dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32)


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
