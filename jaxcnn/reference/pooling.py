"""Max and average pooling of (N, spatial axes, C), and their gradients.

Position o, tap t and pads p as in the convolution, without dilation: the window at o holds the x[n, s·o + t − p, c]
that are inside x. Pads are smaller than the window, so that each holds one at least (Goodfellow, Bengio & Courville
2016, "Deep Learning", §9.3; Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", §3).
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from jaxcnn.reference.shapes import check_shape
from jaxcnn.reference.windows import Axis, Padding, meetings, output_shape, resolve


def max_pool(
    x, window_shape: Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> np.ndarray:
    """y[n, o, c] = max_t x[n, s·o + t − p, c]; the padding never wins.

    Args:
      x: (N, spatial axes, C).
      window_shape: one size a spatial axis.
      strides: s, one number or one a spatial axis; None is 1.
      padding: "SAME", "VALID", p for all sides, or for each axis p or (lo, hi), each smaller than the window.

    Returns:
      y, (N, outputs, C).

    Raises:
      ValueError: the window does not fit x, or an option is out of range.

    >>> max_pool(np.arange(16.0).reshape(1, 4, 4, 1), (2, 2), strides=2).squeeze()
    array([[ 5.,  7.],
           [13., 15.]])
    """
    x = np.asarray(x, np.float64)
    axes = _axes(x.shape, window_shape, strides, padding)
    y = np.full(output_shape(len(x), axes, x.shape[-1]), -np.inf)
    for o, _, i in meetings(axes):
        y[:, *o] = np.maximum(y[:, *o], x[:, *i])
    return y


def max_pool_gradient(
    x, g, window_shape: Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = "VALID"
) -> np.ndarray:
    """∂L/∂x[n, i, c] = Σ_o g[n, o, c] · [i is where the window at o has its maximum].

    Near x, where one element is the largest, y[n, o, c] is that element itself: its derivative is 1, the others' 0. Of
    several equal ones the first in row-major order has the gradient, as in JAX: one of the subgradients.

    Args:
      x: (N, spatial axes, C), without NaN.
      g: ∂L/∂y, (N, outputs, C).
      window_shape: as in :func:`max_pool`, like all that follow.
      strides: s.
      padding: p.

    Returns:
      ∂L/∂x, of x.shape.

    Raises:
      ValueError: as :func:`max_pool`, or g has not the shape of y.
    """
    x, g = np.asarray(x, np.float64), np.asarray(g, np.float64)
    axes = _axes(x.shape, window_shape, strides, padding)
    y = max_pool(x, window_shape, strides, padding)
    check_shape("g", g.shape, y.shape)
    x_bar = np.zeros(x.shape)
    found = np.zeros(y.shape, bool)
    for o, _, i in meetings(axes):
        is_first = (x[:, *i] == y[:, *o]) & ~found[:, *o]
        x_bar[:, *i] += np.where(is_first, g[:, *o], 0)
        found[:, *o] |= is_first
    return x_bar


def avg_pool(
    x,
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> np.ndarray:
    """y[n, o, c] = (1 / m[o]) Σ_t x[n, s·o + t − p, c], with an x outside its borders 0.

    Args:
      x: (N, spatial axes, C).
      window_shape: as in :func:`max_pool`, like all that follow.
      strides: s.
      padding: p.
      count_include_pad: m[o] is the window's size; False: the number of elements of x in the window at o.

    Returns:
      y, (N, outputs, C).

    Raises:
      ValueError: the window does not fit x, or an option is out of range.
    """
    x = np.asarray(x, np.float64)
    axes = _axes(x.shape, window_shape, strides, padding)
    m = _divisors(axes, count_include_pad)
    y = np.zeros(output_shape(len(x), axes, x.shape[-1]))
    for o, _, i in meetings(axes):
        y[:, *o] += x[:, *i] / m[o]
    return y


def avg_pool_gradient(
    g,
    input_shape: Sequence[int],
    window_shape: Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> np.ndarray:
    """∂L/∂x[n, i, c] = Σ_{o, t: s·o + t − p = i} g[n, o, c] / m[o].

    Each window that holds x[n, i, c] has it once, with the weight 1 / m[o].

    Args:
      g: ∂L/∂y, (N, outputs, C).
      input_shape: x.shape.
      window_shape: as in :func:`avg_pool`, like all that follow.
      strides: s.
      padding: p.
      count_include_pad: what m[o] counts.

    Returns:
      ∂L/∂x, of input_shape.

    Raises:
      ValueError: as :func:`avg_pool`, or g has not the shape of y.
    """
    g = np.asarray(g, np.float64)
    axes = _axes(input_shape, window_shape, strides, padding)
    check_shape("g", g.shape, output_shape(input_shape[0], axes, input_shape[-1]))
    m = _divisors(axes, count_include_pad)
    x_bar = np.zeros(input_shape)
    for o, _, i in meetings(axes):
        x_bar[:, *i] += g[:, *o] / m[o]
    return x_bar


def _divisors(axes: Sequence[Axis], count_include_pad: bool) -> np.ndarray:
    """m[o]."""
    outputs = [axis.outputs for axis in axes]
    if count_include_pad:
        return np.full(outputs, float(prod(axis.window for axis in axes)))
    m = np.zeros(outputs)
    for o, _, _ in meetings(axes):
        m[o] += 1
    return m


def _axes(input_shape, window_shape, strides, padding) -> tuple[Axis, ...]:
    if len(input_shape) != len(window_shape) + 2:
        raise ValueError(
            f"x must be (N, spatial axes, C) with one spatial axis for each of the window's, "
            f"found x.shape={tuple(input_shape)}, window_shape={tuple(window_shape)}"
        )
    axes = resolve(input_shape[1:-1], window_shape, strides=1 if strides is None else strides, padding=padding)
    for axis in axes:
        if not (0 <= axis.p < axis.window and 0 <= axis.p_hi < axis.window):
            raise ValueError(
                f"the pads of a pool must be from 0 to its window − 1, "
                f"found {(axis.p, axis.p_hi)} for a window of {axis.window}"
            )
    return axes
