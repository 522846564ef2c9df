"""Functions whose derivatives are right, in tables, with the domains that their arguments are drawn from."""

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax import scipy as jsp

from jaxcnn.ops import avg_pool, max_pool


def anything(rng, shape):
    """Any sign, one magnitude from 1e-3 to 1e3 or all of them, now and then zeros."""
    mixed = rng.uniform(-3, 3, shape if rng.random() < 0.3 else ())
    zeros = rng.random(shape) < (0.1 if rng.random() < 0.2 else 0)
    return np.float32(np.where(zeros, 0, rng.normal(size=shape) * 10**mixed))


def moderate(rng, shape):
    return np.float32(rng.normal(size=shape) * 10 ** rng.uniform(-3, 0.5))


def normal(rng, shape):
    return np.float32(rng.normal(size=shape))


def positive(rng, shape):
    return np.float32(10 ** (rng.uniform(-2.5, 2.5) + rng.uniform(-0.5, 0.5, shape)))


def inside(rng, shape):
    """Inside (-1, 1)."""
    return np.float32(rng.uniform(-0.98, 0.98, shape))


def grid(rng, shape):
    """Integers: zeros, ties and steps, hit exactly; at times halves, at times times a power of ten."""
    return np.float32(rng.integers(-3, 4, shape) * rng.choice([1.0, 0.5, 100.0, 1e-3]))


def off_zero(rng, shape):
    return positive(rng, shape) * np.float32(rng.choice([-1, 1], shape))


def mask(rng, shape):
    """0 and what a masked logit is lowered by."""
    return np.float32(np.where(rng.random(shape) < 0.5, 0, rng.choice([-1e4, -1e9, np.finfo(np.float32).min])))


def probabilities(rng, shape):
    return np.float32(10 ** rng.uniform(-30, 0, shape))


def spread(rng, shape):
    """Well-conditioned: a random matrix near a multiple of the identity, by a random magnitude."""
    near = rng.normal(size=shape) / 4 + 3 * np.eye(*shape[-2:])
    return np.float32(near * 10 ** rng.uniform(-1, 1))


def distinct(rng, shape):
    """Far apart from one another: for sorting, medians and the like where a tie is not meant."""
    return np.float32(rng.permutation(np.prod(shape)).reshape(shape) + rng.uniform(-0.3, 0.3, shape))


