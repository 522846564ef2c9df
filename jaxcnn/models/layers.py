"""Flax layers over jaxcnn's convolution."""

import functools
from collections.abc import Callable, Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from jaxcnn.ops import conv_general_dilated


class Conv(nn.Conv):
    """:class:`flax.linen.Conv` over :func:`jaxcnn.conv_general_dilated`.

    Its fields, its parameters (``kernel``, HWIO for images, and ``bias``) and their initial values are Flax's, so that
    checkpoints move both ways. The window is 3 × 3 where none is given.

    Attributes:
      algorithm: as in :func:`jaxcnn.conv2d`.
    """

    kernel_size: int | Sequence[int] = (3, 3)
    algorithm: str = "auto"

    def __post_init__(self):
        self.conv_general_dilated = _convolution(self.algorithm)
        super().__post_init__()

    def __call__(self, inputs: Float[Array, "*batch spatial c_in"]) -> Float[Array, "*batch spatial features"]:
        """Convolve N, spatial axes, C; any number of leading batch axes, as Flax does."""
        if inputs.shape[-1] % self.feature_group_count:
            raise ValueError(
                f"input channels must be a multiple of feature_group_count={self.feature_group_count}, "
                f"x has {inputs.shape[-1]}"
            )
        return super().__call__(inputs)


@functools.cache
def _convolution(algorithm: str) -> Callable[..., Array]:
    """One object for an algorithm: modules that are equal must have equal fields."""
    return functools.partial(conv_general_dilated, algorithm=algorithm)


def fast_convolutions(next_function: Callable, args, kwargs, context: nn.module.InterceptorContext):
    """An interceptor for :func:`flax.linen.intercept_methods`: each Flax convolution in a model computed by jaxcnn.

    >>> import jax
    >>> from jax import numpy as jnp
    >>> model = nn.Sequential([nn.Conv(4, (3, 3)), nn.relu, nn.Conv(2, (1, 1))])
    >>> with nn.intercept_methods(fast_convolutions):
    ...     y, variables = model.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> y.shape
    (1, 8, 8, 2)
    """
    module = context.module
    if isinstance(module, nn.Conv) and context.method_name == "__call__" and module.conv_general_dilated is None:
        # Flax asks this field for the function; a bound module is an apply's own copy, and frozen.
        object.__setattr__(module, "conv_general_dilated", _convolution("auto"))
    return next_function(*args, **kwargs)
