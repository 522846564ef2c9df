"""Wrong gradients, each as someone would write it by mistake: what the checker must find, and where."""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp
from jax.custom_derivatives import linear_call

from jaxcnn.models import CNN
from jaxcnn.ops import avg_pool, conv2d, max_pool


class Wrong(NamedTuple):
    """A function with a wrong derivative.

    Attributes:
      make: from a size factor to (f, arguments).
      leaf: the name of the damaged leaf.
      region: whether an index, in a leaf of a shape, is in the damaged part.
      order: 2 where only the second derivative is wrong.
    """

    make: Callable[[int], tuple[Callable, tuple]]
    leaf: str
    region: Callable[[tuple[int, ...], tuple[int, ...]], bool] = lambda index, shape: True
    order: int = 1


def with_rule(f, rule):
    """f with ``rule(g, *args)`` for its reverse-mode derivative."""

    @jax.custom_vjp
    def spoilt(*args):
        return f(*args)

    spoilt.defvjp(lambda *args: (f(*args), args), lambda args, g: rule(g, *args))
    return named(spoilt, f)


def named(spoilt, f):
    """A plain function with f's parameter names, as its report tells them."""

    @functools.wraps(f)
    def plain(*args):
        return spoilt(*args)

    return plain


def with_change(f, number, change):
    """f whose right gradient for one argument goes through ``change(gradient, g, *args)``."""

    def rule(g, *args):
        gradients = list(jax.vjp(f, *args)[1](g))
        gradients[number] = jax.tree.map(lambda leaf: leaf, change(gradients[number], g, *args))
        return tuple(gradients)

    return with_rule(f, rule)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def convolution(x, kernel):
    return conv2d(x, kernel)


def conv_arguments(size):
    return normal(0, 1 + size, 4 + size, 3 + size, 3), normal(1, 3, 3, 3, 2 + size)


def conv(number, change, f=convolution, arguments=conv_arguments):
    return lambda size: (with_change(f, number, change), arguments(size))


def conv_rule(rule, f=convolution, arguments=conv_arguments):
    return lambda size: (with_rule(f, rule), arguments(size))


def unary(f, change, arguments):
    return lambda size: (with_change(f, 0, change), (arguments(size),))


def square_arguments(size):
    return normal(0, 1 + size, 4 + size, 3 + size, 3), normal(1, 3, 3, 3, 3)


def unflipped(g, x, kernel):
    _, kernel_gradient = jax.vjp(convolution, x, kernel)[1](g)
    return conv2d(g, jnp.swapaxes(kernel, 2, 3)), kernel_gradient


def unswapped(g, x, kernel):
    _, kernel_gradient = jax.vjp(convolution, x, kernel)[1](g)
    return conv2d(g, jnp.flip(kernel, (0, 1))), kernel_gradient


def strided(x, kernel):
    return conv2d(x, kernel, strides=2)


def dilated(x, kernel):
    return conv2d(x, kernel, kernel_dilation=2)


def grouped(x, kernel):
    return conv2d(x, kernel, feature_group_count=2)


def strides_forgotten(g, x, kernel):
    input_gradient, _ = jax.vjp(strided, x, kernel)[1](g)
    dense = jnp.pad(g, ((0, 0), (0, x.shape[1] - g.shape[1]), (0, x.shape[2] - g.shape[2]), (0, 0)))
    return input_gradient, jax.vjp(convolution, x, kernel)[1](dense)[1]


def dilation_forgotten(g, x, kernel):
    input_gradient, _ = jax.vjp(dilated, x, kernel)[1](g)
    return input_gradient, jax.vjp(convolution, x, kernel)[1](g)[1]


def grouped_arguments(size):
    return normal(0, 1 + size, 4, 3 + size, 4), normal(1, 3, 3, 2, 2 * size)


def biased(x, bias):
    return x + bias


def bias_arguments(size):
    return normal(0, 2, 3 + size, 4, 3 + size), normal(1, 3 + size)


def max_pooled(x):
    return max_pool(x, (2, 2), 2)


def overlapping(x):
    return max_pool(x, (3, 3), 1)


def mean_pooled(x):
    return avg_pool(x, (2, 2), 1, "SAME", count_include_pad=False)


def mean_pooled_whole(x):
    return avg_pool(x, (2, 2), 1, "SAME")


