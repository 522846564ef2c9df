"""jaxcnn's own derivatives, checked: each operation, loss and model once, at the seams where a rule may be wrong."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from jaxcnn import losses, ops
from jaxcnn.bench import stopwatch
from jaxcnn.models import CNN
from jaxcnn.verify import GradientReport, check_gradients

CONVOLUTIONS: dict[str, tuple[tuple, tuple, dict[str, Any]]] = {
    "VALID, even window": ((2, 5, 6, 2), (4, 2, 2, 3), {"padding": "VALID"}),
    "SAME, stride": ((2, 7, 6, 2), (3, 3, 2, 3), {"strides": (2, 3)}),
    "uneven pads": ((2, 6, 5, 2), (3, 3, 2, 3), {"padding": ((2, 0), (-1, 3))}),
    "dilation, stride": ((2, 9, 7, 2), (3, 2, 2, 3), {"kernel_dilation": 2, "strides": 2, "padding": 1}),
    "groups": ((2, 5, 5, 4), (3, 3, 2, 6), {"feature_group_count": 2}),
    "depthwise": ((2, 5, 5, 3), (3, 3, 1, 6), {"feature_group_count": 3, "strides": 2}),
}
"""Shapes of images and kernel, and the options: each geometry has a case of its own in the derivative rules."""


class Case(NamedTuple):
    """Something to check: the derivatives of ``f`` at ``args``, and with ``order`` 2 the gradient's own."""

    name: str
    f: Callable
    args: tuple
    order: int = 1


class Checked(NamedTuple):
    """A case, what was found, and the seconds that it took, most of them to compile."""

    case: Case
    report: GradientReport
    seconds: float

    def row(self) -> tuple[str, str, str, str, str]:
        """For a table: name, shapes, verdict, the worst resolution with what limits the check, seconds."""
        entries = self.report.entries
        shapes = " ".join("×".join(map(str, entry.shape)) or "scalar" for entry in entries if entry.order == 1)
        verdict = min((entry.verdict for entry in entries), key=("wrong", "kink", "ok").index)
        resolution = f"{max(entry.resolution for entry in entries):.0e}"
        return self.case.name, shapes, verdict, "; ".join([resolution, *self.report.notes]), f"{self.seconds:.1f}"


def run(seed: int) -> Iterator[Checked]:
    """Check each of :func:`cases`, on JAX's default device.

    Args:
      seed: what arguments and directions are drawn from, from 0 to 2³² − 1.
    """
    for case in cases(jax.random.key(seed)):
        with stopwatch() as watch:
            report = check_gradients(case.f, *case.args, order=case.order, seed=seed)
        yield Checked(case, report, watch.seconds)


def cases(key: jax.Array) -> list[Case]:
    """All of them, with float32 arguments drawn from the key."""
    key_convolutions, key_formulas, key_pools, key_losses, key_models = jax.random.split(key, 5)
    return [
        *_convolutions(key_convolutions),
        *_formulas(key_formulas),
        *_pools(key_pools),
        *_losses(key_losses),
        *_models(key_models),
    ]


def _convolutions(key: jax.Array) -> Iterator[Case]:
    for name, (x_shape, kernel_shape, options) in CONVOLUTIONS.items():

        def conv2d(x, kernel, options=options):
            return ops.conv2d(x, kernel, **options)

        yield Case(f"conv2d, {name}", conv2d, _normal(key, x_shape, kernel_shape))
    x_shape, kernel_shape, options = CONVOLUTIONS["dilation, stride"]
    args = _normal(key, x_shape, kernel_shape)
    yield Case("conv2d, order 2", lambda x, kernel: ops.conv2d(x, kernel, **options), args, order=2)


def _formulas(key: jax.Array) -> Iterator[Case]:
    """The closed-form gradients, which have derivatives too."""
    x_shape, kernel_shape, options = CONVOLUTIONS["dilation, stride"]
    g_shape = ops.ConvGeometry.resolve(x_shape, kernel_shape, **options).output_shape
    x, kernel, g = _normal(key, x_shape, kernel_shape, g_shape)
    yield Case(
        "conv2d_input_gradient", lambda g, kernel: ops.conv2d_input_gradient(g, kernel, x_shape, **options), (g, kernel)
    )
    yield Case("conv2d_kernel_gradient", lambda x, g: ops.conv2d_kernel_gradient(x, g, kernel_shape, **options), (x, g))
    yield Case("conv2d_bias_gradient", ops.conv2d_bias_gradient, (g,))


def _pools(key: jax.Array) -> Iterator[Case]:
    args = _normal(key, (2, 6, 5, 3))
    yield Case("max_pool", lambda x: ops.max_pool(x, (2, 2), strides=2), args)
    yield Case("max_pool, overlap, SAME", lambda x: ops.max_pool(x, (3, 3), strides=2, padding="SAME"), args)
    yield Case("max_pool, all equal", lambda x: ops.max_pool(x, (2, 2), strides=2), (jnp.zeros((1, 4, 4, 1)),))
    yield Case("avg_pool", lambda x: ops.avg_pool(x, (2, 2), strides=2), args)
    yield Case(
        "avg_pool, SAME, pads left out",
        lambda x: ops.avg_pool(x, (3, 2), padding="SAME", count_include_pad=False),
        args,
    )


def _losses(key: jax.Array) -> Iterator[Case]:
    one, four = _normal(key, (6,), (6, 4))
    hard, soft = jnp.array([0, 1, 1, 0, 1, 0]), jnp.array([0.1, 0.3, 0.5, 0.6, 0.8, 0.9])
    yield Case("sigmoid_binary_cross_entropy, order 2", losses.sigmoid_binary_cross_entropy, (one, hard), order=2)
    yield Case("sigmoid_binary_cross_entropy, soft", losses.sigmoid_binary_cross_entropy, (one, soft))
    yield Case("softmax_cross_entropy, order 2", losses.softmax_cross_entropy, (four, hard), order=2)
    yield Case("classification_loss", losses.classification_loss, (four, hard))


def _models(key: jax.Array) -> Iterator[Case]:
    key_images, key_params = jax.random.split(key)
    (images,) = _normal(key_images, (2, 6, 6, 2))
    labels = jnp.array([0, 1])
    network = CNN((3,), num_outputs=3)

    def loss(params, images):
        logits = jnp.asarray(network.apply({"params": params}, images))
        return losses.classification_loss(logits, labels).mean()

    params = network.init(key_params, images)["params"]
    yield Case("CNN and its loss", loss, (params, images))
    # On black images the new biases are where relu has its kink; the images themselves are held fixed, for in a pixel
    # the kinks of many channels add up to slopes that the gradient, 0 by convention, need not lie between.
    yield Case("CNN and its loss, relu at 0", lambda params: loss(params, jnp.zeros_like(images)), (params,))


def _normal(key: jax.Array, *shapes: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Standard normal arrays, cut out of one draw of one size, for each new size would be compiled for a second."""
    numbers = np.asarray(jax.random.normal(key, (1024,), jnp.float32))
    parts = np.split(numbers, np.cumsum([prod(shape) for shape in shapes]))
    return tuple(jnp.asarray(part.reshape(shape)) for shape, part in zip(shapes, parts, strict=False))
