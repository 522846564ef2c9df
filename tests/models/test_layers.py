import copy
import importlib
import pickle

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.errors import ScopeParamShapeError
from jax import lax
from jax import numpy as jnp

from jaxcnn.models import Conv, fast_convolutions

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


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16, jnp.float32])
def test_types_are_those_of_flax(dtype):
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    mine, flaxs = (layer(3, (3, 3), dtype=dtype) for layer in (Conv, nn.Conv))
    with jax.numpy_dtype_promotion("standard"):
        variables = mine.init(jax.random.key(0), x)
        assert mine.apply(variables, x).dtype == flaxs.apply(variables, x).dtype
    assert variables["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 5, 4, 6, 3), (7, 6, 3), (2, 3, 7, 6, 3)])
def test_any_number_of_spatial_and_batch_axes_as_in_flax(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    window = {(2, 9, 3): (3,), (2, 5, 4, 6, 3): (3, 1, 2)}.get(shape, (3, 3))
    variables = Conv(4, window).init(jax.random.key(0), x)
    np.testing.assert_allclose(
        Conv(4, window).apply(variables, x), nn.Conv(4, window).apply(variables, x), rtol=1e-5, atol=1e-6
    )


def test_equal_layers_are_equal_and_their_algorithm_can_be_changed():
    assert Conv(3) == Conv(3)
    assert hash(Conv(3)) == hash(Conv(3))
    x = jnp.ones((1, 4, 4, 2))
    variables = Conv(3).init(jax.random.key(0), x)
    text = jax.jit(Conv(3).clone(algorithm="fft").apply).lower(variables, x).as_text()
    assert "stablehlo.fft" in text


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("algorithm", ["auto", "fft"])
def test_a_copy_of_a_layer_is_equal_to_it(copied, algorithm):
    """With an initializer that can be pickled: Flax's default cannot."""
    # The class that pickle finds by name: where doctests are collected first, pytest has imported the file twice.
    found = importlib.import_module("jaxcnn.models.layers").Conv
    layer = found(3, kernel_init=nn.initializers.zeros, algorithm=algorithm)
    assert copied(layer) == layer
    assert hash(copied(layer)) == hash(layer)
    assert copied(layer) != layer.clone(algorithm="xla")


class Within(nn.Module):
    """A convolution that Flax names."""

    layer: type[nn.Conv]

    @nn.compact
    def __call__(self, x):
        return self.layer(3, (3, 3))(x)


@pytest.mark.parametrize("layer", [nn.Conv, Conv])
def test_flax_sees_one_call(layer):
    x, calls = jnp.ones((1, 4, 4, 2)), []

    def count(next_function, args, kwargs, context):
        calls.append(type(context.module))
        return next_function(*args, **kwargs)

    model = Within(layer)
    with nn.intercept_methods(count):
        variables = model.init(jax.random.key(0), x)
    assert calls == [Within, layer]
    _, state = model.apply(variables, x, capture_intermediates=True)
    assert len(state["intermediates"]["Conv_0"]["__call__"]) == 1
    text = jax.jit(model.apply).lower(variables, x).as_text(debug_info=True)
    assert "Within/Conv_0/" in text
    assert "Conv_0/Conv_0" not in text


@pytest.mark.parametrize("field", ["conv_general_dilated", "conv_general_dilated_cls"])
def test_a_convolution_of_the_users_own_is_what_computes(field):
    calls = []

    def own(*args, **kwargs):
        calls.append(args)
        return lax.conv_general_dilated(*args, **kwargs)

    options = {field: own if field == "conv_general_dilated" else lambda: own}
    x = jnp.ones((1, 4, 4, 2))
    layer = Conv(6, (3, 3), **options).clone()
    variables = layer.init(jax.random.key(0), x)
    calls.clear()
    layer.apply(variables, x)
    assert len(calls) == 1
    expected = (
        r"algorithm must be \"auto\" where conv_general_dilated or conv_general_dilated_cls is given, found 'fft'"
    )
    with pytest.raises(ValueError, match=expected):
        Conv(6, (3, 3), algorithm="fft", **options)


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match=r"algorithm must be one of auto, .*, found 'fastest'"):
        Conv(3, algorithm="fastest").init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="a multiple of feature_group_count=2, x has 5"):
        Conv(4, feature_group_count=2).init(jax.random.key(0), jnp.ones((1, 4, 4, 5)))


def test_the_convolutions_of_a_flax_model_are_jaxcnns_within_the_interceptor():
    model = nn.Sequential([nn.Conv(16, (3, 3)), nn.relu, nn.Conv(8, (1, 1)), nn.Dense(2)])
    x = jnp.ones((2, 8, 8, 1))
    variables = model.init(jax.random.key(0), x)
    expected = model.apply(variables, x)

    def apply(variables, x):
        with nn.intercept_methods(fast_convolutions):
            return model.apply(variables, x)

    np.testing.assert_allclose(apply(variables, x), expected, rtol=1e-5, atol=1e-6)
    assert "stablehlo.convolution" in jax.jit(model.apply).lower(variables, x).as_text()
    assert "stablehlo.convolution" not in jax.jit(apply).lower(variables, x).as_text()


def test_a_bound_layer_is_flaxs_again_after_the_interceptor():
    x = jnp.ones((1, 4, 4, 2))
    layer = nn.Conv(3, (3, 3))
    bound = layer.bind(layer.init(jax.random.key(0), x))
    with nn.intercept_methods(fast_convolutions):
        bound(x)
        assert bound.conv_general_dilated is None
        with pytest.raises(ScopeParamShapeError):
            bound(jnp.ones((1, 4, 4, 3)))
    assert bound.conv_general_dilated is None
    assert "stablehlo.convolution" in jax.jit(bound.__call__).lower(x).as_text()