def images(size):
    return normal(0, 2, 4 + 2 * size, 6, 1 + size)


def spread_evenly(_, g, x):
    return jax.vjp(partial(avg_pool, window_shape=(2, 2), strides=2), x)[1](g)[0]


def to_the_first(_, g, x):
    return jnp.zeros_like(x).at[:, ::2, ::2].set(g)


def to_all_ties(_, g, x):
    largest = jnp.repeat(jnp.repeat(max_pooled(x), 2, 1), 2, 2)
    return jnp.where(x == largest, 2 * jnp.repeat(jnp.repeat(g, 2, 1), 2, 2), 0)


def dense(x, weights):
    return x @ weights


def dense_arguments(size):
    return normal(0, 3, 4 * size), normal(1, 4 * size, 4 * size)


def batch_norm(x):
    return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-3)


def layer_norm(x, scale):
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3) * scale


def normalised(x):
    return x / jnp.linalg.norm(x)


def rows(size):
    return normal(0, 4 + 3 * size, 3 + size)


def norm_arguments(size):
    return rows(size), normal(1, 3 + size)


def classes(size):
    return np.arange(4 + 3 * size) % (3 + size)


def softmax_loss(size):
    return lambda x: optax.softmax_cross_entropy_with_integer_labels(x, classes(size)).mean()


def sigmoid_loss(size):
    y = jnp.asarray(classes(size) % 2)
    return lambda x: optax.sigmoid_binary_cross_entropy(x[:, 0], y.astype(x.dtype)).mean()


def loss(f, change):
    """A loss whose labels depend on the size."""
    return lambda size: (with_change(f(size), 0, partial(change, size)), (rows(size),))


def network(params, x):
    return jnp.mean(jnp.square(jnp.asarray(CNN((2, 3)).apply({"params": params}, x))))


def network_arguments(size):
    x = normal(0, 2, 4 + 4 * size, 8, 1)
    params = CNN((2, 3)).init(jax.random.key(1), jnp.asarray(x, jnp.float32))["params"]
    return jax.tree.map(np.asarray, params), x


def in_network(layer, name, change):
    def changed(gradients, g, params, x):
        return {**gradients, layer: {**gradients[layer], name: change(gradients[layer][name], params[layer][name])}}

    return lambda size: (with_change(network, 0, changed), network_arguments(size))


def wrong_tangent(size):
    @jax.custom_jvp
    def f(x):
        return jnp.sum(jnp.sin(x), axis=-1)

    @f.defjvp
    def _(primals, tangents):
        (x,), (v,) = primals, tangents
        return f(x), jnp.sum(jnp.cos(x).at[1, 2].multiply(1.001) * v, axis=-1)

    return lambda x: f(x), (rows(size),)


def two_modes(forward, reverse):
    """Forward and reverse mode of 3 x, each with a factor of its own."""

    @jax.custom_jvp
    def f(x):
        return 3 * x

    @f.defjvp
    def _(primals, tangents):
        def apply(_, v):
            return (3 * v).at[0].multiply(forward)

        def transpose(_, g):
            return (3 * g).at[0].multiply(reverse)

        return f(*primals), linear_call(apply, transpose, (), *tangents)

    return lambda size: (lambda x: f(x), (rows(size),))


def second_derivative(slope):
    """tanh whose gradient is right and whose gradient's gradient is not."""

    @jax.custom_jvp
    def derivative(y):
        return 1 - y**2

    derivative.defjvp(lambda y, v: (derivative(*y), slope(*y) * v[0]))
    return lambda size: (with_rule(lambda x: jnp.tanh(x), lambda g, x: (g * derivative(jnp.tanh(x)),)), (rows(size),))


def frozen(size):
    return with_rule(lambda x: x**3, lambda g, x: (g * lax.stop_gradient(3 * x**2),)), (rows(size),)


