"""Flax layers over jaxcnn's convolution."""

from collections.abc import Sequence

from flax import linen as nn
from flax.linen import initializers
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.ops import conv2d
from jaxcnn.ops.geometry import Padding


class Conv(nn.Module):
    """A two-dimensional convolution with a bias: :class:`flax.linen.Conv` over :func:`jaxcnn.conv2d`.

    Its parameters are Flax's, ``kernel`` (HWIO) and ``bias``, with Flax's initial values, so that they move both ways.

    Attributes:
      features: channels of the output.
      kernel_size: height and width of the window.
      strides: one number or two.
      padding: "SAME", "VALID", a number, or one number or (lo, hi) an axis.
      kernel_dilation: one number or two.
      feature_group_count: independent groups of channels.
      use_bias: whether a bias is added to each output channel.
      algorithm: as in :func:`jaxcnn.conv2d`.
      precision: as in :func:`jaxcnn.conv2d`.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    kernel_dilation: int | Sequence[int] = 1
    feature_group_count: int = 1
    use_bias: bool = True
    algorithm: str = "auto"
    precision: lax.PrecisionLike = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c_in"]) -> Float[Array, "n h_out w_out features"]:
        """Convolve NHWC images; the parameters are float32 and take x's dtype, integers are taken for float32."""
        x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)
        shape = (*self.kernel_size, x.shape[-1] // max(self.feature_group_count, 1), self.features)
        kernel = self.param("kernel", initializers.lecun_normal(), shape, jnp.float32)
        y = conv2d(
            x,
            kernel.astype(x.dtype),
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            algorithm=self.algorithm,
            precision=self.precision,
        )
        if not self.use_bias:
            return y
        bias = self.param("bias", initializers.zeros_init(), (self.features,), jnp.float32)
        return y + bias.astype(x.dtype)
