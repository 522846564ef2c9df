"""Per-example losses of a classifier and their gradients in the logits.

Both are the negative log-likelihood of the label, −log p(y | z) (Goodfellow, Bengio & Courville 2016, "Deep Learning",
§6.2.2.2 and §6.2.2.3). An exponential is only ever taken of a number that is not positive, so that none overflows.
"""

import numpy as np

from jaxcnn.reference.shapes import check_shape


def sigmoid(z) -> np.ndarray:
    """σ(z) = 1 / (1 + e^−z), which is e^z / (1 + e^z) too: the one for z ≥ 0, the other below."""
    z = np.asarray(z, np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def sigmoid_binary_cross_entropy(logits, labels) -> np.ndarray:
    """−log p(y | z) of one logit an example, with p(1 | z) = σ(z).

        ℓ = −y log σ(z) − (1 − y) log σ(−z) = y · softplus(−z) + (1 − y) · softplus(z)
        softplus(z) = log(1 + e^z) = max(z, 0) + log(1 + e^−|z|)

    Args:
      logits: z, of any shape.
      labels: y in [0, 1], of the same.

    Returns:
      ℓ in nats, one an example.

    Raises:
      ValueError: the shapes differ, or a label is outside [0, 1].
    """
    z, y = _binary(logits, labels)
    return y * _softplus(-z) + (1 - y) * _softplus(z)


def sigmoid_binary_cross_entropy_gradient(logits, labels) -> np.ndarray:
    """∂ℓ/∂z = σ(z) − y.

    With softplus′ = σ, the derivative of ℓ is −y σ(−z) + (1 − y) σ(z), and σ(−z) = 1 − σ(z).

    Args:
      logits: z, of any shape.
      labels: y in [0, 1], of the same.

    Raises:
      ValueError: the shapes differ, or a label is outside [0, 1].
    """
    z, y = _binary(logits, labels)
    return sigmoid(z) - y


def softmax(z) -> np.ndarray:
    """p_j = e^{z_j} / Σ_i e^{z_i} along the last axis; z − max z has the same p."""
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(logits, labels) -> np.ndarray:
    """−log p(y | z) of k logits an example, with p = softmax(z).

        ℓ = log Σ_j e^{z_j} − z_y = (z_a − z_y) + log(1 + Σ_{j ≠ a} e^{z_j − z_a}),    a = argmax z

    Args:
      logits: z, (…, k).
      labels: y, integers from 0 to k − 1, (…).

    Returns:
      ℓ in nats, one an example.

    Raises:
      ValueError: the shapes do not fit each other, or a label is no class.
    """
    z, y = _classes(logits, labels)
    loss = np.zeros(y.shape)
    for n in np.ndindex(y.shape):
        a = np.argmax(z[n])
        others = np.delete(z[n], a)
        loss[n] = z[n][a] - z[n][y[n]] + np.log1p(np.exp(others - z[n][a]).sum())
    return loss


def softmax_cross_entropy_gradient(logits, labels) -> np.ndarray:
    """∂ℓ/∂z_j = softmax(z)_j − [j = y].

    The derivative of log Σ_i e^{z_i} in z_j is e^{z_j} / Σ_i e^{z_i}, and that of −z_y is −1 for j = y.

    Args:
      logits: z, (…, k).
      labels: y, integers from 0 to k − 1, (…).

    Returns:
      ∂ℓ/∂z, (…, k).

    Raises:
      ValueError: the shapes do not fit each other, or a label is no class.
    """
    z, y = _classes(logits, labels)
    z_bar = softmax(z)
    for n in np.ndindex(y.shape):
        z_bar[*n, y[n]] -= 1
    return z_bar


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _binary(logits, labels) -> tuple[np.ndarray, np.ndarray]:
    z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    check_shape("labels", y.shape, z.shape)
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError(f"labels must be in [0, 1], found {y.min()} to {y.max()}")
    return z, y


def _classes(logits, labels) -> tuple[np.ndarray, np.ndarray]:
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    if z.ndim == 0 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"logits must be (…, k) and labels integers, found {z.shape} and labels of {y.dtype}")
    check_shape("labels", y.shape, z.shape[:-1])
    if not ((y >= 0) & (y < z.shape[-1])).all():
        raise ValueError(f"labels must be from 0 to {z.shape[-1] - 1}, found {y.min()} to {y.max()}")
    return z, y
