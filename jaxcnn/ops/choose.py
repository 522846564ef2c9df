"""Which algorithm for which convolution on which platform: what was measured there, else a rule of thumb."""

from jaxcnn.ops import tuned, winograd
from jaxcnn.ops.algorithms import IMPLEMENTATIONS
from jaxcnn.ops.geometry import ConvGeometry, Operation
from jaxcnn.ops.rule import rule_of_thumb

ALGORITHMS = ("auto", *IMPLEMENTATIONS)


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
    if name is not None and is_exact_enough(name, geometry, dtype, precision):
        return name
    return rule_of_thumb(operation, geometry, dtype, precision, platform)


def is_exact_enough(algorithm: str, geometry: ConvGeometry, dtype, precision) -> bool:
    """Whether an algorithm may be chosen unasked: Winograd's not everywhere."""
    return algorithm != "winograd" or winograd.is_exact_enough(geometry, dtype, precision)
