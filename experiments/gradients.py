"""Are the gradients of a convolutional network, derived by hand, right?

    python experiments/gradients.py

Each formula of jaxcnn.reference and jaxcnn.ops is compared with three that know nothing of it: JAX's automatic
derivatives (of lax, Flax's pools and Optax's losses and Adam), differences of values, and PyTorch, where it is
installed (pip install '.[bench]'). The convolutions have windows from 1×1 to 7×7, strides and dilations from 1 to 3,
pads that differ from side to side and may crop, and up to three groups; three see images of one pixel.

A number is the largest relative error ‖a − b‖ / ‖b‖ of all cases, a being the gradient by hand and b the other's.
Differences are taken along one direction v an argument, drawn from the normal distribution: |⟨a, v⟩ − slope| / ‖a‖,
whose denominator is the root mean square of ⟨a, v⟩. The reference counts in float64 always: beside a float32 gradient
it shows the rounding of that one. All see the same numbers, which fit in float32, so that their products are exact in
float64: errors of 0 and below the resolution of 2e-16 come from there, or from sums in the same order.

Expected: in float64 at most 1e-14 beside JAX and PyTorch and 1e-9 beside differences, the error of which grows where
an operation is not linear; in float32 at most 1e-5. 4 minutes on 2 cores.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tyro
from flax import linen as nn
from jax import lax
from jax import numpy as jnp

from jaxcnn import ops, reference
from jaxcnn.data import lab_images
from jaxcnn.models import CNN
from jaxcnn.report.console import print_table

torch: Any = import_module("torch") if find_spec("torch") else None
functional = torch and torch.nn.functional

COLUMNS = ("JAX, float64", "PyTorch, float64", "differences, float64", "JAX, float32", "PyTorch, float32")
LEARNING_RATE = 0.01
NHWC = ("NHWC", "HWIO", "NHWC")
QUICKLY = {"xla_backend_optimization_level": 0}
"""A program that runs once does not pay its optimisation back."""

ONE_PIXEL = (
    ((2, 1, 1, 3), (1, 1, 3, 4), {}),
    ((2, 1, 1, 3), (3, 3, 3, 4), {}),
    ((2, 1, 1, 4), (7, 7, 2, 4), {"strides": 2, "padding": ((3, 4), (5, 3)), "feature_group_count": 2}),
)

Shape = tuple[int, ...]


class Case(NamedTuple):
    """An operation at a point; ``by_hand(g, *arguments)`` gives gradients by formula and number of the argument.

    ``step`` is that of the differences: long where the operation is linear in each argument.
    """

    arguments: tuple[np.ndarray, ...]
    in_jax: Callable
    in_torch: Callable
    by_hand: Callable[..., dict[tuple[str, int], Any]]
    step: float = 1.0


def main(geometries: int = 500, others: int = 20, seed: int = 0) -> None:
    """Compare all formulas and print the largest errors.

    Args:
      geometries: Random convolutions.
      others: Random poolings, dense layers and losses, of each kind.
      seed: Of NumPy's generator, which draws the cases.
    """
    rng = np.random.default_rng(seed)
    errors, counts = {}, Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time is XLA's compilation, which lets others run
        for found in pool.map(errors_of, cases(rng, geometries, others), count(seed)):
            counts.update({name for name, _, _ in found})
            for name, column, error in found:
                row = errors.setdefault(name, {})
                row[column] = float(np.maximum(row.get(column, 0.0), error))  # a NaN stays
    for steps in (1, 100):
        errors[f"reference.lab_train, steps of Adam: {steps}"] = training_errors(steps)
    print_table(
        "Largest relative error of each gradient by hand, against",
        ["", "cases", *COLUMNS],
        [[name, counts[name] or 1, *(cell(row, column) for column in COLUMNS)] for name, row in errors.items()],
    )


def cell(row: dict[str, float], column: str) -> str:
    """One error, or why there is none."""
    missing = "not installed" if column.startswith("PyTorch") and not torch else ""
    return f"{row[column]:.1e}" if column in row else missing


def cases(rng: np.random.Generator, geometries: int, others: int) -> Iterator[Case]:
    """All that is compared, a case at a time."""
    for number in range(geometries):
        yield convolution(rng, *(ONE_PIXEL[number] if number < len(ONE_PIXEL) else random_convolution(rng)))
    for _ in range(others):
        yield from pools(rng)
        yield dense(rng)
        yield from losses(rng)
    params = tuple(np.asarray(leaf, np.float64) for leaf in LEAVES)
    yield Case(params, lab_in_jax, lab_in_torch, lab_by_hand, step=1e-5)


def errors_of(case: Case, seed: int) -> list[tuple[str, str, float]]:
    """Formula, column and relative error."""
    rng, found = np.random.default_rng(seed), []
    v = [rng.normal(size=a.shape) for a in case.arguments]
    with jax.enable_x64(True):
        y = jax.jit(case.in_jax, compiler_options=QUICKLY)
        transpose = jax.jit(lambda g, *a: jax.vjp(case.in_jax, *a)[1](g), compiler_options=QUICKLY)
        exact_g = normal(rng, *y(*case.arguments).shape)
        slopes = [slope(y, case, i, v[i], exact_g) for i in range(len(v))]
        for dtype in ("float64", "float32"):
            g, *arguments = (a.astype(dtype) for a in (exact_g, *case.arguments))
            rivals = {"JAX": transpose(g, *arguments)}
            if torch:
                rivals["PyTorch"] = torch_gradients(case.in_torch, g, arguments)
            for (name, i), a in case.by_hand(g, *arguments).items():
                found += [(name, f"{rival}, {dtype}", relative_error(a, b[i])) for rival, b in rivals.items()]
                if dtype == "float64":
                    found.append((name, "differences, float64", ratio(np.vdot(a, v[i]) - slopes[i], a)))
    return found


def slope(y: Callable, case: Case, i: int, v: np.ndarray, g: np.ndarray) -> float:
    """⟨g, y(a + h v) − y(a − h v)⟩ / 2h in argument i."""
    before, a, after = case.arguments[:i], case.arguments[i], case.arguments[i + 1 :]
    up, down = (y(*before, a + h * v, *after) for h in (case.step, -case.step))
    return float(np.vdot(g, np.subtract(up, down)) / (2 * case.step))


def torch_gradients(f: Callable, g: np.ndarray, arguments: list[np.ndarray]) -> list[np.ndarray]:
    """What PyTorch's backward pass gives."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arguments]
    return [gradient.numpy() for gradient in torch.autograd.grad(f(*tensors), tensors, torch.tensor(g))]


