"""The convolutions in a function whose algorithm is left to jaxcnn."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import jax
from jax import numpy as jnp
from jax.extend import core

from jaxcnn.ops import ConvGeometry
from jaxcnn.ops.bilinear import conv_p, input_gradient_p, kernel_gradient_p
from jaxcnn.ops.geometry import Operation

PRIMITIVES: dict[Operation, core.Primitive] = {
    "convolve": conv_p,
    "input_gradient": input_gradient_p,
    "kernel_gradient": kernel_gradient_p,
}


class Convolution(NamedTuple):
    """One of a convolution's three operations, on arrays of known shapes and type.

    Attributes:
      operation: convolve, input_gradient or kernel_gradient.
      geometry: that of the convolution, whichever the operation.
      dtype: the name of its arrays' type.
    """

    operation: Operation
    geometry: ConvGeometry
    dtype: str


def find_convolutions(f: Callable, *args: Any) -> list[Convolution]:
    """The distinct convolutions with ``algorithm="auto"`` in f, loops and nested functions included.

    Each that is not itself a gradient comes with its two gradients.

    Args:
      f: a JAX function.
      *args: its arguments, or for each array a ``jax.ShapeDtypeStruct``.

    >>> from jaxcnn import conv2d
    >>> specs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 3), (3, 3, 3, 4))]
    >>> [convolution.operation for convolution in find_convolutions(conv2d, *specs)]
    ['convolve', 'input_gradient', 'kernel_gradient']
    """
    operations = {primitive: operation for operation, primitive in PRIMITIVES.items()}
    found: dict[Convolution, None] = {}  # a set that keeps its order
    for eqn in _equations(jax.make_jaxpr(f)(*args).jaxpr):
        if eqn.primitive not in operations or eqn.params["algorithm"] != "auto":
            continue
        geometry, dtype = eqn.params["geometry"], jnp.result_type(eqn.invars[0].aval)
        if all(isinstance(size, int) and size > 0 for size in geometry.input_shape):
            operation = operations[eqn.primitive]
            both_passes = convolution_and_gradients(geometry, dtype)
            found |= dict.fromkeys(c for c in both_passes if operation == "convolve" or c.operation == operation)
    return list(found)


def convolution_and_gradients(geometry: ConvGeometry, dtype) -> list[Convolution]:
    """The three operations on one convolution."""
    return [Convolution(operation, geometry, jnp.dtype(dtype).name) for operation in get_args(Operation)]


def _equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All of a program's, those of the programs within it after their own."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for sub in value if isinstance(value, tuple | list) else (value,):
                if isinstance(sub, core.ClosedJaxpr | core.Jaxpr):
                    yield from _equations(sub.jaxpr if isinstance(sub, core.ClosedJaxpr) else sub)