def other_value(size):
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (1.01 * jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    return lambda x: f(x), (rows(size),)


def with_a_tiny_one(size):
    return np.where(np.arange(6 * size) == 3, 1e-20, normal(0, 6 * size))


def two_sizes(x, y):
    return jnp.sum(jnp.sin(x)) + 1e-6 * jnp.sum(jnp.sin(y))


def naive_softplus(size):
    """In float64 the same at a larger number, where exp overflows in the same way."""
    f = with_rule(lambda x: jax.nn.softplus(x), lambda g, x: (g * jnp.exp(x) / (1 + jnp.exp(x)),))
    return f, (np.full(2 * size, 1.0) + np.where(np.arange(2 * size) == 1, 1e2 if size == 1 else 1e3, 0),)


def rounded(gradient, *_):
    return gradient.astype(jnp.bfloat16).astype(gradient.dtype)


def noisy(gradient, *_):
    noise = jax.random.normal(jax.random.key(0), gradient.shape, jnp.float32)
    return gradient * (1 + 0.1 * noise.astype(gradient.dtype))


def at(index, factor):
    """One element times a factor."""
    return lambda gradient, *_: gradient.at[index].multiply(factor)


def here(*index):
    """The region of one element, negative indices from the end."""
    return lambda found, shape: found == tuple(i % n for i, n in zip(index, shape, strict=True))


def last(axis):
    return lambda index, shape: index[axis] == shape[axis] - 1


def zeros_at(size):
    """Numbers of which every third is 0."""
    return np.where(np.arange(6 * size) % 3 == 0, 0.0, normal(0, 6 * size))


ZERO = lambda index, shape: index[0] % 3 == 0  # noqa: E731 a region, as the others are

WRONG: dict[str, Wrong] = {
    "conv: kernel not rotated": Wrong(conv_rule(unflipped), "x"),
    "conv: channels not swapped": Wrong(conv_rule(unswapped, arguments=square_arguments), "x"),
    "conv: one tap 1 % off": Wrong(conv(1, at((0, 2), 1.01)), "kernel", lambda i, _: i[:2] == (0, 2)),
    "conv: one kernel element 0.1 % off": Wrong(conv(1, at((2, 0, 1, 1), 1.001)), "kernel", here(2, 0, 1, 1)),
    "conv: one input element 0.1 % off": Wrong(conv(0, at((1, 2, 0, 1), 1.001)), "x", here(1, 2, 0, 1)),
    "conv: one input element of the other sign": Wrong(conv(0, at((0, 0, 1, 2), -1)), "x", here(0, 0, 1, 2)),
    "conv: last row of the input lost": Wrong(conv(0, at((slice(None), -1), 0)), "x", last(1)),
    "conv: a corner lost": Wrong(
        conv(0, at((slice(None), -1, -1), 0)), "x", lambda i, n: i[1] == n[1] - 1 and i[2] == n[2] - 1
    ),
    "conv: kernel gradient 0.1 % too large": Wrong(conv(1, lambda w, *_: 1.001 * w), "kernel"),
    "conv: input gradient 0.1 % too small": Wrong(conv(0, lambda x, *_: 0.999 * x), "x"),
    "conv: kernel gradient rounded to bfloat16": Wrong(conv(1, rounded), "kernel"),
    "conv: input gradient rounded to bfloat16": Wrong(conv(0, rounded), "x"),
    "conv: last example's input gradient lost": Wrong(conv(0, at(-1, 0)), "x", last(0)),
    "conv: last example not in the kernel gradient": Wrong(
        conv(1, lambda w, g, x, kernel: jax.vjp(convolution, x, kernel)[1](g.at[-1].set(0))[1]), "kernel"
    ),
    "conv: mean over the batch": Wrong(conv(1, lambda w, g, *_: w / g.shape[0]), "kernel"),
    "conv: input gradient a pixel off": Wrong(conv(0, lambda x, *_: jnp.roll(x, 1, 2)), "x"),
    "conv: kernel gradient rotated": Wrong(conv(1, lambda w, *_: jnp.flip(w, (0, 1))), "kernel"),
    "conv: one output channel forgotten": Wrong(conv(1, at((..., -1), 0)), "kernel", last(3)),
    "conv: stride forgotten": Wrong(conv_rule(strides_forgotten, strided), "kernel"),
    "conv: dilation forgotten": Wrong(conv_rule(dilation_forgotten, dilated), "kernel"),
    "conv: groups confused": Wrong(conv(1, lambda w, *_: jnp.flip(w, 3), grouped, grouped_arguments), "kernel"),
    "conv: right on average only": Wrong(conv(1, noisy), "kernel"),
    "bias: mean for sum": Wrong(conv(1, lambda b, g, *_: b / g[..., 0].size, biased, bias_arguments), "bias"),
    "bias: last row forgotten": Wrong(
        conv(1, lambda b, g, *_: g[:, :-1].sum((0, 1, 2)), biased, bias_arguments), "bias"
    ),
    "max-pool: spread evenly": Wrong(unary(max_pooled, spread_evenly, images), "x"),
    "max-pool: to the first element": Wrong(unary(max_pooled, to_the_first, images), "x"),
    "max-pool: twice at ties": Wrong(unary(max_pooled, to_all_ties, lambda s: np.ones((1, 2 * s, 4, 1))), "x"),
    "max-pool: one window lost": Wrong(
        unary(max_pooled, at((0, slice(2), slice(2)), 0), images), "x", lambda i, _: max(i[:3]) < 2
    ),
    "max-pool: overlaps counted once": Wrong(
        unary(overlapping, lambda x, g, *_: jnp.sign(x) * jnp.minimum(jnp.abs(x), jnp.abs(g).max()), images), "x"
    ),
    "avg-pool: not divided": Wrong(unary(mean_pooled_whole, lambda x, *_: 4 * x, images), "x"),
    "avg-pool: divided by the padding too": Wrong(
        unary(mean_pooled, lambda _, g, x: jax.vjp(mean_pooled_whole, x)[1](g)[0], images),
        "x",
        lambda i, n: i[1] == n[1] - 1 or i[2] == n[2] - 1,
    ),
    "dense: weights' gradient transposed": Wrong(conv(1, lambda w, *_: w.T, dense, dense_arguments), "weights"),
    "dense: weights not transposed": Wrong(conv(0, lambda _, g, x, w: g @ w, dense, dense_arguments), "x"),
    "dense: one weight 0.1 % off": Wrong(conv(1, at((1, -1), 1.001), dense, dense_arguments), "weights", here(1, -1)),
    "relu: masked by the cotangent": Wrong(
        unary(lambda x: jax.nn.relu(x), lambda _, g, x: jnp.where(g > 0, g, 0), rows), "x"
    ),
    "relu: 2 at 0": Wrong(
        unary(lambda x: jax.nn.relu(x), lambda x̄, g, x: jnp.where(x == 0, 2 * g, x̄), zeros_at), "x", ZERO
    ),
    "relu: -0.1 at 0": Wrong(
        unary(lambda x: jax.nn.relu(x), lambda x̄, g, x: jnp.where(x == 0, -0.1 * g, x̄), zeros_at), "x", ZERO
    ),
    "abs: 1.5 at 0": Wrong(
        unary(lambda x: jnp.abs(x), lambda x̄, g, x: jnp.where(x == 0, 1.5 * g, x̄), zeros_at), "x", ZERO
    ),
    "leaky relu: slope 1 % off": Wrong(
        unary(lambda x: jax.nn.leaky_relu(x), lambda _, g, x: jnp.where(x > 0, g, 0.0101 * g), rows), "x"
    ),
    "clip: gradient passes outside": Wrong(unary(lambda x: jnp.clip(x, -1, 1), lambda _, g, x: g, rows), "x"),
    "sigmoid: derivative of the wrong thing": Wrong(
        unary(lambda x: jax.nn.sigmoid(x), lambda _, g, x: g * x * (1 - x), rows), "x"
    ),
    "tanh: NaN for one element": Wrong(unary(lambda x: jnp.tanh(x), at((0, 1), np.nan), rows), "x", here(0, 1)),
    "exp: gradient clipped": Wrong(unary(lambda x: jnp.exp(x), lambda x̄, *_: jnp.clip(x̄, -1, 1), rows), "x"),
    "cumsum: not reversed": Wrong(unary(lambda x: jnp.cumsum(x, 0), lambda _, g, x: jnp.cumsum(g, 0), rows), "x"),
    "sigmoid loss: sigmoid applied twice": Wrong(
        loss(
            sigmoid_loss,
            lambda s, _, g, x: (
                jnp.zeros_like(x).at[:, 0].set(g * (jax.nn.sigmoid(jax.nn.sigmoid(x[:, 0])) - classes(s) % 2) / len(x))
            ),
        ),
        "x",
        lambda i, _: i[1] == 0,
    ),
    "sigmoid loss: divided by n - 1": Wrong(
        loss(sigmoid_loss, lambda s, x̄, g, x: x̄ * len(x) / (len(x) - 1)), "x", lambda i, _: i[1] == 0
    ),
    "softmax loss: sum for mean": Wrong(loss(softmax_loss, lambda s, x̄, g, x: x̄ * len(x)), "x"),
    "softmax loss: label left out": Wrong(
        loss(softmax_loss, lambda s, _, g, x: g * jax.nn.softmax(x) / len(x)), "x", lambda i, n: i[1] == i[0] % n[1]
    ),
    "softmax loss: last class 0.1 % off": Wrong(
        loss(softmax_loss, lambda s, x̄, g, x: x̄.at[:, -1].multiply(1.001)), "x", last(1)
    ),
    "squares: the 2 forgotten": Wrong(unary(lambda x: jnp.sum(x**2), lambda x̄, *_: x̄ / 2, rows), "x"),
    "squares: the cotangent forgotten": Wrong(unary(lambda x: jnp.sum(x**2), lambda _, g, x: 2 * x, rows), "x"),
    "squares: the cotangent's sign forgotten": Wrong(
        unary(lambda x: jnp.sum(x**2), lambda _, g, x: 2 * jnp.abs(g) * x, rows), "x"
    ),
    "identity: cotangent clipped": Wrong(
        unary(lambda x: x + 0, lambda _, g, x: jnp.clip(g, -1, 1), lambda s: 100 * rows(s)), "x"
    ),
    "sine: lost at a number of 1e-20": Wrong(unary(lambda x: jnp.sin(x), at(3, 0), with_a_tiny_one), "x", here(3)),
    "softplus: NaN in float32 only": Wrong(naive_softplus, "x", here(1)),
    "leaves of other sizes: the small one 1 % off": Wrong(
        lambda s: (with_change(two_sizes, 1, at(1, 1.01)), (normal(0, 200 * s), normal(1, 4 + s))), "y", here(1)
    ),
    "batch norm: variance taken for constant": Wrong(
        unary(batch_norm, lambda _, g, x: (g - g.mean(0)) / jnp.sqrt(x.var(0) + 1e-3), rows), "x"
    ),
    "batch norm: mean taken for constant": Wrong(unary(batch_norm, lambda x̄, g, x: x̄ + g.mean(0), rows), "x"),
    "layer norm: scale's last gradient lost": Wrong(conv(1, at(-1, 0), layer_norm, norm_arguments), "scale", last(0)),
    "layer norm: first row only": Wrong(
        conv(
            1, lambda _, g, x, scale: jax.vjp(layer_norm, x, scale)[1](g.at[1:].set(0))[1], layer_norm, norm_arguments
        ),
        "scale",
    ),
    "norm taken for constant": Wrong(unary(normalised, lambda _, g, x: g / jnp.linalg.norm(x), rows), "x"),
    "network: one weight 0.1 % off": Wrong(
        in_network("Conv_0", "kernel", lambda w, _: w.at[1, 1, 0, 1].multiply(1.001)),
        "params['Conv_0']['kernel']",
        here(1, 1, 0, 1),
    ),
    "network: a bias forgotten": Wrong(in_network("Conv_1", "bias", lambda b, _: 0 * b), "params['Conv_1']['bias']"),
    "network: weight decay in the gradient": Wrong(
        in_network("Dense_0", "kernel", lambda w, p: w + 1e-3 * p), "params['Dense_0']['kernel']"
    ),
    "forward rule: one element 0.1 % off": Wrong(wrong_tangent, "x", here(1, 2)),
    "modes differ: reverse wrong": Wrong(two_modes(1, 1.001), "x", lambda i, _: i[0] == 0),
    "modes differ: forward wrong": Wrong(two_modes(1.001, 1), "x", lambda i, _: i[0] == 0),
    "rule computes another value": Wrong(other_value, "x"),
    "second derivative 0": Wrong(frozen, "x", order=2),
    "second derivative 0.1 % off": Wrong(second_derivative(lambda y: -2.002 * y), "x", order=2),
    "second derivative of the other sign": Wrong(second_derivative(lambda y: 2 * y), "x", order=2),
}
