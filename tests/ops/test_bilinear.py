"""What the primitives are compiled to: Winograd's passes are functions, which equal layers share."""

import re
from functools import partial

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from tolerances import assert_close

from jaxcnn.ops import conv2d

BLOCKS, ONE_BLOCK = 128, 2
"""Images of 16×16 with 32 channels: several blocks, and one."""

winograd, xla = (partial(conv2d, algorithm=algorithm) for algorithm in ("winograd", "xla"))


def arrays(n, layers=1):
    draw = np.random.default_rng(0).normal
    return draw(size=(n, 16, 16, 32)).astype("f4"), [draw(size=(3, 3, 32, 32)).astype("f4")] * layers


def loss(conv, x, kernels):
    for kernel in kernels:
        x = jnp.tanh(conv(x, kernel) / 16)  # smooth: at a kink, one rounding is as good as another
    return jnp.sum(x**2)


def functions(n, layers, platform="cpu"):
    """Those that are not to be inlined, of a gradient, and how often they are called."""
    f = jax.jit(jax.grad(partial(loss, winograd), (0, 1)))
    text = jax.export.export(f, platforms=[platform])(*arrays(n, layers)).mlir_module()
    called = re.findall(r"call (@\w+)\(.*inlineable = \"false\"", text)
    return len(set(called)), len(called)


def test_equal_layers_share_one_function_for_each_operation():
    assert functions(BLOCKS, layers=3) == (3, 9)


def test_of_few_images_only_the_kernel_gradient_is_a_function():
    assert functions(ONE_BLOCK, layers=3) == (1, 3)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_elsewhere_all_is_inlined(platform):
    assert functions(BLOCKS, layers=1, platform=platform) == (0, 0)


def test_what_a_function_is_called_with_is_not_what_it_is_made_of():
    """XLA inlines all that is inside of it."""
    text = jax.jit(partial(loss, winograd)).lower(*arrays(BLOCKS)).compile().as_text()
    assert text.count('inlineable="false"') == 1


def test_its_gradients_are_those_of_xlas_convolution():
    x, kernels = arrays(BLOCKS, layers=2)
    mine, xlas = (jax.jit(jax.grad(partial(loss, conv), (0, 1)))(x, kernels) for conv in (winograd, xla))
    jax.tree.map(assert_close, mine, xlas)


@pytest.mark.parametrize("axis_type", [pytest.param(AxisType.Auto, marks=pytest.mark.slow), AxisType.Explicit])
def test_on_two_devices_no_image_leaves_its_own(axis_type):
    x, kernels = arrays(BLOCKS, layers=2)
    gradient = jax.jit(jax.grad(partial(loss, winograd), (0, 1)))
    expected = gradient(x, kernels)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        sharded = jax.device_put((x, kernels), (jax.NamedSharding(mesh, P("data")), jax.NamedSharding(mesh, P())))
        compiled = gradient.lower(*sharded).compile()
        actual = compiled(*sharded)
    assert actual[0].sharding.spec[0] == "data"
    jax.tree.map(assert_close, actual, expected)
    for communication in ("all-gather", "all-to-all", "collective-permute"):
        assert communication not in str(compiled.as_text())


@pytest.mark.slow
def test_it_is_batched_and_looped_over_and_differentiated_twice():
    x, (kernel,) = arrays(BLOCKS)

    def outer(conv, x, kernel):
        value = jax.grad(lambda kernel: lax.fori_loop(0, 2, lambda _, x: conv(x, kernel) / 16, x).sum())
        return jax.vmap(value)(jnp.stack([kernel, 2 * kernel]))

    def twice(conv, x, kernel):
        return jax.jvp(jax.grad(lambda kernel: jnp.sum(conv(x, kernel) ** 3)), (kernel,), (kernel,))[1]

    for f in (outer, twice):
        assert_close(*(jax.jit(partial(f, conv))(x, kernel) for conv in (winograd, xla)))
