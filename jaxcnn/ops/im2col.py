"""Convolution as a matrix product over patches (Chellapilla, Puri & Simard 2006).

Row (n, o) of the patch matrix P holds the inputs that window o of image n sees, so that with K = kernel as a matrix

    y = P · K          ∂L/∂x = fold(g · Kᵀ)          ∂L/∂K = Pᵀ · g

where fold, the transpose of cutting patches, adds each patch to the inputs that it was cut from. P is |window| times as
large as x. It is therefore made for a few images at a time: a block never leaves the cache. Groups of channels are a
product each. A window of one tap needs no patches. Kernel gradients with more than a few inputs divide the window
between x and g (:mod:`jaxcnn.ops.two_sided`). Where an output has few products there is nothing for a matrix product to
reuse: in all but small arrays that is the sum of :mod:`jaxcnn.ops.taps`, and with one channel a group, or a few in
many groups, always that of :mod:`jaxcnn.ops.grouped`.
"""

import math

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops import grouped, taps, two_sided
from jaxcnn.ops.blocks import images_per_block, map_blocks, sum_blocks
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.precision import accumulator
from jaxcnn.ops.windows import padded_apart, put_back, window_taps

BLOCK_BYTES = 4 * 2**20
"""The largest block of P: between a core's L2 and the shared L3 of the CPUs it was measured on."""

WHOLE_BYTES = 2 * BLOCK_BYTES
"""The largest P that is made at once: a loop over blocks copies their images out of x and g, and y into its place."""

TINY_BYTES = 32 * 2**10
"""Up to this size of P, an L1 cache, the product is quicker than the start of XLA's convolution (30 µs on a CPU)."""

VECTOR = 16
"""Elements of the widest vectors, those of AVX-512 in float32."""

FEW_PRODUCTS = 32
"""Up to this many products an output, their sum is quicker than a matrix product."""

SMALL_BYTES = 256 * 2**10
"""But not of a P of up to this size, a part of an L2: it costs little to make, and XLA makes such a sum again for each
that reads it, with scalar code for AVX2 where that is flattened."""


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps this file from a convolution: nothing."""
    del geometry


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """y = P · K."""
    if grouped.pays(geometry):
        return grouped.convolve(x, kernel, geometry)
    if _is_sum(geometry, x.dtype.itemsize):
        return taps.convolve(x, kernel, geometry)
    matrix = _kernel_matrix(kernel, geometry)

    def product(x):
        y = _dot(patches(x, geometry), matrix, geometry, precision)
        return y.reshape(x.shape[0], *geometry.output_shape[1:])

    return map_blocks(product, _images_per_block(geometry, x.dtype.itemsize), x)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x = fold(g · Kᵀ)."""
    if grouped.pays(geometry):
        return grouped.input_gradient(g, kernel, geometry)
    matrix = _kernel_matrix(kernel, geometry).swapaxes(-1, -2)
    shape = geometry.input_shape[1:]

    def fold(g):
        p = _dot(_with_groups(g, geometry), matrix, geometry, precision)
        return put_back(lambda x: patches(x, geometry), (g.shape[0], *shape), p)

    return map_blocks(fold, _images_per_block(geometry, g.dtype.itemsize), g)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_group c_out"]:
    """∂L/∂K = Pᵀ · g, summed block by block in float32 or better; or P's window shared with g, where that pays.

    A matrix product keeps its speed inside ``scan`` and ``while_loop``, where XLA's CPU backend runs the convolution
    that is this gradient some hundred times slower than outside.
    """
    if grouped.pays(geometry):
        return grouped.kernel_gradient(x, g, geometry)
    if two_sided.pays(geometry):
        return two_sided.kernel_gradient(x, g, geometry, precision=precision)
    dtype = accumulator(x.dtype)
    turned = _turns(geometry)

    def product(x, g):
        # One axis is contracted: XLA transposes what is contracted over several.
        p, g = (a.reshape(-1, *a.shape[x.ndim - 1 :]) for a in (patches(x, geometry), _with_groups(g, geometry)))
        batch = ((1,), (1,)) if geometry.groups > 1 else ((), ())
        a, b = (g, p) if turned else (p, g)
        total = lax.dot_general(a, b, (((0,), (0,)), batch), precision=precision, preferred_element_type=dtype)
        return [lax.optimization_barrier(total)]  # a sum taken into it would make it no plain matrix product

    if _is_x(geometry):
        (gradient,) = product(x, g)
    else:
        (gradient,) = sum_blocks(product, _images_per_block(geometry, x.dtype.itemsize), x, g)
    return _kernel((gradient.mT if turned else gradient).astype(x.dtype), geometry)