SMOOTH = {
    "exp": (jnp.exp, moderate),
    "log": (jnp.log, positive),
    "log1p": (jnp.log1p, positive),
    "expm1": (jnp.expm1, moderate),
    "sqrt": (jnp.sqrt, positive),
    "rsqrt": (lax.rsqrt, positive),
    "cbrt": (jnp.cbrt, off_zero),
    "reciprocal": (jnp.reciprocal, off_zero),
    "square": (jnp.square, anything, grid),
    "cubic": (lambda x: x**3 - 2 * x, anything),
    "power": (lambda x: x**1.7, positive),
    "sin": (jnp.sin, anything, grid),
    "cos": (jnp.cos, anything),
    "tan": (jnp.tan, inside),
    "arcsin": (jnp.arcsin, inside),
    "arctan": (jnp.arctan, anything),
    "arctanh": (jnp.arctanh, inside),
    "arcsinh": (jnp.arcsinh, anything),
    "arccosh": (lambda x: jnp.arccosh(x + 1), positive),
    "tanh": (jnp.tanh, anything, moderate),
    "cosh": (jnp.cosh, moderate),
    "sigmoid": (jax.nn.sigmoid, anything),
    "softplus": (jax.nn.softplus, anything),
    "log_sigmoid": (jax.nn.log_sigmoid, anything),
    "gelu": (jax.nn.gelu, anything, grid),
    "gelu exactly": (lambda x: jax.nn.gelu(x, approximate=False), anything),
    "silu": (jax.nn.silu, anything),
    "mish": (jax.nn.mish, anything),
    "squareplus": (jax.nn.squareplus, anything),
    "sinc": (jnp.sinc, moderate, grid),
    "erf": (jsp.special.erf, anything),
    "erfinv": (jsp.special.erfinv, inside),
    "logit": (lambda x: jsp.special.logit((x + 1) / 2), inside),
    "lgamma": (jsp.special.gammaln, positive),
    "digamma": (jsp.special.digamma, positive),
    "log_ndtr": (jsp.special.log_ndtr, moderate),
    "entropy": (jsp.special.entr, positive, probabilities),
    "bessel": (jsp.special.i0e, moderate),
    "identity": (lambda x: x, anything),
    "constant": (lambda x: jnp.ones_like(x) * 2.5, anything),
    "tiny": (lambda x: 1e-20 * jnp.sin(x), anything),
    "huge": (lambda x: 1e20 * x * x + 1e25, anything),
    "nearly cancelled": (lambda x: (1 + x) * (1 - x) - 1, moderate),
}
KINKED = {
    "relu": (jax.nn.relu, anything, grid),
    "relu6": (jax.nn.relu6, anything),
    "abs": (jnp.abs, anything, grid),
    "leaky_relu": (jax.nn.leaky_relu, anything, grid),
    "elu": (jax.nn.elu, anything, grid),
    "selu": (jax.nn.selu, anything, grid),
    "celu": (jax.nn.celu, anything),
    "hard_tanh": (jax.nn.hard_tanh, anything, grid),
    "hard_sigmoid": (jax.nn.hard_sigmoid, grid),
    "hard_swish": (jax.nn.hard_swish, anything, grid),
    "soft_sign": (jax.nn.soft_sign, anything, grid),
    "round": (jnp.round, anything, grid),
    "floor": (jnp.floor, anything, grid),
    "sign": (jnp.sign, anything, grid),
    "clip": (lambda x: jnp.clip(x, -1, 2), anything, grid),
    "where": (lambda x: jnp.where(x > 0, x * x, -3 * x), anything, grid),
    "steps": (lambda x: x * (x > 1).astype(x.dtype), anything, grid),
    "sawtooth": (lambda x: jnp.mod(x, 1.3), anything),
    "huber": (lambda x: jnp.where(jnp.abs(x) < 1, x * x / 2, jnp.abs(x) - 0.5), anything, grid),
    "nan_to_num": (jnp.nan_to_num, anything),
    "safe sqrt": (lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0), anything),
}
PAIRS = {
    "atan2": (jnp.arctan2, off_zero),
    "pow": (lambda x, y: jnp.power(x, jnp.tanh(y)), positive),
    "logaddexp": (jnp.logaddexp, anything, grid),
    "maximum": (jnp.maximum, anything, grid),
    "minimum": (jnp.minimum, grid),
    "clipped": (lambda x, y: jnp.maximum(jnp.minimum(x, y), 0), grid),
    "product": (jnp.multiply, anything),
    "quotient": (jnp.divide, off_zero),
    "hypot": (jnp.hypot, off_zero),
    "first only": (lambda x, y: jnp.sin(x) + 0 * y, moderate),
    "xlogy": (jsp.special.xlogy, positive),
}


@jax.custom_vjp
def _log1pexp(x):
    return jnp.log1p(jnp.exp(x))


_log1pexp.defvjp(lambda x: (_log1pexp(x), x), lambda x, g: (g * jax.nn.sigmoid(x),))


@jax.custom_jvp
def _swish(x):
    return x * jax.nn.sigmoid(x)


@_swish.defjvp
def _(primals, tangents):
    (x,), (dx,), s = primals, tangents, jax.nn.sigmoid(primals[0])
    return x * s, dx * (s + x * s * (1 - s))


def _lstsq(a, b):
    return jnp.linalg.solve(a.T @ a + jnp.eye(a.shape[1], dtype=a.dtype), a.T @ b)


def _recurrent(w, xs):
    step = lambda h, x: (jnp.tanh(h @ w + x),) * 2  # noqa: E731
    return lax.scan(step, jnp.zeros_like(xs[0]), xs)


def _newton(x):
    return lax.fori_loop(0, 8, lambda _, y: (y + x / y) / 2, x + 1)


def _while(x):
    return lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, jnp.sin(s[1]) + x), (0, x))[1]


def _attention(q, k, v):
    return jax.nn.softmax(q @ k.T / 2, axis=-1) @ v


def _layer_norm(x):
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-5)


