"""The convolution of deep learning (a cross-correlation) and its three gradients.

With x (N, H, W, C), kernel w (K_h, K_w, C, F), stride s, dilation d and pads p,

    y[n, o, f] = Σ_{t, c} x[n, s·o + d·t − p, c] · w[t, c, f]

where o and t are a position and a tap, (row, column) each, and an x outside its borders is 0. With G feature groups,
C and F are divided in G equal parts, and the f of a part sees the c of the same part only. Of a loss L, g is ∂L/∂y;
y is linear in x and in w, so that each gradient is a sum of g times the other's elements.

Sources: Goodfellow, Bengio & Courville 2016, "Deep Learning", §9.1 and §9.5 (equations 9.6 and 9.8 to 9.11); Dumoulin
& Visin 2016, "A guide to convolution arithmetic for deep learning", §4.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxcnn.reference.shapes import check_shape
from jaxcnn.reference.windows import Axis, Padding, meetings, output_indices, output_shape, resolve


def conv2d(
    x,
    kernel,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
) -> np.ndarray:
    """y[n, o, f] = Σ_{t, c} x[n, s·o + d·t − p, c] · w[t, c, f].

    Args:
      x: (N, H, W, C).
      kernel: w, (K_h, K_w, C / G, F).
      strides: s, one number or (rows, columns).
      padding: "SAME" (⌈size / s⌉ outputs), "VALID" (none), p for all sides, or for each axis p or (lo, hi);
        negative pads crop.
      kernel_dilation: d, one number or (rows, columns).
      feature_group_count: G.

    Returns:
      y, (N, outputs, F).

    Raises:
      ValueError: the shapes do not fit each other, an option is out of range, or nothing would come out.

    >>> conv2d(np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 1))).squeeze()
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    x, w = _float64(x), _float64(kernel)
    axes = _axes(x.shape, w.shape, strides, padding, kernel_dilation, feature_group_count)
    return _correlate(x, w, axes, feature_group_count)


def conv2d_input_gradient(
    g,
    kernel,
    input_shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
) -> np.ndarray:
    """∂L/∂x: the full convolution of g, dilated by s, with the kernel rotated by 180° and its channels swapped.

    By the chain rule, as ∂y[n, o, f] / ∂x[n, i, c] is w[t, c, f] for the t with s·o + d·t − p = i, and 0 without one,

        ∂L/∂x[n, i, c] = Σ_{o, t, f: s·o + d·t − p = i} g[n, o, f] · w[t, c, f]

    Put s − 1 zeros between neighbours of g, g̃[n, s·o, f] = g[n, o, f], and s·o = i + p − d·t: a sum over t alone. Count
    the taps from the other end, t = k − 1 − t′, so that they rise with the index again:

        ∂L/∂x[n, i, c] = Σ_{t′, f} g̃[n, i + d·t′ − p′, f] · w′[t′, f, c],    w′[t′, f, c] = w[k − 1 − t′, c, f],
        p′ = d (k − 1) − p

    which is the convolution of g̃ with w′, stride 1, dilation d and pads p′.

    Args:
      g: ∂L/∂y, (N, outputs, F).
      kernel: w, (K_h, K_w, C / G, F).
      input_shape: x.shape.
      strides: as in :func:`conv2d`, like all that follow.
      padding: p.
      kernel_dilation: d.
      feature_group_count: G.

    Returns:
      ∂L/∂x, of input_shape.

    Raises:
      ValueError: as :func:`conv2d`, or g has not the shape of y.
    """
    g, w = _float64(g), _float64(kernel)
    axes = _axes(input_shape, w.shape, strides, padding, kernel_dilation, feature_group_count)
    check_shape("g", g.shape, output_shape(input_shape[0], axes, w.shape[-1]))
    dilated, rotated = _dilate(g, axes), _rotate_and_swap(w, feature_group_count)
    return _correlate(dilated, rotated, _full_axes(axes), feature_group_count)


