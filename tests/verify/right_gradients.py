"""Right gradients, of functions as people write them, at random shapes and magnitudes: none may be called wrong.

``draw(seed)`` gives one check. Seeds of one number (``seed // VALUES``) have one function and shape, so that they share
compiled programs, and values of their own. What is drawn has a right derivative in JAX at the point itself: no norm of
zeros, no root at 0.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import linen as nn
from jax import numpy as jnp
from verify.right_functions import (
    KINKED,
    LAST,
    PAIRS,
    SHAPED_KINKED,
    SHAPED_SMOOTH,
    SMOOTH,
    anything,
    moderate,
    normal,
)

from jaxcnn.losses import sigmoid_binary_cross_entropy, softmax_cross_entropy
from jaxcnn.models import CNN
from jaxcnn.ops import conv2d, max_pool

VALUES = 8
"""Seeds that share a function and a shape."""

SHAPES = [(), (1,), (7,), (5, 3), (1, 1), (3, 1, 4), (2, 3, 5), (0,), (0, 3), (33, 65), (2047,), (1, 9), (4, 4)]


class Case(NamedTuple):
    """One check."""

    name: str
    f: Callable
    args: tuple


class Family(NamedTuple):
    """Functions that are alike; ``make`` draws one, with what draws its arguments."""

    name: str
    make: Callable[[np.random.Generator], tuple[Callable, Callable[[np.random.Generator], tuple]]]
    smooth: bool


FAMILIES: list[Family] = []


def draw(seed: int) -> Case:
    """A right function and arguments for it."""
    number, value = divmod(seed, VALUES)
    f, arguments = _made(number)
    return Case(f"{_family(number).name}, seed {seed}", f, arguments(np.random.default_rng([number, value])))


def is_smooth(seed: int) -> bool:
    """Whether its second derivative is right too."""
    return _family(seed // VALUES).smooth


def _family(number: int) -> Family:
    return FAMILIES[number % len(FAMILIES)]


@functools.cache
def _made(number: int):
    return _family(number).make(np.random.default_rng(number))


def family(name, *, smooth=False):
    """Adds a ``make`` to the families."""

    def add(make):
        FAMILIES.append(Family(name, make, smooth))
        return make

    return add


def drawn(domain, *shapes):
    """What draws arguments of these shapes."""
    return lambda rng: tuple(domain(rng, shape) for shape in shapes)


def choice(rng, options):
    return options[rng.integers(len(options))]


def elementwise(table, *, count=1, smooth=False):
    """A family for each function and domain, at any shape."""
    for name, (f, *domains) in table.items():
        for domain in domains:

            @family(f"{name} of {domain.__name__}", smooth=smooth)
            def make(rng, f=f, domain=domain):
                return f, drawn(domain, *[choice(rng, SHAPES)] * count)


def shaped(table, *, smooth=False):
    """A family for each function."""
    for name, (f, domain, options) in table.items():

        @family(name, smooth=smooth)
        def make(rng, f=f, domain=domain, options=options):
            return f, drawn(domain, *choice(rng, options))


elementwise(SMOOTH, smooth=True)
elementwise(KINKED)
elementwise(PAIRS, count=2)
shaped(SHAPED_SMOOTH, smooth=True)
shaped(SHAPED_KINKED)


def convolution(rng, domain, **options):
    """conv2d with random options, at random shapes."""
    groups, window = int(rng.integers(1, 3)), tuple(rng.integers(1, 4, 2).tolist())
    options |= {"strides": int(rng.integers(1, 3)), "kernel_dilation": int(rng.integers(1, 3))}
    options |= {"padding": choice(rng, ["SAME", 2, ((0, 1), (2, 0))]), "feature_group_count": groups}
    n, h, w, k = int(rng.integers(0, 3)) or 2, *rng.integers(4, 9, 2).tolist(), groups * int(rng.integers(1, 3))
    shapes = (n, h, w, k), (*window, k // groups, groups * int(rng.integers(1, 4)))
    return lambda x, kernel: conv2d(x, kernel, **options), drawn(domain, *shapes)


for _algorithm in ("auto", "xla"):
    for _repeat in range(3):

        @family(f"conv2d {_algorithm}", smooth=True)
        def make(rng, algorithm=_algorithm):
            return convolution(rng, anything, algorithm=algorithm)


@family("conv2d, relu, max_pool")
def conv_relu_pool(rng):
    conv, arguments = convolution(rng, normal)
    return lambda x, kernel: max_pool(jax.nn.relu(conv(x, kernel)), (2, 2), padding="SAME"), arguments


def network(rng, module, images, **options):
    """A Flax module's parameters, at random values, and its input."""
    variables = jax.eval_shape(functools.partial(module.init, **options), jax.random.key(0), jnp.zeros(images))

    def arguments(rng):
        return jax.tree.map(lambda leaf: normal(rng, leaf.shape) / 2, variables["params"]), normal(rng, images)

    rest = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), {k: v for k, v in variables.items() if k != "params"})

    def apply(params, x):
        result = module.apply({"params": params, **rest}, x, mutable=list(rest), **options)
        return result[0]

    return apply, arguments


