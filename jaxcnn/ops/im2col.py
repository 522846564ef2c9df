"""Convolution as a matrix product over patches (Chellapilla, Puri & Simard 2006).

Row (n, o) of the patch matrix P holds the inputs that window o of image n sees, so that with K = kernel as a matrix

    y = P · K          ∂L/∂K = Pᵀ · g

P is |window| times as large as x. It is therefore made for a few images at a time: a block never leaves the cache.
"""

import math

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.windows import window_taps

BLOCK_BYTES = 4 * 2**20
"""The largest block of P: between a core's L2 and the shared L3 of the CPUs it was measured on."""


TINY_BYTES = 32 * 2**10
"""Up to this size of P, an L1 cache, the product is quicker than the start of XLA's convolution (30 µs on a CPU)."""


def supports(geometry: ConvGeometry) -> bool:
    """Whether this file can do it: one group only, for groups would be many thin products."""
    return geometry.groups == 1


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_in c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """y = P · K, in one block."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return lax.dot_general(patches(x, geometry), matrix, (((x.ndim - 1,), (0,)), ((), ())), precision=precision)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_in c_out"]:
    """∂L/∂w = Pᵀ · g, summed block by block in float32 or better.

    A matrix product keeps its speed inside ``scan`` and ``while_loop``, where XLA's CPU backend runs the convolution
    that is this gradient some twenty times slower than outside.
    """
    dtype = x.dtype if x.dtype.itemsize >= 4 else jnp.float32
    outer = tuple(range(x.ndim - 1))

    def product(x, g):
        return lax.dot_general(
            patches(x, geometry),
            g,
            ((outer, outer), ((), ())),
            precision=precision,
            preferred_element_type=dtype,
        )

    block = _images_per_block(geometry, x.dtype.itemsize)
    if block == x.shape[0]:
        gradient = product(x, g)
    else:
        blocks = [a.reshape(-1, block, *a.shape[1:]) for a in (x, g)]
        zero = jnp.zeros_like(product(*(a[0] for a in blocks)))
        gradient, _ = lax.scan(lambda total, xg: (total + product(*xg), None), zero, blocks)
    return gradient.astype(x.dtype).reshape(geometry.kernel_shape)


def patches(x: Float[Array, "n *spatial c"], geometry: ConvGeometry) -> Float[Array, "n *output taps_c"]:
    """The patch matrix P: its last axis runs over the taps, then the channels, as the rows of a kernel do."""
    return jnp.concatenate(list(window_taps(x, geometry.axes, 0)), axis=-1)


def is_tiny(geometry: ConvGeometry, itemsize: int) -> bool:
    """Whether all of P fits ``TINY_BYTES``; False where the number of images is only known at run time."""
    n = geometry.input_shape[0]
    return isinstance(n, int) and n * _image_bytes(geometry, itemsize) <= TINY_BYTES


def _image_bytes(geometry: ConvGeometry, itemsize: int) -> int:
    """The size of one image's rows of P."""
    _, *output, _ = geometry.output_shape
    return math.prod(output) * math.prod(geometry.kernel_shape[:-1]) * itemsize


def _images_per_block(geometry: ConvGeometry, itemsize: int) -> int:
    """The largest divisor of n whose patches fit ``BLOCK_BYTES``; all of n where that is only known at run time."""
    n = geometry.input_shape[0]
    if not isinstance(n, int):
        return n
    most = max(BLOCK_BYTES // _image_bytes(geometry, itemsize), 1)
    return next((block for block in range(min(n, most), 0, -1) if n % block == 0), n)