def conv2d_kernel_gradient(
    x,
    g,
    kernel_shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
) -> np.ndarray:
    """∂L/∂w[t, c, f] = Σ_{n, o} x[n, s·o + d·t − p, c] · g[n, o, f].

    By the chain rule Σ_{n, o} g[n, o, f] · ∂y[n, o, f] / ∂w[t, c, f]: once for each image n and position o, the weight
    w[t, c, f] meets x[n, s·o + d·t − p, c] in y[n, o, f].

    Args:
      x: (N, H, W, C).
      g: ∂L/∂y, (N, outputs, F).
      kernel_shape: w.shape, (K_h, K_w, C / G, F).
      strides: as in :func:`conv2d`, like all that follow.
      padding: p.
      kernel_dilation: d.
      feature_group_count: G.

    Returns:
      ∂L/∂w, of kernel_shape.

    Raises:
      ValueError: as :func:`conv2d`, or g has not the shape of y.
    """
    x, g = _float64(x), _float64(g)
    axes = _axes(x.shape, kernel_shape, strides, padding, kernel_dilation, feature_group_count)
    check_shape("g", g.shape, output_shape(len(x), axes, kernel_shape[-1]))
    w_bar = np.zeros(kernel_shape)
    for o, t, i in meetings(axes):
        for c, f in _groups(w_bar.shape, feature_group_count):
            w_bar[*t, :, f] += x[:, *i, c].T @ g[:, *o, f]
    return w_bar


def conv2d_bias_gradient(g) -> np.ndarray:
    """∂L/∂b[f] = Σ_{n, o} g[n, o, f], since y + b has b[f] once in each of its elements of feature f.

    Args:
      g: ∂L/∂y, (N, outputs, F).

    Returns:
      ∂L/∂b, (F,).

    Raises:
      ValueError: g has not four axes.
    """
    g = _float64(g)
    if g.ndim != 4:
        raise ValueError(f"g must be (N, rows, columns, F), found g.shape={g.shape}")
    b_bar = np.zeros(g.shape[-1])
    for n, *o in np.ndindex(g.shape[:-1]):
        b_bar += g[n, *o]
    return b_bar


def _correlate(x: np.ndarray, w: np.ndarray, axes: Sequence[Axis], groups: int) -> np.ndarray:
    """The sum at the head of this file, a matrix product (N, C) · (C, F) for each position and tap."""
    y = np.zeros(output_shape(len(x), axes, w.shape[-1]))
    for o, t, i in meetings(axes):
        for c, f in _groups(w.shape, groups):
            y[:, *o, f] += x[:, *i, c] @ w[*t, :, f]
    return y


def _dilate(g: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """g̃[n, s·o, f] = g[n, o, f], and 0 between."""
    dilated = np.zeros((len(g), *(axis.stride * (axis.outputs - 1) + 1 for axis in axes), g.shape[-1]))
    for o in output_indices(axes):
        s_o = (axis.stride * o_a for axis, o_a in zip(axes, o, strict=True))
        dilated[:, *s_o] = g[:, *o]
    return dilated


def _rotate_and_swap(w: np.ndarray, groups: int) -> np.ndarray:
    """w′[t′, f, c] = w[k − 1 − t′, c, f], group by group."""
    rotated = w[::-1, ::-1]
    blocks = [rotated[..., f].swapaxes(-1, -2) for _, f in _groups(w.shape, groups)]
    return np.concatenate(blocks, axis=-1)


def _full_axes(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes of g̃ under w′: stride 1, p′ = d (k − 1) − p, and as many outputs as x has elements."""
    full = []
    for axis in axes:
        size, p = axis.stride * (axis.outputs - 1) + 1, axis.extent - 1 - axis.p
        full.append(Axis(size, axis.window, 1, axis.dilation, p, axis.size - 1 + axis.extent - size - p))
    return tuple(full)


def _groups(kernel_shape: Sequence[int], groups: int) -> Iterator[tuple[slice, slice]]:
    """For each group, its channels c of x and its features f of y."""
    channels, features = kernel_shape[-2], kernel_shape[-1] // groups
    for group in range(groups):
        yield slice(channels * group, channels * (group + 1)), slice(features * group, features * (group + 1))


def _axes(input_shape, kernel_shape, strides, padding, kernel_dilation, groups) -> tuple[Axis, ...]:
    shapes = f"x.shape={tuple(input_shape)}, kernel.shape={tuple(kernel_shape)}, feature_group_count={groups}"
    if len(input_shape) != 4 or len(kernel_shape) != 4:
        raise ValueError(f"x must be (N, H, W, C) and kernel (K_h, K_w, C / groups, F), found {shapes}")
    if groups < 1 or input_shape[-1] != groups * kernel_shape[-2] or kernel_shape[-1] % groups:
        raise ValueError(f"x must have groups × the kernel's input channels, F be a multiple of groups: found {shapes}")
    return resolve(input_shape[1:-1], kernel_shape[:-2], strides=strides, padding=padding, dilation=kernel_dilation)


def _float64(a) -> np.ndarray:
    return np.asarray(a, np.float64)
