"""A dense layer and ReLU, and their gradients (Goodfellow, Bengio & Courville 2016, "Deep Learning", §6.5)."""

import numpy as np

from jaxcnn.reference.shapes import check_shape


def dense(x, kernel, bias) -> np.ndarray:
    """y[n, f] = Σ_c x[n, c] · w[c, f] + b[f].

    Args:
      x: (N, C).
      kernel: w, (C, F).
      bias: b, (F,).

    Returns:
      y, (N, F).

    Raises:
      ValueError: the shapes do not fit each other.
    """
    x, w, b = (np.asarray(a, np.float64) for a in (x, kernel, bias))
    _check(x, w)
    check_shape("bias", b.shape, w.shape[1:])
    return x @ w + b


def dense_gradients(x, kernel, g) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of a loss L in x, w and b, from g = ∂L/∂y.

        ∂L/∂x[n, c] = Σ_f g[n, f] · w[c, f]        x[n, c] is in each feature of its row, with the factor w[c, f]
        ∂L/∂w[c, f] = Σ_n x[n, c] · g[n, f]        w[c, f] is in feature f of each row, with the factor x[n, c]
        ∂L/∂b[f]    = Σ_n g[n, f]                  b[f] too, with the factor 1

    Args:
      x: (N, C).
      kernel: w, (C, F).
      g: ∂L/∂y, (N, F).

    Returns:
      ∂L/∂x (N, C), ∂L/∂w (C, F) and ∂L/∂b (F,).

    Raises:
      ValueError: the shapes do not fit each other.
    """
    x, w, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
    _check(x, w)
    check_shape("g", g.shape, (len(x), w.shape[1]))
    return g @ w.T, x.T @ g, g.sum(axis=0)


def relu(x) -> np.ndarray:
    """y = max(x, 0), element by element, of any shape."""
    return np.maximum(np.asarray(x, np.float64), 0)


def relu_gradient(x, g) -> np.ndarray:
    """∂L/∂x = g · [x > 0], element by element: y is x above 0 and constant below; at 0, its kink, 0 is taken.

    Args:
      x: of any shape.
      g: ∂L/∂y, of the same.

    Raises:
      ValueError: the shapes differ.
    """
    x, g = np.asarray(x, np.float64), np.asarray(g, np.float64)
    check_shape("g", g.shape, x.shape)
    return np.where(x > 0, g, 0.0)


def _check(x: np.ndarray, w: np.ndarray) -> None:
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
        raise ValueError(f"x must be (N, C) and kernel (C, F), found x.shape={x.shape}, kernel.shape={w.shape}")