@family("CNN")
def cnn(rng):
    features, hidden = choice(rng, [(2,), (3, 2)]), choice(rng, [(), (4,)])
    return network(rng, CNN(features, num_outputs=int(rng.integers(1, 4)), hidden=hidden), (2, 8, 8, 1))


@family("CNN and its loss")
def cnn_loss(rng):
    apply, arguments = network(rng, CNN((4,), num_outputs=3), (4, 6, 6, 1))
    labels = np.array([0, 2, 1, 1], np.int32)
    return lambda params, x: jnp.mean(softmax_cross_entropy(apply(params, x), labels)), arguments


@family("dense network", smooth=True)
def dense(rng):
    width = int(rng.integers(1, 9))
    return network(rng, nn.Sequential([nn.Dense(width), nn.tanh, nn.LayerNorm(), nn.Dense(2)]), (3, 5))


@family("BatchNorm", smooth=True)
def batch_norm(rng):
    return network(rng, nn.BatchNorm(), choice(rng, [(6, 3), (4, 3, 3, 2)]), use_running_average=False)


@family("GroupNorm", smooth=True)
def group_norm(rng):
    return network(rng, nn.GroupNorm(num_groups=2), (2, 3, 4))


@family("cross-entropy of softmax", smooth=True)
def cross_entropy(rng):
    n, k = int(rng.integers(1, 6)), int(rng.integers(2, 9))

    def arguments(rng):
        return anything(rng, (n, k)), rng.integers(0, k, n).astype(np.int32)

    return softmax_cross_entropy, arguments


@family("binary cross-entropy", smooth=True)
def binary(rng):
    n = int(rng.integers(1, 9))
    return sigmoid_binary_cross_entropy, lambda rng: (anything(rng, (n,)), rng.integers(0, 2, n).astype(np.int32))


@family("losses of optax")
def optax_loss(rng):
    loss = choice(rng, [optax.huber_loss, optax.log_cosh, optax.cosine_similarity, optax.l2_loss])
    return loss, drawn(normal, (4, 3), (4, 3))


@family("random key", smooth=True)
def random_key(rng):
    def f(key, x):
        return x * jax.random.bernoulli(key, 0.5, x.shape).astype(x.dtype) + jax.random.normal(key, x.shape, x.dtype)

    shape = choice(rng, SHAPES)
    return f, lambda rng: (jax.random.key(int(rng.integers(100))), anything(rng, shape))


@family("trees, None and integers", smooth=True)
def trees(rng):
    def f(tree, n, text, index):
        a, b = tree["a"], tree["b"][0]
        return {"x": jnp.sin(a) * n, "y": (b**n, None, index), "z": jnp.sum(b[index])}

    def arguments(rng):
        return {"a": anything(rng, (3,)), "b": [moderate(rng, (4, 2)), None]}, 3, "text", np.array([1, 3])

    return f, arguments


@family("dropout", smooth=True)
def dropout(rng):
    rate = float(rng.uniform(0.1, 0.9))

    def f(x, key):
        return nn.Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": key})

    return f, lambda rng: (anything(rng, (5, 7)), jax.random.key(int(rng.integers(100))))


@family("float16", smooth=False)
def half(rng):
    f = choice(rng, [jnp.sin, jnp.tanh, lambda x: x * x, lambda x: jnp.sum(x * x), jax.nn.softplus])
    dtype = choice(rng, [jnp.float16, jnp.bfloat16])
    return f, lambda rng: (jnp.asarray(normal(rng, (4, 3)), dtype),)


@family("mixed types")
def mixed_types(rng):
    def f(x, y):
        return jnp.sin(x) * jnp.sum(y.astype(x.dtype) ** 2)

    return f, lambda rng: (normal(rng, (3,)), jnp.asarray(normal(rng, (4,)), jnp.bfloat16))


FIRST = [jnp.sin, jnp.tanh, jax.nn.softplus, lambda x: x * 0.7 + 1, lambda x: x * x, jnp.arctan, jnp.cos]
MIDDLE = [
    lambda x: x @ jnp.ones((x.shape[-1], 3), x.dtype),
    lambda x: jnp.cumsum(x, axis=-1),
    lambda x: x - jnp.mean(x, axis=-1, keepdims=True),
    lambda x: x[..., ::-1] * x,
    lambda x: jnp.concatenate([x, x**2], axis=-1),
]
LAST_OF_ALL = [jnp.sum, jnp.tanh, lambda x: jax.nn.logsumexp(x, axis=-1), jax.nn.softmax, lambda x: jnp.var(x)]
BENT = [jax.nn.relu, jnp.abs, lambda x: jnp.clip(x, -0.5, 0.7), lambda x: jnp.maximum(x, 0.1 * x)]


def composed(rng, *stages):
    """One of each stage, one after the other, with what draws arguments."""
    parts, domain, (shape,) = (
        [choice(rng, stage) for stage in stages],
        choice(rng, [normal, moderate]),
        choice(rng, LAST),
    )
    return lambda x: functools.reduce(lambda value, part: part(value), parts, x), drawn(domain, shape)


for _repeat in range(6):
    family("composition", smooth=True)(lambda rng: composed(rng, FIRST, MIDDLE, FIRST, LAST_OF_ALL))
    family("composition with kinks")(lambda rng: composed(rng, FIRST, MIDDLE, BENT, LAST_OF_ALL))
