"""The closed-form gradients of a convolution in its input, its kernel and its bias.

With y = x ⋆ w + b and g = ∂L/∂y, each is a sum of g times what stands beside the variable in y, and the first two are
convolutions themselves (:mod:`jaxcnn.ops.direct` writes them as such). They are what the derivative rules of
:func:`jaxcnn.ops.conv2d` bind, and can be differentiated, batched, sharded and exported as it can.
"""

from collections.abc import Sequence

from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops.bilinear import bind, input_gradient_p, kernel_gradient_p
from jaxcnn.ops.geometry import ConvGeometry, Padding
from jaxcnn.ops.precision import accumulator


def conv2d_input_gradient(
    g: Float[Array, "n h_out w_out c_out"],
    kernel: Float[Array, "kh kw c_group c_out"],
    input_shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "n h w c_in"]:
    """The gradient of a loss L in the images of a convolution.

        ∂L/∂x[n, i, c] = Σ_{t, f} g[n, o, f] · w[t, c, f]     over all o, t with s·o + d·t − p = i

    It is the convolution of g, dilated by s, with the kernel rotated by 180° and its channels swapped (Goodfellow,
    Bengio & Courville 2016, "Deep Learning", equation 9.11; Dumoulin & Visin 2016, "A guide to convolution arithmetic
    for deep learning", §4).

    Args:
      g: ∂L/∂y, NHWC.
      kernel: w, HWIO, of g's dtype; c_group = c_in / feature_group_count.
      input_shape: x.shape, which the stride does not let g tell: n, h, w, c_in.
      strides: s, as in :func:`jaxcnn.ops.conv2d`, like all that follow.
      padding: p.
      kernel_dilation: d.
      feature_group_count: independent groups of channels.
      precision: as in :func:`jax.lax.conv_general_dilated`.

    Returns:
      ∂L/∂x, of input_shape, in g's dtype.

    Raises:
      ValueError: the shapes do not fit each other, or an option is out of range.
      TypeError: g and kernel have different dtypes.

    >>> import jax.numpy as jnp
    >>> g, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
    >>> conv2d_input_gradient(g, kernel, (1, 4, 4, 1), padding="VALID").squeeze()
    Array([[1., 2., 2., 1.],
           [2., 4., 4., 2.],
           [2., 4., 4., 2.],
           [1., 2., 2., 1.]], dtype=float32)
    """
    geometry = _geometry_of(
        g.shape,
        input_shape,
        kernel.shape,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
    )
    return bind(input_gradient_p, g, kernel, geometry=geometry, precision=precision)


def conv2d_kernel_gradient(
    x: Float[Array, "n h w c_in"],
    g: Float[Array, "n h_out w_out c_out"],
    kernel_shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "kh kw c_group c_out"]:
    """The gradient of a loss L in the kernel of a convolution.

        ∂L/∂w[t, c, f] = Σ_{n, o} x[n, s·o + d·t − p, c] · g[n, o, f]

    It is the convolution of x with g as its window, dilated by s and moved by d, batch and channels changing places
    (Goodfellow, Bengio & Courville 2016, "Deep Learning", equation 9.10).

    Args:
      x: images, NHWC.
      g: ∂L/∂y, NHWC, of x's dtype.
      kernel_shape: w.shape: kh, kw, c_in / feature_group_count, c_out.
      strides: s, as in :func:`jaxcnn.ops.conv2d`, like all that follow.
      padding: p.
      kernel_dilation: d.
      feature_group_count: independent groups of channels.
      precision: as in :func:`jax.lax.conv_general_dilated`.

    Returns:
      ∂L/∂w, of kernel_shape, in x's dtype.

    Raises:
      ValueError: the shapes do not fit each other, or an option is out of range.
      TypeError: x and g have different dtypes.

    >>> import jax.numpy as jnp
    >>> x, g = jnp.arange(16.0).reshape(1, 4, 4, 1), jnp.ones((1, 2, 2, 1))
    >>> conv2d_kernel_gradient(x, g, (2, 2, 1, 1), strides=2).squeeze()
    Array([[20., 24.],
           [36., 40.]], dtype=float32)
    """
    geometry = _geometry_of(
        g.shape,
        x.shape,
        kernel_shape,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
    )
    return bind(kernel_gradient_p, x, g, geometry=geometry, precision=precision)


def conv2d_bias_gradient(g: Float[Array, "n h_out w_out c_out"]) -> Float[Array, " c_out"]:
    """The gradient of a loss L in the bias of a convolution, y = x ⋆ w + b.

        ∂L/∂b[f] = Σ_{n, o} g[n, o, f]

    b[f] is once in each element of feature f (Goodfellow, Bengio & Courville 2016, "Deep Learning", §9.5).

    Args:
      g: ∂L/∂y, NHWC.

    Returns:
      ∂L/∂b, in g's dtype; of a dtype shorter than float32 it is summed in float32.

    Raises:
      ValueError: g has not four axes.

    >>> import jax.numpy as jnp
    >>> conv2d_bias_gradient(jnp.ones((10, 8, 8, 2)))
    Array([640., 640.], dtype=float32)
    """
    if len(g.shape) != 4:
        raise ValueError(f"g must be NHWC, 4 axes: g.shape={g.shape}")
    return jnp.sum(g, axis=(0, 1, 2), dtype=accumulator(g.dtype)).astype(g.dtype)


def _geometry_of(g_shape, input_shape, kernel_shape, **options) -> ConvGeometry:
    """The convolution of which g is the gradient in the output."""
    g, x, kernel = (tuple(shape) for shape in (g_shape, input_shape, kernel_shape))
    shapes = f"x.shape={x}, kernel.shape={kernel}, g.shape={g}"
    if any(len(shape) != 4 for shape in (g, x, kernel)):
        raise ValueError(f"x and g must be NHWC and kernel HWIO, 4 axes each: {shapes}")
    geometry = ConvGeometry.resolve(x, kernel, **options)
    if g != geometry.output_shape:
        raise ValueError(f"g must have the shape of the convolution's output, {geometry.output_shape}: {shapes}")
    return geometry
