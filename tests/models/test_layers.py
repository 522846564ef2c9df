import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from jaxcnn.models import Conv

OPTIONS = {
    "defaults": {},
    "strides": {"strides": 2, "padding": "VALID"},
    "explicit padding and dilation": {"padding": ((1, 2), (0, 1)), "kernel_dilation": (2, 1)},
    "depthwise": {"feature_group_count": 3},
    "no bias": {"use_bias": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_parameters_and_outputs_are_those_of_flax(options):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, 3)), jnp.float32)
    mine, flaxs = Conv(6, (3, 3), **options), nn.Conv(6, (3, 3), **options)
    variables = mine.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, flaxs.init(jax.random.key(0), x))
    np.testing.assert_allclose(mine.apply(variables, x), flaxs.apply(variables, x), rtol=1e-5, atol=1e-6)


def test_a_low_precision_input_gives_a_low_precision_output():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    variables = Conv(3).init(jax.random.key(0), x)
    assert Conv(3).apply(variables, x).dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="2 input channels × 2 groups, x has 5"):
        Conv(4, feature_group_count=2).init(jax.random.key(0), jnp.ones((1, 4, 4, 5)))