def relative_error(a, b) -> float:
    """‖a − b‖ / ‖b‖."""
    assert np.shape(a) == np.shape(b), f"gradients must have one shape, found {np.shape(a)} and {np.shape(b)}"
    return ratio(np.subtract(a, b, dtype=np.float64), b)


def ratio(error, of) -> float:
    """‖error‖ / ‖of‖; 0 / 0 is no error."""
    return float(np.linalg.norm(error) / max(np.linalg.norm(of), np.finfo(np.float64).tiny))


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers that float32 holds, in float64."""
    return np.asarray(rng.normal(size=shape), np.float32).astype(np.float64)


def random_convolution(rng: np.random.Generator) -> tuple[Shape, Shape, dict[str, Any]]:
    """Shapes of x and w, and options; a window is most often 3 long."""
    window, (strides, dilation) = rng.choice((1, 1, 2, 3, 3, 3, 4, 5, 6, 7), 2), rng.integers(1, 4, (2, 2))
    pads = rng.integers(-1, 5, (2, 2))
    n, groups, c, f = rng.integers(1, 4, 4).tolist()
    sizes = np.maximum(dilation * (window - 1) + 1 - pads.sum(axis=1), 1) + rng.integers(0, 8, 2)
    options = {"strides": strides.tolist(), "padding": pads.tolist(), "kernel_dilation": dilation.tolist()}
    return (
        (n, *sizes.tolist(), groups * c),
        (*window.tolist(), c, groups * f),
        options | {"feature_group_count": groups},
    )


def convolution(rng: np.random.Generator, x_shape: Shape, w_shape: Shape, options: dict[str, Any]) -> Case:
    """Its three gradients, by loops and as convolutions."""
    plan = ops.ConvGeometry.resolve(x_shape, w_shape, **options)
    strides, padding, dilation, groups = plan.strides, plan.padding, plan.kernel_dilation, plan.groups

    def in_jax(x, w, b):
        return lax.conv_general_dilated(x, w, strides, padding, None, dilation, NHWC, groups) + b

    def in_torch(x, w, b):
        w = w.permute(3, 2, 0, 1).contiguous()  # its backward pass refuses some that are not
        return channels_first(lambda x: functional.conv2d(x, w, b, strides, 0, dilation, groups), x, padding)

    def by_hand(name, by, g, x, w, b):
        return {
            (f"{name}.conv2d_input_gradient", 0): by.conv2d_input_gradient(g, w, x_shape, **options),
            (f"{name}.conv2d_kernel_gradient", 1): by.conv2d_kernel_gradient(x, g, w_shape, **options),
            (f"{name}.conv2d_bias_gradient", 2): by.conv2d_bias_gradient(g),
        }

    by_ops = jax.jit(partial(by_hand, "ops", ops), compiler_options=QUICKLY)
    arguments = normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, w_shape[-1])
    return Case(arguments, in_jax, in_torch, lambda *a: by_hand("reference", reference, *a) | by_ops(*a))


def channels_first(f: Callable, x, padding=((0, 0), (0, 0)), value: float = 0.0):
    """f of NHWC images, padded or cropped before it: PyTorch's own operations pad both sides alike."""
    rows, columns = padding
    return f(functional.pad(x.permute(0, 3, 1, 2), (*columns, *rows), value=value)).permute(0, 2, 3, 1)


