"""Which algorithm for which convolution on which platform: what was measured there, else a rule of thumb."""

import math

from jax import numpy as jnp

from jaxcnn.ops import im2col, polyphase, taps, tuned, winograd
from jaxcnn.ops.algorithms import IMPLEMENTATIONS, Operation
from jaxcnn.ops.geometry import ConvGeometry

ALGORITHMS = ("auto", *IMPLEMENTATIONS)

FEW_INPUTS = 4
"""Up to this many input channels, folding patches is quicker than a convolution with so few outputs."""

NARROW_INPUTS = 48
"""Up to this many, folding patches is quicker still where there are twice as many outputs and all patches at once."""

MOST_ZEROS = 1.35
"""How many times as many products, those with zeros counted, polyphase may have."""


def check_algorithm(algorithm: str, geometry: ConvGeometry | None = None) -> None:
    """ValueError if there is none of that name, or if it cannot do a convolution of that geometry."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, found {algorithm!r}")
    if geometry is not None and algorithm != "auto" and (limit := IMPLEMENTATIONS[algorithm].limit(geometry)):
        raise ValueError(f"algorithm {algorithm!r} cannot do this convolution: {limit}")


def implementation(operation: Operation, algorithm: str):
    """The function of that algorithm, of two arrays, a geometry and a precision."""
    return getattr(IMPLEMENTATIONS[algorithm], operation)


def algorithm(operation: Operation, geometry: ConvGeometry, dtype, precision, platform: str | None) -> str:
    """The name of the algorithm for a convolution on a platform; None is one that nothing is known of.

    It is the one that was measured to be fastest (:mod:`jaxcnn.ops.tuned`), if that is exact enough; else a guess.
    """
    name = tuned.lookup(operation, geometry, dtype, platform)
    if name is not None and is_exact_enough(name, dtype, precision):
        return name
    return rule_of_thumb(operation, geometry, dtype, precision, platform)


def rule_of_thumb(operation: Operation, geometry: ConvGeometry, dtype, precision, platform: str | None) -> str:
    """The algorithm for a platform: XLA's own but on the CPU, where each line was measured (``benchmarks/``)."""
    if platform != "cpu":
        return "xla"
    if operation == "kernel_gradient":
        # Never XLA's: inside a loop it is a hundred times slower than outside.
        if winograd.pays(geometry, dtype, precision):
            return "winograd"
        return "polyphase" if _phases_pay(geometry, dtype, precision) else "im2col"
    if geometry.groups > 1:
        return "im2col"
    if math.prod(geometry.kernel_shape[:-2]) == 1:
        return "im2col"
    if operation == "input_gradient":
        if set(geometry.strides) != {1}:
            return "polyphase" if _phases_fit(geometry) else "im2col"
        if geometry.inputs_per_group <= FEW_INPUTS or _narrows(geometry, dtype):
            return "im2col"
        geometry = geometry.transposed
    if taps.products_per_output(geometry) <= im2col.FEW_PRODUCTS or im2col.is_tiny(geometry, jnp.dtype(dtype).itemsize):
        return "im2col"
    if winograd.pays(geometry, dtype, precision):
        return "winograd"
    return "polyphase" if _phases_pay(geometry, dtype, precision) else "xla"


def is_exact_enough(algorithm: str, dtype, precision) -> bool:
    """Whether an algorithm may be chosen unasked: Winograd's not everywhere."""
    return algorithm != "winograd" or winograd.is_exact_enough(dtype, precision)


def _narrows(geometry: ConvGeometry, dtype) -> bool:
    """Whether a patch is a long sum of outputs, with little to fold."""
    inputs, outputs = geometry.inputs_per_group, geometry.outputs_per_group
    if inputs > NARROW_INPUTS or outputs < 2 * inputs:
        return False
    return im2col.is_whole(geometry, jnp.dtype(dtype).itemsize)


def _phases_fit(geometry: ConvGeometry) -> bool:
    """Whether the windows are nearly multiples of the strides; those of 3 with a stride of 2 are not."""
    return not polyphase.limit(geometry) and polyphase.products_with_zeros(geometry) <= MOST_ZEROS


def _phases_pay(geometry: ConvGeometry, dtype, precision) -> bool:
    """Where it makes a strided convolution one for Winograd's algorithm."""
    return _phases_fit(geometry) and winograd.pays(polyphase.with_strides_of_one(geometry), dtype, precision)