def patches(x: Float[Array, "n *spatial c"], geometry: ConvGeometry) -> Array:
    """P: its last axis runs over taps, then channels, as the rows of a kernel do; for each group, if there are.

    Taps are stacked axis by axis: XLA's CPU backend makes of that one loop, twice as fast as a long concatenation.
    """
    has_neighbours = math.prod(axis.window for axis in geometry.axes) > 1
    padded, axes = padded_apart(x, geometry.axes, always=has_neighbours)
    taken = list(window_taps(padded, axes, 0))
    position = x.ndim - 1
    if geometry.groups > 1:
        taken = [tap.reshape(*tap.shape[:-1], geometry.groups, geometry.inputs_per_group) for tap in taken]
        position = x.ndim
    for axis in reversed(axes):
        taken = [jnp.stack(taken[i : i + axis.window], position) for i in range(0, len(taken), axis.window)]
    (stacked,) = taken
    return stacked.reshape(*stacked.shape[:position], math.prod(stacked.shape[position:]))


def is_tiny(geometry: ConvGeometry, itemsize: int) -> bool:
    """Whether all of P fits ``TINY_BYTES``; False where the number of images is only known at run time."""
    return _fits(geometry, itemsize, TINY_BYTES)


def is_whole(geometry: ConvGeometry, itemsize: int) -> bool:
    """Whether all of P is made at once; False where the number of images is only known at run time."""
    return _fits(geometry, itemsize, WHOLE_BYTES)


def _fits(geometry: ConvGeometry, itemsize: int, size: int) -> bool:
    n = geometry.input_shape[0]
    return isinstance(n, int) and n * _image_bytes(geometry, itemsize) <= size


def _is_sum(geometry: ConvGeometry, itemsize: int) -> bool:
    """Whether y is the sum of :mod:`jaxcnn.ops.taps`."""
    few = geometry.groups == 1 and taps.products_per_output(geometry) <= FEW_PRODUCTS
    return few and not _fits(geometry, itemsize, SMALL_BYTES)


def _is_x(geometry: ConvGeometry) -> bool:
    """Whether P is x itself: nothing is made that could be made too early, and what kept it would copy x."""
    return all(axis.window == axis.stride == 1 and axis.pad_lo == axis.pad_hi == 0 for axis in geometry.axes)


def _turns(geometry: ConvGeometry) -> bool:
    """Whether gᵀ · P is quicker than Pᵀ · g, up to twice: Eigen's columns are those of the second, in whole vectors."""
    rows = taps.products_per_output(geometry)
    return rows > geometry.outputs_per_group and rows % VECTOR == 0


def _with_groups(g: Array, geometry: ConvGeometry) -> Array:
    if geometry.groups == 1:
        return g
    return g.reshape(*g.shape[:-1], geometry.groups, geometry.outputs_per_group)


def _kernel_matrix(kernel: Array, geometry: ConvGeometry) -> Array:
    """K, rows over taps and inputs; one for each group, if there are."""
    if geometry.groups == 1:
        return kernel.reshape(-1, kernel.shape[-1])
    rows = taps.products_per_output(geometry)
    return kernel.reshape(rows, geometry.groups, geometry.outputs_per_group).swapaxes(0, 1)


def _kernel(matrix: Array, geometry: ConvGeometry) -> Array:
    """The kernel whose matrix it is."""
    return (matrix if geometry.groups == 1 else matrix.swapaxes(0, 1)).reshape(geometry.kernel_shape)


def _dot(rows: Array, matrix: Array, geometry: ConvGeometry, precision) -> Array:
    """The last axis contracted with the matrix; group by group, if there are, the groups' axis in its place."""
    last = rows.ndim - 1
    if geometry.groups == 1:
        return lax.dot_general(rows, matrix, (((last,), (0,)), ((), ())), precision=precision)
    product = lax.dot_general(rows, matrix, (((last,), (1,)), ((last - 1,), (0,))), precision=precision)
    return jnp.moveaxis(product, 0, -2)


def _image_bytes(geometry: ConvGeometry, itemsize: int) -> int:
    """The size of one image's rows of P."""
    _, *output, _ = geometry.output_shape
    return math.prod(output) * math.prod(geometry.kernel_shape[:-1]) * geometry.groups * itemsize


def _images_per_block(geometry: ConvGeometry, itemsize: int):
    """Images whose patches fit ``BLOCK_BYTES``; all, where P is x itself or no more than ``WHOLE_BYTES``."""
    n, image_bytes = geometry.input_shape[0], _image_bytes(geometry, itemsize)
    if taps.products_per_output(geometry) == geometry.inputs_per_group:
        return n
    if is_whole(geometry, itemsize):
        return n
    return images_per_block(n, image_bytes, BLOCK_BYTES)
