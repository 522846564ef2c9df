"""The rule of thumb: which algorithm is the quickest where nothing was measured."""

import math
from collections.abc import Sequence

from jax import numpy as jnp

from jaxcnn.ops import eigen, fft, grouped, im2col, polyphase, taps, winograd
from jaxcnn.ops.geometry import ConvGeometry, Operation

FEW_INPUTS = 4
"""Up to this many input channels, folding patches is quicker than a convolution with so few outputs."""

NARROW_INPUTS = 48
"""Up to this many, folding patches is quicker still where there are twice as many outputs and all patches at once."""

MANY_INPUTS = 128
"""From so many on, patches of a convolution with strides are no quicker to fold than XLA's convolution is."""

LARGE_WINDOW, LARGE_BATCH = 16, 32
"""Taps from which a kernel gradient is quicker without patches; images, where there are few inputs or few products."""

EIGEN_CHANNELS, EIGEN_WEIGHTS, EIGEN_PRODUCTS = 16, 24**2, 10**7
"""Channels in and out, c_in · c_out, and products of all outputs from which Eigen fills its vectors and the cores."""

FEW_CHANNELS = 32
"""Channels in and out below which Winograd's transforms need as many products as in a large batch of images."""

WINOGRAD_PRODUCTS, WINOGRAD_BATCH_PRODUCTS, WINOGRAD_GRADIENT_PRODUCTS = 2 * 10**7, 4 * 10**7, 25 * 10**6
"""Products of all outputs, times the share of the tiles that are outputs, from which transforms are ahead of one call
of Eigen: of a convolution, of one with few channels or many images, and of a kernel gradient of such a one."""

WINOGRAD_LINE_PRODUCTS = 10**8
"""The same of a convolution with windows along one axis: its few products have to be large to fill the cores."""

WINOGRAD_TILES = 32
"""Tiles full of outputs from which a convolution's transforms are worth while."""

WINOGRAD_RATIO, WINOGRAD_SAVED, WINOGRAD_SAVED_BY_FEW = 3**0.5, 130, 300
"""The sum's multiplications over those that transforms leave, for each axis, and how many are saved for an output, from
which they are worth while: not 16 channels by 3×3. Of windows as small as 2×2, less than the first, how many more."""

PLANES_PRODUCTS = 100
"""Products of an output from which a convolution along three axes is quicker as one of planes: not 1 input by 3×3×3."""

GROUPWISE_CHANNELS = 8
"""Channels in and out from which a group is a convolution of its own, but where sums are quicker."""

GROUPWISE_PRODUCTS = 10**5
"""Products of all outputs of a group from which it is: less is not worth the copies, nor compiling a call for each."""

MOST_ZEROS, MOST_ZEROS_OF_GROUPS = 1.35, 1.5
"""How many times as many products, those with zeros counted, polyphase may have: matrix products, or sums."""


def rule_of_thumb(operation: Operation, geometry: ConvGeometry, dtype, precision, platform: str | None) -> str:
    """The algorithm for a platform: XLA's own but on the CPU, where each line was measured (``benchmarks/``)."""
    if platform != "cpu":
        return "xla"
    if geometry.groups > 1:
        return _of_groups(operation, geometry, dtype)
    if _planes_fit(geometry) and not _is_winograds(operation, geometry, dtype, precision):
        return "planes"
    if operation == "kernel_gradient":
        return _of_kernel_gradient(geometry, dtype, precision)
    if operation == "input_gradient":
        if set(geometry.strides) != {1}:
            return _of_strided_input_gradient(geometry)
        narrows = _narrows(geometry, dtype) and not _transforms_pay(geometry.transposed, dtype, precision)
        if geometry.inputs_per_group <= FEW_INPUTS or narrows:
            return "im2col"
        geometry = geometry.transposed
    return _of_convolution(operation, geometry, dtype, precision)


