"""XLA's own convolution, and its two gradients written as convolutions.

With y = x ⋆ w the cross-correlation of deep learning and g = ∂L/∂y, for stride s, dilation d and pads p,

    y[n, o, f]       = Σ_{t, c} x[n, s·o + d·t − p, c] · w[t, c, f]
    ∂L/∂x[n, i, c]   = Σ_{t, f} g[n, o, f] · w[t, c, f]     over all o, t with s·o + d·t − p = i
    ∂L/∂w[t, c, f]   = Σ_{n, o} x[n, s·o + d·t − p, c] · g[n, o, f]

The second is a convolution of g, dilated by s, with the kernel rotated by 180° and its channels swapped; the third one
of x with g as the window, dilated by s and moved by d, batch and channels changing places (Dumoulin & Visin 2016, §4;
Goodfellow, Bengio & Courville 2016, "Deep Learning", eq. 9.9 to 9.11).
"""

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.geometry import ConvGeometry, WindowAxis


def limit(geometry: ConvGeometry) -> str | None:
    """What keeps XLA from a convolution: nothing."""
    del geometry


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """The convolution y."""
    spatial = _spatial_letters(geometry)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.strides,
        padding=geometry.padding,
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=geometry.groups,
        precision=precision,
    )


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x: g, dilated by the strides, convolved with the rotated kernel."""
    spatial = _spatial_letters(geometry)
    rotated = jnp.flip(kernel, range(len(spatial)))
    return lax.conv_general_dilated(
        g,
        _swap_channels(rotated, geometry.groups),
        window_strides=(1,) * len(spatial),
        padding=geometry.transposed.padding,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=geometry.groups,
        precision=precision,
    )


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_group c_out"]:
    """∂L/∂w: x convolved with g as its window, channels in the place of the batch."""
    spatial = _spatial_letters(geometry)
    return lax.conv_general_dilated(
        x,
        g,
        window_strides=geometry.kernel_dilation,
        padding=[_kernel_gradient_pads(axis) for axis in geometry.axes],
        rhs_dilation=geometry.strides,
        dimension_numbers=(f"C{spatial}N", f"I{spatial}O", f"{spatial}NC"),
        batch_group_count=geometry.groups,
        precision=precision,
    )


def _spatial_letters(geometry: ConvGeometry) -> str:
    return "DHW"[-len(geometry.axes) :]


def _swap_channels(kernel, groups: int):
    """(…, C_in / G, C_out) to (…, C_out / G, C_in): each group's block is transposed."""
    *window, k_in, c_out = kernel.shape
    blocks = kernel.reshape(*window, k_in, groups, c_out // groups)
    return jnp.moveaxis(blocks, -1, -3).swapaxes(-1, -2).reshape(*window, c_out // groups, groups * k_in)


def _kernel_gradient_pads(axis: WindowAxis) -> tuple[int, int]:
    """Pads of x that give exactly k positions: what the last window did not reach is cropped."""
    dilated_output = (axis.output_size - 1) * axis.stride + 1
    return axis.pad_lo, axis.extent - 1 + dilated_output - axis.size - axis.pad_lo
