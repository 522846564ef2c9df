"""Which algorithm for which convolution on which platform: what was measured there, else a rule of thumb."""

import math

from jax import numpy as jnp

from jaxcnn.ops import eigen, im2col, polyphase, taps, tuned, two_sided, winograd
from jaxcnn.ops.algorithms import IMPLEMENTATIONS, Operation
from jaxcnn.ops.geometry import ConvGeometry

ALGORITHMS = ("auto", *IMPLEMENTATIONS)

FEW_INPUTS = 4
"""Up to this many input channels, folding patches is quicker than a convolution with so few outputs."""

NARROW_INPUTS = 48
"""Up to this many, folding patches is quicker still where there are twice as many outputs and all patches at once."""

MANY_INPUTS = 128
"""From so many on, patches of a convolution with strides are no quicker to fold than XLA's convolution is."""

LARGE_WINDOW, LARGE_BATCH = 16, 32
"""Taps from which a kernel gradient is quicker without patches; images, where there are few inputs or few products."""

EIGEN_CHANNELS, EIGEN_WEIGHTS, EIGEN_PRODUCTS = 16, 24**2, 10**8
"""Channels in and out, c_in · c_out, and products of all outputs from which Eigen fills its vectors and the cores."""

SMALL_PRODUCTS, SMALL_GRADIENT = 10**7, 6 * 10**7
"""Products from which, and of a kernel gradient up to which, Eigen is ahead of transforms of a large batch of images:
they are many short loops."""

WINOGRAD_WEIGHTS = {"convolve": 30_000, "input_gradient": 18_000}
"""Elements of a kernel, times the share of the tiles that are outputs, from which Winograd's products are quicker than
Eigen's convolution. An input gradient runs beside a kernel gradient, and Eigen needs all cores."""

TWO_SIDED_WEIGHTS, TWO_SIDED_PRODUCTS = 32**2, 2 * 10**8
"""c_in · c_out, times that share, up to which, and products of all outputs from which, a kernel gradient is quicker
without transforms."""

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
        return _of_kernel_gradient(geometry, dtype, precision)
    if geometry.groups > 1:
        return "im2col"
    if operation == "input_gradient":
        if set(geometry.strides) != {1}:
            return _of_strided_input_gradient(geometry)
        if geometry.inputs_per_group <= FEW_INPUTS or _narrows(geometry, dtype):
            return "im2col"
        geometry = geometry.transposed
    return _of_convolution(operation, geometry, dtype, precision)


def _of_kernel_gradient(geometry: ConvGeometry, dtype, precision) -> str:
    """Never XLA's: inside a loop it is a hundred times slower than outside."""
    if winograd.pays(geometry, dtype, precision) and not _two_sided_pays(geometry):
        return "eigen" if _is_small_gradient(geometry, dtype) else "winograd"
    return "eigen" if _is_eigens(geometry, dtype) and _patches_cost(geometry, dtype) else "im2col"


def _of_strided_input_gradient(geometry: ConvGeometry) -> str:
    if _phases_fit(geometry):
        return "polyphase"
    has_neighbours = math.prod(geometry.kernel_shape[:-2]) > 1
    return "xla" if has_neighbours and geometry.inputs_per_group >= MANY_INPUTS else "im2col"


def _of_convolution(operation: Operation, geometry: ConvGeometry, dtype, precision) -> str:
    """Or of an input gradient that is this convolution."""
    products = taps.products_per_output(geometry)
    transforms = winograd.pays(geometry, dtype, precision)
    least = SMALL_PRODUCTS if transforms and _is_large_batch(geometry) else EIGEN_PRODUCTS
    if products <= im2col.FEW_PRODUCTS or im2col.is_tiny(geometry, jnp.dtype(dtype).itemsize):
        return "im2col"
    c_in, c_out = geometry.kernel_shape[-2:]
    is_eigens = (
        _is_eigens(geometry, dtype)
        and min(c_in, c_out) >= EIGEN_CHANNELS
        and c_in * c_out >= EIGEN_WEIGHTS
        and _at_least(least, geometry.output_shape, products)
    )
    if math.prod(geometry.kernel_shape[:-2]) == 1 and not (is_eigens and set(geometry.strides) != {1}):
        return "im2col"
    if transforms and not (is_eigens and _is_small(geometry, operation)):
        return "winograd"
    return "eigen" if is_eigens else "xla"


def _is_eigens(geometry: ConvGeometry, dtype) -> bool:
    """Whether Eigen has it, for the CPU backend calls it for no longer dtype."""
    return not eigen.limit(geometry) and jnp.dtype(dtype) == jnp.float32


def _two_sided_pays(geometry: ConvGeometry) -> bool:
    """Whether im2col's kernel gradient has a product that is quicker than all of Winograd's transforms."""
    return (
        two_sided.pays(geometry)
        and math.prod(geometry.kernel_shape[-2:]) * winograd.filled(geometry) <= TWO_SIDED_WEIGHTS
        and math.prod(geometry.kernel_shape[:-2]) < LARGE_WINDOW
        and _at_least(TWO_SIDED_PRODUCTS, geometry.output_shape, taps.products_per_output(geometry))
    )


def _is_small(geometry: ConvGeometry, operation: Operation) -> bool:
    """Whether Winograd's products are, or too many of a tile's outputs are none."""
    return math.prod(geometry.kernel_shape) * winograd.filled(geometry) < WINOGRAD_WEIGHTS[operation]


def _patches_cost(geometry: ConvGeometry, dtype) -> bool:
    """Whether patches are more to write than a product with them gains over Eigen's."""
    window, c_in = math.prod(geometry.kernel_shape[:-2]), geometry.kernel_shape[-2]
    if window >= LARGE_WINDOW:
        return not im2col.is_tiny(geometry, jnp.dtype(dtype).itemsize)
    return window > 1 and 1 < c_in <= FEW_INPUTS and _is_large_batch(geometry)


def _is_small_gradient(geometry: ConvGeometry, dtype) -> bool:
    """Whether a kernel gradient is Eigen's rather than Winograd's."""
    large = _at_least(SMALL_GRADIENT, geometry.output_shape, taps.products_per_output(geometry))
    return _is_eigens(geometry, dtype) and _is_large_batch(geometry) and not large


def _is_large_batch(geometry: ConvGeometry) -> bool:
    """False where the number of images is only known at run time."""
    n = geometry.input_shape[0]
    return isinstance(n, int) and n >= LARGE_BATCH


def is_exact_enough(algorithm: str, dtype, precision) -> bool:
    """Whether an algorithm may be chosen unasked: Winograd's not everywhere."""
    return algorithm != "winograd" or winograd.is_exact_enough(dtype, precision)


def _at_least(number: int, output_shape, products: int) -> bool:
    """Whether the outputs have as many products together; so have images whose number is only known at run time."""
    n, *rest = output_shape
    return not isinstance(n, int) or n * math.prod(rest) * products >= number


def _narrows(geometry: ConvGeometry, dtype) -> bool:
    """Whether a patch is a long sum of outputs, with little to fold."""
    inputs, outputs = geometry.inputs_per_group, geometry.outputs_per_group
    if inputs > NARROW_INPUTS or outputs < 2 * inputs:
        return False
    return im2col.is_whole(geometry, jnp.dtype(dtype).itemsize)


def _phases_fit(geometry: ConvGeometry) -> bool:
    """Whether the windows are nearly multiples of the strides; those of 3 with a stride of 2 are not."""
    return not polyphase.limit(geometry) and polyphase.products_with_zeros(geometry) <= MOST_ZEROS