def _spectrum(x):
    return jnp.abs(jnp.fft.rfft(x, axis=-1)) ** 2


def _chol(a):
    return jnp.linalg.cholesky(a @ a.T)


def _conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _bfloat16(x):
    return jnp.sin(x.astype(jnp.bfloat16)).astype(x.dtype)


def _top(x):
    return lax.top_k(x, 3)[0]


def _pooled(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (2, 3), (2, 1), "VALID")


INTERP = np.float32([0, 1, -1, 2, 2, 0.5, -3])
CAPTURED = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
INDEX = np.array([3, 0, 0, 2], np.int32)
INDEX_64 = np.array([3, 0, 0, 2])
LAST = [((7,),), ((5, 3),), ((1, 1),), ((2, 3, 5),), ((33, 65),), ((1, 9),)]
ROWS = [((4, 4),), ((5, 3),), ((6, 5),), ((17, 40),)]
SQUARE = [((1, 1),), ((3, 3),), ((4, 4),), ((6, 6),)]
FOUR, IMAGES = [((4, 4),)], [((2, 5, 6, 3),), ((1, 4, 4, 1),), ((3, 9, 7, 2),)]

# name: function, domain, options for its arguments' shapes
SHAPED_SMOOTH = {
    "sum": (jnp.sum, anything, LAST),
    "mean": (lambda x: jnp.mean(x, axis=-1), anything, LAST),
    "var": (lambda x: jnp.var(x, axis=-1), anything, LAST),
    "far var": (lambda x: jnp.var(x + 100), moderate, LAST),
    "prod": (lambda x: jnp.prod(jnp.cos(x), axis=-1), moderate, LAST),
    "prod of integers": (lambda x: jnp.prod(x, axis=-1), grid, ROWS),
    "cumsum": (lambda x: jnp.cumsum(x, axis=-1), anything, LAST),
    "cumprod": (lambda x: jnp.cumprod(x, axis=-1), inside, ROWS),
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, axis=0), moderate, ROWS),
    "logsumexp": (lambda x: jax.nn.logsumexp(x, axis=-1), anything, LAST),
    "logsumexp of large": (lambda x: jax.nn.logsumexp(x + 1e4, axis=-1), normal, LAST),
    "softmax": (lambda x: jax.nn.softmax(x, axis=-1), anything, LAST),
    "log_softmax": (lambda x: jax.nn.log_softmax(x, axis=-1), anything, LAST),
    "standardize": (lambda x: jax.nn.standardize(x, epsilon=1e-3), anything, LAST),
    "layer_norm": (_layer_norm, anything, LAST),
    "norm": (jnp.linalg.norm, off_zero, LAST),
    "std": (lambda x: jnp.std(x, axis=0), distinct, ROWS),
    "glu": (jax.nn.glu, anything, [((4, 6),), ((3, 2),)]),
    "power sum": (lambda x: jnp.sum(x**2) ** 2, anything, LAST),
    "matmul": (jnp.matmul, anything, [((4, 3), (3, 5)), ((1, 1), (1, 1)), ((17, 9), (9, 33)), ((0, 3), (3, 2))]),
    "einsum": (lambda a, b: jnp.einsum("bij,bjk->ik", a, b), anything, [((2, 3, 4), (2, 4, 1))]),
    "outer": (jnp.outer, anything, [((4,), (3,)), ((40,), (1,))]),
    "solve": (jnp.linalg.solve, spread, [((4, 4), (4, 2)), ((1, 1), (1, 3)), ((9, 9), (9, 9))]),
    "least squares": (_lstsq, normal, [((6, 3), (6, 2))]),
    "inv": (jnp.linalg.inv, spread, SQUARE),
    "det": (jnp.linalg.det, spread, SQUARE),
    "slogdet": (lambda a: jnp.linalg.slogdet(a)[1], spread, SQUARE),
    "cholesky": (_chol, spread, SQUARE),
    "eigvalsh": (lambda a: jnp.linalg.eigvalsh(a + a.T), distinct, SQUARE),
    "svd values": (lambda a: jnp.linalg.svd(a, compute_uv=False), distinct, [((4, 3),), ((3, 3),)]),
    "qr": (lambda a: jnp.linalg.qr(a)[1], spread, SQUARE),
    "expm": (jsp.linalg.expm, inside, SQUARE),
    "masked softmax": (lambda x: jax.nn.softmax(jnp.cos(x) + x), mask, ROWS),
    "attention": (_attention, normal, [((3, 4), (5, 4), (5, 2))]),
    "spectrum": (_spectrum, anything, LAST),
    "fft": (lambda x: (jnp.real(jnp.fft.fft(x)), jnp.imag(jnp.fft.fft(x))), anything, LAST),
    "convolve": (jnp.convolve, anything, [((9,), (4,))]),
    "lax conv": (_conv, anything, [((2, 5, 6, 3), (3, 2, 3, 4))]),
    "avg_pool": (lambda x: avg_pool(x, (2, 2)), anything, IMAGES),
    "resize": (lambda x: jax.image.resize(x, (*x.shape[:1], 7, 3, x.shape[3]), "bilinear"), anything, IMAGES),
    "recurrent": (_recurrent, normal, [((3, 3), (6, 2, 3)), ((1, 1), (1, 1, 1))]),
    "fori_loop": (_newton, positive, LAST),
    "while": (_while, moderate, LAST),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(jnp.exp(jnp.cos(x)))), moderate, LAST),
    "vmap": (jax.vmap(lambda a, b: jnp.tanh(a @ b)), moderate, [((3, 4), (3, 4))]),
    "custom_vjp": (_log1pexp, moderate, LAST),
    "custom_jvp": (_swish, moderate, LAST),
    "captured": (lambda x: jnp.tanh(x @ CAPTURED), anything, [((4, 4),), ((33, 4),)]),
    "gather": (lambda x: x[np.array([3, 0, 0, 2])] ** 2, anything, ROWS),
    "gather of 64 bits": (lambda x: x[INDEX_64] ** 2, anything, ROWS),
    "gather of captured": (lambda x: x[INDEX] ** 2, anything, ROWS),
    "scatter": (lambda x, y: jnp.sin(x).at[INDEX].add(y), moderate, [((6, 2), (4, 2))]),
    "segment_sum": (lambda x: jax.ops.segment_sum(x * x, INDEX, 4), anything, FOUR),
    "jitted": (jax.jit(lambda x: {"a": [x * x, None], "b": jnp.sum(x)}), anything, LAST),
    "gradient": (jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 3)), moderate, LAST),
    "bfloat16": (_bfloat16, normal, LAST),
    "float32 inside": (lambda x: jnp.tanh(x.astype(jnp.float32)).astype(x.dtype), anything, LAST),
}
SHAPED_KINKED = {
    "max": (lambda x: jnp.max(x, axis=-1), grid, LAST),
    "min": (jnp.min, anything, LAST),
    "sort": (lambda x: jnp.sort(x, axis=0), grid, LAST),
    "median": (lambda x: jnp.median(x, axis=0), distinct, ROWS),
    "median of ties": (lambda x: jnp.median(x, axis=0), grid, ROWS),
    "top_k": (_top, grid, ROWS),
    "cummax": (lambda x: lax.cummax(x, axis=0), anything, LAST),
    "cummax of ties": (lambda x: lax.cummax(x, axis=0), grid, ROWS),
    "1-norm": (lambda x: jnp.sum(jnp.abs(x), axis=-1), grid, LAST),
    "max_pool": (lambda x: max_pool(x, (2, 2)), grid, IMAGES),
    "max_pool, overlapping": (lambda x: max_pool(x, (3, 3), strides=1, padding="SAME"), grid, IMAGES),
    "reduce_window": (_pooled, grid, ROWS),
    "interpolation": (lambda x: jnp.interp(x, jnp.arange(-3.0, 4.0).astype(x.dtype), INTERP), grid, LAST),
    "sparsemax": (lambda x: jax.nn.relu(x - jnp.mean(x)), normal, LAST),
    "cond": (lambda x: lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x), anything, LAST),
    "switch": (lambda x: lax.switch(2, [jnp.sin, jnp.cos, jax.nn.relu], x), anything, LAST),
    "quantile": (lambda x: jnp.quantile(x, 0.3, axis=0), distinct, ROWS),
}