def pools(rng: np.random.Generator) -> Iterator[Case]:
    """Max-pooling without ties, by whole numbers of which no step makes another the largest, and the mean."""
    window, strides, counted = rng.integers(1, 5, 2), tuple(rng.integers(1, 4, 2).tolist()), bool(rng.integers(2))
    pads = rng.integers(0, window, (2, 2)).T
    shape = (2, *(np.maximum(window - pads.sum(axis=1), 1) + rng.integers(0, 6, 2)).tolist(), 3)
    window, padding = tuple(window.tolist()), pads.tolist()

    def torch_max(x):
        return channels_first(lambda x: functional.max_pool2d(x, window, strides), x, padding, -np.inf)

    def torch_mean(x):
        return channels_first(lambda x: functional.avg_pool2d(x, window, strides), x, padding)

    def jax_mean(x):
        return nn.avg_pool(x, window, strides, padding)

    different = rng.permutation(np.arange(float(np.prod(shape)))).reshape(shape)
    plan = window, strides, padding
    yield Case(
        (different,),
        lambda x: nn.max_pool(x, *plan),
        torch_max,
        lambda g, x: {("reference.max_pool_gradient", 0): reference.max_pool_gradient(x, g, *plan)},
        step=2**-4,
    )
    yield Case(
        (normal(rng, *shape),),
        lambda x: jax_mean(x) / (1 if counted else jax_mean(jnp.ones_like(x))),
        lambda x: torch_mean(x) / (1 if counted else torch_mean(torch.ones_like(x))),
        lambda g, x: {("reference.avg_pool_gradient", 0): reference.avg_pool_gradient(g, shape, *plan, counted)},
    )


def dense(rng: np.random.Generator) -> Case:
    """All three gradients under one name."""
    n, c, f = rng.integers(1, 20, 3).tolist()

    def layer(x, w, b):
        return x @ w + b

    def by_hand(g, x, w, b):
        return {("reference.dense_gradients", i): a for i, a in enumerate(reference.dense_gradients(x, w, g))}

    return Case((normal(rng, n, c), normal(rng, c, f), normal(rng, f)), layer, layer, by_hand)


