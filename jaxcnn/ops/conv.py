"""The convolution that jaxcnn offers, with every order of derivative on the algorithm of choice."""

from collections.abc import Sequence

from jax import lax
from jaxtyping import Array, Float

from jaxcnn.ops.bilinear import bind, conv_p
from jaxcnn.ops.choose import check_algorithm
from jaxcnn.ops.geometry import ConvGeometry, Padding


def conv2d(
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "kh kw c_group c_out"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    algorithm: str = "auto",
    precision: lax.PrecisionLike = None,
) -> Float[Array, "n h_out w_out c_out"]:
    """Two-dimensional convolution (cross-correlation, as everywhere in deep learning) of images.

        y[n, o, f] = Σ_{t, c} x[n, s·o + d·t − p, c] · w[t, c, f]

    Args:
      x: images, NHWC.
      kernel: HWIO, of x's dtype; c_group = c_in / feature_group_count.
      strides: s, one number or one for height and one for width.
      padding: "SAME", "SAME_LOWER", "VALID", p for all sides, or for each axis p or (lo, hi).
      kernel_dilation: d, one number or two.
      feature_group_count: independent groups of channels; c_in for a depthwise convolution.
      algorithm: "auto" lets jaxcnn choose for each pass and for the platform that the program is compiled for. By name,
        in every pass: "xla", XLA's own; "eigen", XLA's by the library of its CPU backend that uses all cores (groups of
        1); "im2col", matrix products over patches; "winograd", minimal filtering (strides, dilation and groups of 1,
        windows of at most 7); "fft", products of spectra; "polyphase", strides turned into channels (dilation of 1,
        some stride above 1); "groupwise", each group by itself (more than one). With three spatial axes, in
        :func:`jaxcnn.conv_general_dilated`, also "planes", the first axis' taps turned into channels (a stride and a
        dilation of 1 along it, groups of 1).
      precision: as in :func:`jax.lax.conv_general_dilated`.

    Returns:
      The convolution, in x's dtype.

    Raises:
      ValueError: the shapes do not fit each other, an option is out of range, or the algorithm is unknown or
        cannot do the convolution.
      TypeError: x and kernel have different dtypes.

    >>> import jax.numpy as jnp
    >>> conv2d(jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 16)), strides=2).shape
    (1, 4, 4, 16)
    """
    if x.ndim != 4 or kernel.ndim != 4:
        raise ValueError(f"x must be NHWC and kernel HWIO, 4 axes each: x.shape={x.shape}, kernel.shape={kernel.shape}")
    geometry = ConvGeometry.resolve(
        x.shape,
        kernel.shape,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
    )
    check_algorithm(algorithm, geometry)
    return bind(conv_p, x, kernel, geometry=geometry, algorithm=algorithm, precision=precision)
