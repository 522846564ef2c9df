"""Flax layers over jaxcnn's convolution."""

import dataclasses
from collections.abc import Callable, Sequence

from flax import linen as nn
from jaxtyping import Array, Float

from jaxcnn.ops import conv_general_dilated


class Conv(nn.Conv):
    """:class:`flax.linen.Conv` over :func:`jaxcnn.conv_general_dilated`.

    Its fields, its parameters (``kernel``, HWIO for images, and ``bias``) and their initial values are Flax's, so that
    checkpoints move both ways. The window is 3 × 3 where none is given.

    Attributes:
      algorithm: as in :func:`jaxcnn.conv2d`. Only "auto" goes with a function of your own in Flax's
        ``conv_general_dilated`` or ``conv_general_dilated_cls``, which then computes instead of jaxcnn's.

    Raises:
      ValueError: an algorithm is named beside a convolution that is not jaxcnn's; when called, the channels do not
        divide into the groups.
    """

    kernel_size: int | Sequence[int] = (3, 3)
    algorithm: str = "auto"

    def __post_init__(self):
        # A clone is given its original's fields: jaxcnn's function is made anew, for the algorithm may be another.
        mine = self.conv_general_dilated is None or isinstance(self.conv_general_dilated, _Convolution)
        if self.algorithm != "auto" and not (mine and self.conv_general_dilated_cls is None):
            raise ValueError(
                f'algorithm must be "auto" where conv_general_dilated or conv_general_dilated_cls is given, '
                f"found {self.algorithm!r}"
            )
        if mine:
            self.conv_general_dilated = _Convolution(self.algorithm)
        super().__post_init__()

    @nn.nowrap  # Flax wraps what super() calls; wrapped here as well, each interceptor would run twice
    def __call__(self, inputs: Float[Array, "*batch spatial c_in"]) -> Float[Array, "*batch spatial features"]:
        """Convolve N, spatial axes, C; any number of leading batch axes, as Flax does."""
        if inputs.shape[-1] % self.feature_group_count:
            raise ValueError(
                f"input channels must be a multiple of feature_group_count={self.feature_group_count}, "
                f"x has {inputs.shape[-1]}"
            )
        return super().__call__(inputs)


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """jaxcnn's convolution by one algorithm; equal to its copies, for modules are equal whose fields are."""

    algorithm: str = "auto"

    def __call__(self, *args, **kwargs) -> Array:
        return conv_general_dilated(*args, algorithm=self.algorithm, **kwargs)


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
    takes_flaxs = isinstance(module, nn.Conv) and module.conv_general_dilated is None
    if not takes_flaxs or context.method_name != "__call__":
        return next_function(*args, **kwargs)
    # Flax asks this field for the function. A bound module is frozen, and may outlive the interceptor.
    object.__setattr__(module, "conv_general_dilated", _Convolution())
    try:
        return next_function(*args, **kwargs)
    finally:
        object.__setattr__(module, "conv_general_dilated", None)