def losses(rng: np.random.Generator) -> Iterator[Case]:
    """Of 20 examples: sigmoid cross-entropy, labels hard and soft, and softmax cross-entropy, of 2 to 10 classes."""
    k = int(rng.integers(2, 11))
    p, labels = rng.integers(0, 5, 20) / 4, rng.integers(0, k, 20)
    sigmoid, softmax = reference.sigmoid_binary_cross_entropy_gradient, reference.softmax_cross_entropy_gradient
    yield Case(
        (3 * normal(rng, 20),),
        lambda z: optax.sigmoid_binary_cross_entropy(z, jnp.asarray(p, z.dtype)),
        lambda z: functional.binary_cross_entropy_with_logits(z, torch.tensor(p).to(z), reduction="none"),
        lambda g, z: {("reference.sigmoid_binary_cross_entropy_gradient", 0): g * sigmoid(z, p)},
        step=1e-5,
    )
    yield Case(
        (3 * normal(rng, 20, k),),
        lambda z: optax.softmax_cross_entropy_with_integer_labels(z, jnp.asarray(labels)),
        lambda z: functional.cross_entropy(z, torch.tensor(labels), reduction="none"),
        lambda g, z: {("reference.softmax_cross_entropy_gradient", 0): g[:, None] * softmax(z, labels)},
        step=1e-5,
    )


# The lab's network: the leaves of its parameters are biases b, c and kernels w, v of convolution and dense layer

IMAGES, LABELS = np.array(lab_images().images), np.array(lab_images().labels)
LEAVES, STRUCTURE = jax.tree.flatten(CNN().init(jax.random.key(0), IMAGES)["params"])


def lab_by_hand(g, *leaves) -> dict[tuple[str, int], Any]:
    """The reference's gradients."""
    _, gradients = reference.lab_loss_and_gradients(STRUCTURE.unflatten(leaves), IMAGES, LABELS)
    return {("reference.lab_loss_and_gradients", i): g * a for i, a in enumerate(jax.tree.leaves(gradients))}


def lab_in_jax(b, w, c, v):
    """The mean loss, by lax, Flax's pool and Optax's loss."""
    u = lax.conv_general_dilated(jnp.asarray(IMAGES, w.dtype), w, (1, 1), "SAME", dimension_numbers=NHWC) + b
    q = nn.max_pool(nn.relu(u), (2, 2), strides=(2, 2))
    z = q.reshape(len(IMAGES), -1) @ v + c
    return jnp.mean(optax.sigmoid_binary_cross_entropy(z[:, 0], jnp.asarray(LABELS, w.dtype)))


def lab_in_torch(b, w, c, v):
    """The same in PyTorch, flattened in the order of NHWC."""
    images, labels = (torch.tensor(a).to(w) for a in (IMAGES, LABELS))
    kernel = w.permute(3, 2, 0, 1)
    u = channels_first(lambda x: functional.conv2d(x, kernel, b, padding=1), images)
    q = channels_first(lambda x: functional.max_pool2d(x, 2), torch.relu(u))
    z = q.flatten(1) @ v + c
    return functional.binary_cross_entropy_with_logits(z[:, 0], labels)


def training_errors(steps: int) -> dict[str, float]:
    """The largest relative error of a leaf after Adam, by column."""
    by_hand = jax.tree.leaves(reference.lab_train(STRUCTURE.unflatten(LEAVES), IMAGES, LABELS, steps, LEARNING_RATE))
    errors = {}
    for dtype in ("float64", "float32"):
        leaves = [np.asarray(a, dtype) for a in LEAVES]
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Optax raises a float to an int32
            trained = {"JAX": jax.jit(train_in_jax, static_argnums=0)(steps, leaves)}
        if torch:
            trained["PyTorch"] = train_in_torch(steps, leaves)
        errors |= {f"{rival}, {dtype}": max(map(relative_error, by_hand, found)) for rival, found in trained.items()}
    return errors


def train_in_jax(steps: int, leaves):
    """So many steps of Optax's Adam."""
    optimizer = optax.adam(LEARNING_RATE)

    def step(_, carry):
        leaves, state = carry
        updates, state = optimizer.update(jax.grad(lambda leaves: lab_in_jax(*leaves))(leaves), state)
        return optax.apply_updates(leaves, updates), state

    return lax.fori_loop(0, steps, step, (leaves, optimizer.init(leaves)))[0]


def train_in_torch(steps: int, leaves) -> list[np.ndarray]:
    """So many steps of PyTorch's Adam."""
    tensors = [torch.tensor(a, requires_grad=True) for a in leaves]
    optimizer = torch.optim.Adam(tensors, lr=LEARNING_RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        lab_in_torch(*tensors).backward()
        optimizer.step()
    return [a.detach().numpy() for a in tensors]


if __name__ == "__main__":
    tyro.cli(main)
