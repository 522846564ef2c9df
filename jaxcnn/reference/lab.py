"""The lab's network by hand: its loss, the gradient of every parameter, and its training.

    u = conv(x, W) + b            3×3, 1 → 16 channels, "SAME"
    a = relu(u)
    q = max_pool(a)               2×2, stride 2
    z = flatten(q) · V + c        one logit
    L = (1/N) Σ_n ℓ(z_n, y_n)     sigmoid binary cross-entropy

Parameters are {"Conv_0": {"kernel": W, "bias": b}, "Dense_0": {"kernel": V, "bias": c}}, as Flax names them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.reference.adam import adam_init, adam_step
from jaxcnn.reference.convolution import conv2d, conv2d_bias_gradient, conv2d_kernel_gradient
from jaxcnn.reference.dense import dense, dense_gradients, relu, relu_gradient
from jaxcnn.reference.losses import sigmoid_binary_cross_entropy, sigmoid_binary_cross_entropy_gradient
from jaxcnn.reference.pooling import max_pool, max_pool_gradient
from jaxcnn.reference.shapes import check_shape

Params = Mapping[str, Mapping[str, Any]]


class _Activations(NamedTuple):
    """What each layer gives to the next."""

    u: np.ndarray
    a: np.ndarray
    q: np.ndarray
    z: np.ndarray


def lab_loss(params: Params, images, labels) -> np.float64:
    """L = (1/N) Σ_n ℓ(z_n, y_n).

    Args:
      params: W (3, 3, 1, 16), b (16,), V (H/2 · W/2 · 16, 1), c (1,), by Flax's names.
      images: x, (N, H, W, 1).
      labels: y in [0, 1], (N,).

    Raises:
      ValueError: the shapes do not fit each other, or a label is outside [0, 1].
    """
    return _mean_loss(_forward(params, images), labels)


def lab_loss_and_gradients(params: Params, images, labels) -> tuple[np.float64, dict[str, dict[str, np.ndarray]]]:
    """L, and its gradient in each parameter: the chain rule, layer by layer from the loss back to x.

        ∂L/∂z_n = (σ(z_n) − y_n) / N
        ∂L/∂V, ∂L/∂c, ∂L/∂q        the dense layer's, of ∂L/∂z
        ∂L/∂a                      ∂L/∂q, each at its window's first maximum
        ∂L/∂u = ∂L/∂a · [u > 0]
        ∂L/∂W, ∂L/∂b               the convolution's, of ∂L/∂u

    Args:
      params: W, b, V and c, as in :func:`lab_loss`.
      images: x, (N, H, W, 1).
      labels: y in [0, 1], (N,).

    Returns:
      L, and the gradients by the parameters' names.

    Raises:
      ValueError: the shapes do not fit each other, or a label is outside [0, 1].
    """
    conv_0, dense_0 = params["Conv_0"], params["Dense_0"]
    u, a, q, z = forward = _forward(params, images)
    loss = _mean_loss(forward, labels)
    z_bar = sigmoid_binary_cross_entropy_gradient(z, labels) / len(z)
    rows = q.reshape(len(q), -1)
    rows_bar, v_bar, c_bar = dense_gradients(rows, dense_0["kernel"], z_bar[:, None])
    a_bar = max_pool_gradient(a, rows_bar.reshape(q.shape), (2, 2), strides=2)
    u_bar = relu_gradient(u, a_bar)
    w_bar = conv2d_kernel_gradient(images, u_bar, np.shape(conv_0["kernel"]))
    b_bar = conv2d_bias_gradient(u_bar)
    return loss, {"Conv_0": {"kernel": w_bar, "bias": b_bar}, "Dense_0": {"kernel": v_bar, "bias": c_bar}}


def lab_train(params: Params, images, labels, steps: int, learning_rate: float) -> dict[str, dict[str, np.ndarray]]:
    """The parameters after so many steps of Adam, each on all images.

    Args:
      params: W, b, V and c before the first step, as in :func:`lab_loss`.
      images: x, (N, H, W, 1).
      labels: y in [0, 1], (N,).
      steps: how many.
      learning_rate: Adam's α.

    Raises:
      ValueError: the shapes do not fit each other, or a label is outside [0, 1].
    """
    params = {layer: {name: np.array(p, np.float64) for name, p in ps.items()} for layer, ps in params.items()}
    state = adam_init(params)
    for _ in range(steps):
        _, gradients = lab_loss_and_gradients(params, images, labels)
        params, state = adam_step(params, gradients, state, learning_rate)
    return params


def _forward(params: Params, images) -> _Activations:
    conv_0, dense_0 = params["Conv_0"], params["Dense_0"]
    check_shape("bias of Conv_0", np.shape(conv_0["bias"]), np.shape(conv_0["kernel"])[-1:])
    u = conv2d(images, conv_0["kernel"]) + np.asarray(conv_0["bias"], np.float64)
    a = relu(u)
    q = max_pool(a, (2, 2), strides=2)
    z = dense(q.reshape(len(q), -1), dense_0["kernel"], dense_0["bias"])
    check_shape("z", z.shape, (len(q), 1))
    return _Activations(u, a, q, z[:, 0])


def _mean_loss(forward: _Activations, labels) -> np.float64:
    return sigmoid_binary_cross_entropy(forward.z, labels).mean()
