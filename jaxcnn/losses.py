"""Per-example losses of a classifier; the caller reduces.

Both are the negative log-likelihood of the label, −log p(y | z), written in the logits z, so that neither a
probability nor its logarithm is ever rounded to 0 or to −∞. Every loss keeps the dtype of its logits.

A label that is no class gives NaN, as loss and as gradient, rather than the loss of some other class. A mask
does not undo that, for 0 · NaN is NaN in a gradient: what only fills a batch up needs a label that is a
class.
"""

import jax
from jax import lax
from jax import numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real


def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "*batch"], labels: Real[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    """−log p(y | z) of one logit an example, with p(1 | z) = σ(z) = 1 / (1 + e^−z).

        ℓ = y · softplus(−z) + (1 − y) · softplus(z),    softplus(z) = log(1 + e^z)
        ∂ℓ/∂z = σ(z) − y

    Neither term is lost in the other, so that the small loss of a confident, right prediction keeps all its
    digits; it and its gradient are finite for every finite z.

    Args:
      logits: z.
      labels: y in [0, 1]: a class as integer or boolean, or the probability of class 1 as a soft label. Any
        other, such as the −1 of another convention, makes that example's loss and gradient NaN.

    Returns:
      ℓ in nats, one an example.

    Raises:
      ValueError: the shapes differ.
      TypeError: the logits are not floating point.

    >>> import jax.numpy as jnp
    >>> sigmoid_binary_cross_entropy(jnp.array([0.0, -1e4, 1e4]), jnp.array([1, 1, 1]))
    Array([6.931472e-01, 1.000000e+04, 0.000000e+00], dtype=float32)
    """
    z, y = _floating(logits), jnp.asarray(labels)
    if z.shape != y.shape:
        raise ValueError(f"logits and labels must have one shape: logits.shape={z.shape}, labels.shape={y.shape}")
    y = y.astype(z.dtype)
    y = jnp.where((y >= 0) & (y <= 1), y, jnp.nan)
    return y * jax.nn.softplus(-z) + (1 - y) * jax.nn.softplus(z)


def softmax_cross_entropy(
    logits: Float[ArrayLike, "*batch k"], labels: Int[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    """−log p(y | z) of k logits an example, with p(j | z) = softmax(z)_j = e^{z_j} / Σ_i e^{z_i}.

        ℓ = −log softmax(z)_y = −s_y + log Σ_j e^{s_j},    s = z − max z
        ∂ℓ/∂z_j = softmax(z)_j − [j = y]

    Args:
      logits: z, the classes along the last axis; −∞ for a class that cannot be.
      labels: y, from 0 to k − 1. Any other, −1 included, makes that example's loss and gradient NaN.

    Returns:
      ℓ in nats, one an example.

    Raises:
      ValueError: the labels' shape is not that of the logits without their last axis.
      TypeError: the logits are not floating point, or the labels are not integers.

    >>> import jax.numpy as jnp
    >>> softmax_cross_entropy(jnp.array([[0.0, 0.0], [1e4, -1e4], [0.0, 0.0]]), jnp.array([0, 1, 2]))
    Array([6.931472e-01, 2.000000e+04,          nan], dtype=float32)
    """
    z, y = _floating(logits), jnp.asarray(labels)
    if jnp.issubdtype(y.dtype, jnp.inexact):
        raise TypeError(f"labels must be integers, found {y.dtype}")
    if z.ndim == 0 or z.shape[:-1] != y.shape:
        raise ValueError(
            f"logits must have the labels' axes, then the classes': logits.shape={z.shape}, labels.shape={y.shape}"
        )
    is_label = _one_hot(y, z.shape[-1])
    s = z - lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    s_y = jnp.sum(jnp.where(is_label, s, 0), axis=-1)
    s_y = jnp.where(jnp.any(is_label, axis=-1), s_y, jnp.nan)
    others = jnp.sum(jnp.where(is_label, 0, jnp.exp(s)), axis=-1)
    # Σ_j e^{s_j} = 1 + (e^{s_y} − 1) + others: where y is the likeliest class, a small loss keeps its digits.
    return -s_y + jnp.log1p(jnp.expm1(s_y) + others)


def classification_loss(logits: Float[ArrayLike, "n outputs"], labels: Int[ArrayLike, " n"]) -> Float[Array, " n"]:
    """The loss that classifiers are trained with: one output is the logit of class 1, k are one a class.

    Args:
      logits: what :func:`probabilities` turns into probabilities.
      labels: classes, from 0 to 1 or to k − 1; any other makes that example's loss and gradient NaN. Of one
        output also soft labels in [0, 1].

    Returns:
      ℓ in nats, one an example: of one output :func:`sigmoid_binary_cross_entropy`, of k
      :func:`softmax_cross_entropy`.

    Raises:
      ValueError: the logits are not (examples, outputs), or there is not one label an example.
      TypeError: the logits are not floating point, or the labels of k outputs are not integers.
    """
    z = _rows(logits)
    if z.shape[1] == 1:
        return sigmoid_binary_cross_entropy(z[:, 0], labels)
    return softmax_cross_entropy(z, labels)


def probabilities(logits: Float[ArrayLike, "n outputs"]) -> Float[Array, " n"] | Float[Array, "n k"]:
    """What the logits of :func:`classification_loss` say.

    Args:
      logits: z, one row an example.

    Returns:
      Of one output σ(z), the probability of class 1, (n,); of k outputs softmax(z), that of each, (n, k).

    Raises:
      ValueError: the logits are not (examples, outputs).
      TypeError: the logits are not floating point.

    >>> import jax.numpy as jnp
    >>> probabilities(jnp.zeros((2, 1))), probabilities(jnp.zeros((1, 4)))
    (Array([0.5, 0.5], dtype=float32), Array([[0.25, 0.25, 0.25, 0.25]], dtype=float32))
    """
    z = _rows(logits)
    return jax.nn.sigmoid(z[:, 0]) if z.shape[1] == 1 else jax.nn.softmax(z, axis=-1)


def log_odds(logits: Float[ArrayLike, "n outputs"]) -> Float[Array, " n"] | Float[Array, "n k"]:
    """log p / (1 − p) of each of :func:`probabilities`.

        of one output z,    of k outputs z_j − log Σ_{i ≠ j} e^{z_i}

    It ranks examples as their probabilities do, also where those are so near to 0 or 1 that they round to it.

    Args:
      logits: z, one row an example.

    Returns:
      Of one output (n,), of k outputs (n, k).

    Raises:
      ValueError: the logits are not (examples, outputs).
      TypeError: the logits are not floating point.

    >>> import jax.numpy as jnp
    >>> log_odds(jnp.array([[20.0], [30.0]])), probabilities(jnp.array([[20.0], [30.0]]))
    (Array([20., 30.], dtype=float32), Array([1., 1.], dtype=float32))
    """
    z = _rows(logits)
    if z.shape[1] == 1:
        return z[:, 0]
    others = jnp.where(jnp.eye(z.shape[1], dtype=bool), -jnp.inf, z[:, None, :])
    return z - jax.nn.logsumexp(others, axis=-1)


def _floating(logits) -> Array:
    z = jnp.asarray(logits)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"logits must be floating point, found {z.dtype}")
    return z


def _rows(logits) -> Array:
    z = _floating(logits)
    if z.ndim != 2 or z.shape[1] == 0:
        raise ValueError(f"logits must be (examples, outputs): logits.shape={z.shape}")
    return z


def _one_hot(y: Int[Array, "*batch"], k: int):
    """[j = y], in a dtype that holds every j too: the uint8 of stored labels would take class 256 for 0."""
    y = y if y.dtype.itemsize > 4 else y.astype(jnp.int32)
    return y[..., None] == jnp.arange(k, dtype=y.dtype)