def _of_groups(operation: Operation, geometry: ConvGeometry, dtype) -> str:
    """All groups together, as sums or by patches, or each by itself."""
    summed = taps.products_per_output(geometry.transposed if operation == "input_gradient" else geometry)
    is_long = summed > grouped.MOST_PRODUCTS
    if grouped.is_depthwise(geometry) and is_long and _is_ffts(geometry, dtype):
        return "fft"
    if operation == "input_gradient" and not polyphase.limit(geometry):
        inner = polyphase.with_strides_of_one(geometry)
        if grouped.pays(inner) and polyphase.products_with_zeros(geometry) <= MOST_ZEROS_OF_GROUPS:
            return "polyphase"
    has_channels = min(geometry.inputs_per_group, geometry.outputs_per_group) >= GROUPWISE_CHANNELS
    is_large = _at_least(GROUPWISE_PRODUCTS, geometry.of_one_group.output_shape, taps.products_per_output(geometry))
    # Sums of as many channels are quicker than patches, but a kernel gradient's are not quicker than a group by itself.
    has_sums = grouped.pays(geometry) and operation != "kernel_gradient"
    return "groupwise" if has_channels and is_large and not has_sums else "im2col"


def _is_ffts(geometry: ConvGeometry, dtype) -> bool:
    """Whether spectra can do it."""
    return not fft.limit(geometry) and jnp.issubdtype(dtype, jnp.floating)


def _planes_fit(geometry: ConvGeometry) -> bool:
    """Whether taps of the first of three axes may be channels, and there is enough left to do for each output."""
    first, products = geometry.axes[0], taps.products_per_output(geometry)
    is_simple = first.stride == first.dilation == 1 < first.window
    return len(geometry.axes) == 3 and is_simple and products >= PLANES_PRODUCTS


def _is_winograds(operation: Operation, geometry: ConvGeometry, dtype, precision) -> bool:
    """Whether transforms along all axes pay."""
    if operation == "kernel_gradient":
        return _gradient_transforms_pay(geometry, dtype, precision)
    if operation == "input_gradient":
        return set(geometry.strides) == {1} and _transforms_pay(geometry.transposed, dtype, precision)
    return _transforms_pay(geometry, dtype, precision)


def _of_kernel_gradient(geometry: ConvGeometry, dtype, precision) -> str:
    """Never XLA's: inside a loop it is a hundred times slower than outside."""
    if _gradient_transforms_pay(geometry, dtype, precision):
        return "winograd"
    if _phases_fit(geometry) and _gradient_transforms_pay(polyphase.with_strides_of_one(geometry), dtype, precision):
        return "polyphase"
    # XLA's convolution is of x with g as its window.
    is_eigens = _is_eigens(geometry, dtype) and not _is_slow(geometry.input_shape[1:-1], geometry.output_shape[1:-1])
    has_many_channels = winograd.pays(geometry, dtype, precision) and min(geometry.kernel_shape[-2:]) >= FEW_CHANNELS
    return "eigen" if is_eigens and (has_many_channels or _patches_cost(geometry, dtype)) else "im2col"


def _of_strided_input_gradient(geometry: ConvGeometry) -> str:
    """By phases, XLA's or by patches."""
    if _phases_fit(geometry):
        return "polyphase"
    is_xlas = math.prod(geometry.kernel_shape[:-2]) > 1 and geometry.inputs_per_group >= MANY_INPUTS
    is_slow = _has_few_outputs(geometry) or _is_slow(geometry.output_shape[1:-1], geometry.kernel_shape[:-2])
    return "xla" if is_xlas and not is_slow else "im2col"


def _of_convolution(operation: Operation, geometry: ConvGeometry, dtype, precision) -> str:
    """Or of an input gradient that is this convolution."""
    *window, c_in, c_out = geometry.kernel_shape
    products = taps.products_per_output(geometry)
    if products <= im2col.FEW_PRODUCTS or im2col.is_tiny(geometry, jnp.dtype(dtype).itemsize):
        return "im2col"
    is_eigens = (
        _is_eigens(geometry, dtype)
        and min(c_in, c_out) >= EIGEN_CHANNELS
        and c_in * c_out >= EIGEN_WEIGHTS
        and _at_least(EIGEN_PRODUCTS, geometry.output_shape, products)
    )
    if math.prod(window) == 1 and not (is_eigens and set(geometry.strides) != {1}):
        return "im2col"
    if _transforms_pay(geometry, dtype, precision):
        return "winograd"
    if _phases_fit(geometry) and _transforms_pay(polyphase.with_strides_of_one(geometry), dtype, precision):
        return "polyphase"
    is_slow = _is_slow(geometry.input_shape[1:-1], window)
    if is_slow or (operation == "input_gradient" and _has_few_outputs(geometry)):
        return "im2col"
    return "eigen" if is_eigens else "xla"


