"""The lab's network, and deeper ones of its kind."""

from collections.abc import Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from jaxcnn.models.layers import Conv
from jaxcnn.ops import max_pool


class CNN(nn.Module):
    """Stages of 3×3 convolution, ReLU and 2×2 max-pool; then a dense layer to the logits.

    The defaults are the lab's network: 1 → 16 channels, 8×8 → 4×4, one logit.

    Attributes:
      features: channels of each stage's convolution.
      num_outputs: logits: 1 for two classes (through a sigmoid), k for k classes (through softmax).
      kernel_size: height and width of each convolution's window; the padding keeps the image's size.
      hidden: features of the dense layers (with ReLU) between the last stage and the logits.
      dropout: share of the flattened features that training sets to zero.
      pool: whether each stage ends in the max-pool.

    >>> import jax
    >>> images = jax.numpy.zeros((10, 8, 8, 1))
    >>> variables = CNN().init(jax.random.key(0), images)
    >>> CNN().apply(variables, images).shape
    (10, 1)
    """

    features: Sequence[int] = (16,)
    num_outputs: int = 1
    kernel_size: Sequence[int] = (3, 3)
    hidden: Sequence[int] = ()
    dropout: float = 0.0
    pool: bool = True

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], *, train: bool = False) -> Float[Array, "n num_outputs"]:
        """Logits of NHWC images; ``train`` draws dropout from the "dropout" key stream."""
        x = images
        for features in self.features:
            x = nn.relu(Conv(features, self.kernel_size)(x))
            if self.pool:
                x = max_pool(x, (2, 2), strides=2)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for features in self.hidden:
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(self.num_outputs)(x)
