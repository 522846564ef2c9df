"""Each group of channels as a convolution of its own, by the algorithm that a CPU's rule of thumb has for one of them.

With x_γ and w_γ the channels of group γ, y = [conv(x_1, w_1), conv(x_2, w_2), …] along the channels, and both gradients
likewise: what has groups has them along its last axis. Groups with enough channels have Winograd's algorithm and the
processor's libraries so, which a product of all groups' patches has not.
"""

import functools

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops import planes
from jaxcnn.ops.calls import call
from jaxcnn.ops.geometry import ConvGeometry, Operation
from jaxcnn.ops.rule import rule_of_thumb

OF_A_GROUP = {**planes.OF_A_PLANE, "planes": planes}
"""The modules that a group's algorithm may be of, by its name."""


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a convolution; None where it can do it."""
    if geometry.groups == 1:
        return "groupwise needs a feature_group_count above 1, found 1"
    return None


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """y."""
    return _each("convolve", x, kernel, geometry, precision)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x."""
    return _each("input_gradient", g, kernel, geometry, precision)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_group c_out"]:
    """∂L/∂w."""
    return _each("kernel_gradient", x, g, geometry, precision)


def _each(operation: Operation, a: Array, b: Array, geometry: ConvGeometry, precision) -> Array:
    f = functools.partial(_one, operation, geometry.of_one_group, precision)
    groups = zip(*(jnp.split(array, geometry.groups, axis=-1) for array in (a, b)), strict=True)
    return jnp.concatenate([call(f, *group) for group in groups], axis=-1)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _one(operation: Operation, geometry: ConvGeometry, precision, a: Array, b: Array) -> Array:
    name = rule_of_thumb(operation, geometry, a.dtype, precision, "cpu")
    return getattr(OF_A_GROUP[name], operation)(a, b, geometry=geometry, precision=precision)