def _gradient_transforms_pay(geometry: ConvGeometry, dtype, precision) -> bool:
    """Whether they make a kernel gradient quicker."""
    if not winograd.pays(geometry, dtype, precision):
        return False
    if len(geometry.axes) > 2 or not _is_short(geometry):
        return True
    return _transforms_at_least(WINOGRAD_GRADIENT_PRODUCTS, geometry)


def _transforms_pay(geometry: ConvGeometry, dtype, precision) -> bool:
    """Whether they make a convolution quicker."""
    if not winograd.pays(geometry, dtype, precision):
        return False
    if len(geometry.axes) > 2:
        return True
    if winograd.is_line(geometry):
        least = WINOGRAD_LINE_PRODUCTS
    else:
        least = WINOGRAD_BATCH_PRODUCTS if _is_short(geometry) else WINOGRAD_PRODUCTS
    return (
        winograd.full_tiles(geometry) >= WINOGRAD_TILES
        and _transforms_save_enough(geometry)
        and _transforms_at_least(least, geometry)
    )


def _transforms_save_enough(geometry: ConvGeometry) -> bool:
    """Whether there are enough multiplications less."""
    summed, left = taps.products_per_output(geometry), winograd.multiplications_per_output(geometry)
    if summed / left >= WINOGRAD_RATIO ** len(winograd.windows_of(geometry)):
        return summed - left >= WINOGRAD_SAVED
    return summed - left / winograd.filled(geometry) >= WINOGRAD_SAVED_BY_FEW


def _transforms_at_least(number: int, geometry: ConvGeometry) -> bool:
    """Whether there are so many products, those for what is cut off the tiles not counted."""
    products = taps.products_per_output(geometry) * winograd.filled(geometry)
    return _at_least(number, geometry.output_shape, products)


def _is_short(geometry: ConvGeometry) -> bool:
    """Whether a few channels or many images make the transforms' loops long and the products short."""
    return _is_large_batch(geometry) or min(geometry.kernel_shape[-2:]) < FEW_CHANNELS


def _has_few_outputs(geometry: ConvGeometry) -> bool:
    """Whether the kernel is large beside them: XLA transposes it for an input gradient, which patches do not need."""
    return not _at_least(2 * max(geometry.kernel_shape[-2:]), geometry.output_shape[:-1], 1)


def _is_slow(image: Sequence[int], window: Sequence[int]) -> bool:
    """Whether XLA has neither library for it, which is up to 80 times slower: along three axes, and where a window is
    larger than its image, for it takes the one for the other."""
    return len(window) > 2 or math.prod(window) > math.prod(image)


def _is_eigens(geometry: ConvGeometry, dtype) -> bool:
    """Whether Eigen has it, for the CPU backend calls it for no longer dtype."""
    return not eigen.limit(geometry) and jnp.dtype(dtype) == jnp.float32


def _patches_cost(geometry: ConvGeometry, dtype) -> bool:
    """Whether patches are more to write than a product with them gains over Eigen's."""
    window, c_in = math.prod(geometry.kernel_shape[:-2]), geometry.kernel_shape[-2]
    if window >= LARGE_WINDOW:
        return not im2col.is_tiny(geometry, jnp.dtype(dtype).itemsize)
    return window > 1 and 1 < c_in <= FEW_INPUTS and _is_large_batch(geometry)


def _is_large_batch(geometry: ConvGeometry) -> bool:
    """False where the number of images is only known at run time."""
    n = geometry.input_shape[0]
    return isinstance(n, int) and n >= LARGE_BATCH


def _at_least(number: int, output_shape, products: float) -> bool:
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
