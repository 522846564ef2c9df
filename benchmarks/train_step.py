"""How long is a whole training step, with jaxcnn's convolutions, with XLA's, and in PyTorch?

    python benchmarks/train_step.py [--json FILE] [--only NAME …] [--no-stock-scan]
                                                    (needs the extra: pip install '.[bench]')

Five networks, from the lab's to a ResNet-18, each a Flax module that is built over either of two sets of layers:
jaxcnn's convolution and max-pool, with its compiler options, or Flax's own ("stock", which are XLA's). A step is the
loss (cross entropy), its gradients, and Adam's update. It is called in a Python loop, compiled, with the state donated;
and run in one compiled call of several steps (lax.fori_loop), in which XLA's CPU backend has no fast convolution: there
the stock steps are up to fifty times slower, so that they are sampled once only, or with --no-stock-scan not at all.
PyTorch's steps are those of its eager loop, in its default memory format, in channels last, on one thread, and compiled
by torch.compile where this machine can. All but the stock steps in one call are sampled in turn in one process.

Before anything is timed, the three networks must have the same loss from the same parameters, before and after a step
(with no dropout). Milliseconds are those of one step; "compile" is tracing, lowering and compiling it; "temporary"
is what its compiled program allocates beside its arguments and results.
"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import optax
import torch
import tyro
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax import lax
from jax import numpy as jnp

import jaxcnn
from jaxcnn.bench import Case, Timing, measure, measure_alternately, record, stopwatch, write
from jaxcnn.report.console import print_table
from jaxcnn.train import TrainConfig

LEARNING_RATE = 1e-3
OPTIMIZER = optax.adam(LEARNING_RATE)
THREADS = torch.get_num_threads()
JAXCNN, STOCK, EAGER, LAST = "jaxcnn", "stock", "PyTorch", "PyTorch channels last"
SINGLE, COMPILED = "PyTorch, 1 thread", "PyTorch compiled"
IN_ONE_CALL = ", in one call"


class Layers(NamedTuple):
    """What a network is built of: what jaxcnn has of its own, or Flax's."""

    conv: Callable[..., nn.Module]
    max_pool: Callable


LAYERS = {
    JAXCNN: Layers(jaxcnn.models.Conv, partial(jaxcnn.max_pool, window_shape=(2, 2), strides=(2, 2))),
    STOCK: Layers(nn.Conv, partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))),
}


class Network(NamedTuple):
    """A network, its batch, and how it is measured.

    Attributes:
      image: height, width, channels.
      batch: images a step.
      outputs: logits; one stands for two classes.
      stages: the channels of each stage's convolutions (3×3, ReLU); a max-pool ends it. In a ResNet, of its blocks'.
      hidden: features of the dense layers before the logits.
      dropout: share of the flattened features that are dropped.
      residual: a ResNet.
      steps: how many make a sample.
    """

    image: tuple[int, int, int]
    batch: int
    outputs: int
    stages: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    residual: bool = False
    steps: int = 2


DIGITS = TrainConfig(data="digits")
NETWORKS = {
    "lab": Network((8, 8, 1), 10, 1, ((16,),), steps=100),
    "digits": Network(
        (8, 8, 1),
        DIGITS.batch_size,
        10,
        tuple((features,) for features in DIGITS.features),
        DIGITS.hidden,
        DIGITS.dropout,
        steps=20,
    ),
    "MNIST": Network((28, 28, 1), 128, 10, ((32,), (64,)), (256,), steps=5),
    "CIFAR": Network((32, 32, 3), 64, 10, ((32, 64), (128, 128)), (256,)),
    "ResNet-18": Network((32, 32, 3), 64, 10, ((64, 64), (128, 128), (256, 256), (512, 512)), residual=True),
}


class Plain(nn.Module):
    """Stages of convolutions and a max-pool, then dense layers."""

    network: Network
    layers: Layers

    @nn.compact
    def __call__(self, x):
        """Logits in training; dropout is drawn from the "dropout" key, unless there is none."""
        for stage in self.network.stages:
            for features in stage:
                x = nn.relu(self.layers.conv(features, (3, 3))(x))
            x = self.layers.max_pool(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.network.dropout, deterministic=not self.has_rng("dropout"))(x)
        for features in self.network.hidden:
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(self.network.outputs)(x)


class Block(nn.Module):
    """Two convolutions, and around them the identity or a projection (He et al. 2016, "Deep Residual Learning")."""

    conv: Callable
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        """The sum of both ways, through a ReLU."""
        shortcut = x
        x = self.conv(self.features, (3, 3), strides=self.stride)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(x))
        x = self.conv(self.features, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
        if shortcut.shape != x.shape:
            shortcut = self.conv(self.features, (1, 1), strides=self.stride, padding=0)(shortcut)
            shortcut = nn.BatchNorm(use_running_average=False, momentum=0.9)(shortcut)
        return nn.relu(x + shortcut)


class ResNet(nn.Module):
    """For small images: a 3×3 stem without a pool, then stages of blocks."""

    network: Network
    layers: Layers

    @nn.compact
    def __call__(self, x):
        """Logits, with the batch's own statistics."""
        conv = partial(self.layers.conv, use_bias=False, padding=1)
        x = conv(self.network.stages[0][0], (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(x))
        for number, stage in enumerate(self.network.stages):
            for block, features in enumerate(stage):
                x = Block(conv, features, 2 if number and not block else 1, name=f"Block_{number}_{block}")(x)
        return nn.Dense(self.network.outputs)(jnp.mean(x, axis=(1, 2)))


class State(NamedTuple):
    """All that a step changes."""

    step: Any
    params: Any
    batch_stats: Any
    optimizer: Any


class Batch(NamedTuple):
    """NHWC images and their classes."""

    images: Any
    labels: Any


def main(
    only: tuple[str, ...] = tuple(NETWORKS),
    rounds: int = 10,
    stock_scan: bool = True,
    torch_compile: bool = True,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Check, measure, and print the ratios.

    Args:
      only: Networks to measure: lab, digits, MNIST, CIFAR, ResNet-18.
      rounds: Samples of each.
      stock_scan: Measure the stock layers in one call of several steps too; on a CPU it takes minutes.
      torch_compile: Try torch.compile.
      json_file: Where the result is kept; what is measured so far stands there during the run.
    """
    if not set(only) <= NETWORKS.keys():
        print(f"only: expected some of {', '.join(NETWORKS)}, found {', '.join(only)}", file=sys.stderr)
        sys.exit(2)
    rows = {}
    for name in only:
        print(name, file=sys.stderr)
        check_same_step(NETWORKS[name])
        rows[name] = measured(NETWORKS[name], rounds, stock_scan, torch_compile)
        show(name, rows[name])
        if json_file:
            write(json_file, result(rows, rounds))


class Measured(NamedTuple):
    """What is known of one network: by contender, and of the compiled step of each set of layers."""

    timings: dict[str, Timing]
    temporary_bytes: dict[str, int]


def measured(network: Network, rounds: int, stock_scan: bool, torch_compile: bool) -> Measured:
    """Seconds a step of everyone."""
    compiled = {name: compile_step(network, layers) for name, layers in LAYERS.items()}
    cases = {name: loop_case(network, layers) for name, layers in LAYERS.items()}
    cases[JAXCNN + IN_ONE_CALL] = one_call_case(network, LAYERS[JAXCNN])
    timings = measure_alternately(cases | torch_cases(network, torch_compile), rounds=rounds)
    if stock_scan:
        f, args, _ = one_call_case(network, LAYERS[STOCK])
        timings[STOCK + IN_ONE_CALL] = measure(f, *args, repeats=1, min_time=0)
    seconds = {name: compile_seconds for name, (compile_seconds, _) in compiled.items()}
    steps = {
        name: Timing(seconds.get(name, timing.compile), tuple(time / network.steps for time in timing.times))
        for name, timing in timings.items()
    }
    return Measured(steps, {name: temporary for name, (_, temporary) in compiled.items()})


def module_of(network: Network, layers: Layers) -> nn.Module:
    """The Flax module."""
    return (ResNet if network.residual else Plain)(network, layers)


def initial_state(network: Network, layers: Layers) -> State:
    """The same parameters for either set of layers."""
    init = jax.jit(module_of(network, layers).init)
    variables = init(jax.random.key(0), jnp.zeros((1, *network.image), jnp.float32))
    params = variables["params"]
    return State(jnp.zeros((), jnp.int32), params, variables.get("batch_stats", {}), OPTIMIZER.init(params))


def random_batch(network: Network) -> Batch:
    """Noise: how long a step takes does not depend on it."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((network.batch, *network.image), np.float32)
    labels = rng.integers(0, max(network.outputs, 2), network.batch)
    return Batch(jnp.asarray(images), jnp.asarray(labels, jnp.int32))


def update(network: Network, layers: Layers, state: State, batch: Batch) -> tuple[State, Any]:
    """The next state, and the loss before it."""
    module = module_of(network, layers)
    dropout = jax.random.fold_in(jax.random.key(1), state.step)
    keys = {"dropout": dropout} if network.dropout else {}

    def mean_loss(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, changed = module.apply(variables, batch.images, rngs=keys, mutable=["batch_stats"])
        return cross_entropy(logits, batch.labels), changed.get("batch_stats", {})

    (loss, batch_stats), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    changes, optimizer = OPTIMIZER.update(gradients, state.optimizer, state.params)
    return State(state.step + 1, optax.apply_updates(state.params, changes), batch_stats, optimizer), loss


def cross_entropy(logits, labels):
    """The batch's mean; through a sigmoid where there is one logit."""
    if logits.shape[1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels).mean()
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def jitted(f: Callable, layers: Layers):
    """A function of a state and a batch, compiled as jaxcnn's steps are, or as stock ones."""
    return (jaxcnn.xla.jit if layers is LAYERS[JAXCNN] else jax.jit)(f, donate_argnums=0)


def jitted_step(network: Network, layers: Layers):
    """The step, compiled at its first call."""
    return jitted(partial(update, network, layers), layers)


def compile_step(network: Network, layers: Layers) -> tuple[float, int]:
    """Seconds to compile the step, and the bytes that its program allocates; -1 where the device does not tell."""
    state, batch = initial_state(network, layers), random_batch(network)
    with stopwatch() as watch:
        compiled = jitted_step(network, layers).lower(state, batch).compile()
    memory = compiled.memory_analysis()
    return watch.seconds, -1 if memory is None else memory.temp_size_in_bytes


def loop_case(network: Network, layers: Layers) -> Case:
    """A Python loop that goes on from where it was at each call."""
    step, batch = jitted_step(network, layers), random_batch(network)
    state = initial_state(network, layers)

    def loop():
        nonlocal state
        for _ in range(network.steps):
            state, loss = step(state, batch)
        return state, loss

    return Case(loop, jit=False)


def one_call_case(network: Network, layers: Layers) -> Case:
    """As many steps in one program."""

    def steps(state, batch):
        return lax.fori_loop(0, network.steps, lambda _, state: update(network, layers, state, batch)[0], state)

    return Case(jitted(steps, layers), (initial_state(network, layers), random_batch(network)))


class TorchPlain(torch.nn.Module):
    """The plain network as PyTorch users write it; its parts have the names that Flax gives them."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        channels = [network.image[2], *(features for stage in network.stages for features in stage)]
        for number, (c_in, c_out) in enumerate(pairwise(channels)):
            self.add_module(f"Conv_{number}", torch.nn.Conv2d(c_in, c_out, 3, padding=1))
        height, width = (size // 2 ** len(network.stages) for size in network.image[:2])
        for number, (n_in, n_out) in enumerate(
            pairwise([height * width * channels[-1], *network.hidden, network.outputs])
        ):
            self.add_module(f"Dense_{number}", torch.nn.Linear(n_in, n_out))

    def forward(self, x):
        """Logits of NCHW images."""
        number = 0
        for stage in self.network.stages:
            for _ in stage:
                x = torch.relu(self.get_submodule(f"Conv_{number}")(x))
                number += 1
            x = torch.nn.functional.max_pool2d(x, 2)
        x = torch.nn.functional.dropout(x.flatten(1), self.network.dropout, self.training)
        for number in range(len(self.network.hidden)):
            x = torch.relu(self.get_submodule(f"Dense_{number}")(x))
        return self.get_submodule(f"Dense_{len(self.network.hidden)}")(x)


class TorchBlock(torch.nn.Module):
    """The block, with Flax's names."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.Conv_0 = torch.nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.BatchNorm_0 = torch.nn.BatchNorm2d(c_out)
        self.Conv_1 = torch.nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.BatchNorm_1 = torch.nn.BatchNorm2d(c_out)
        self.projects = stride > 1 or c_in != c_out
        if self.projects:
            self.Conv_2 = torch.nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.BatchNorm_2 = torch.nn.BatchNorm2d(c_out)

    def forward(self, x):
        """The sum of both ways, through a ReLU."""
        y = torch.relu(self.BatchNorm_0(self.Conv_0(x)))
        y = self.BatchNorm_1(self.Conv_1(y))
        return torch.relu(y + (self.BatchNorm_2(self.Conv_2(x)) if self.projects else x))


class TorchResNet(torch.nn.Module):
    """The ResNet, with Flax's names."""

    def __init__(self, network: Network):
        super().__init__()
        c_in = network.stages[0][0]
        self.Conv_0 = torch.nn.Conv2d(network.image[2], c_in, 3, padding=1, bias=False)
        self.BatchNorm_0 = torch.nn.BatchNorm2d(c_in)
        self.blocks = []
        for number, stage in enumerate(network.stages):
            for block, features in enumerate(stage):
                self.blocks.append(f"Block_{number}_{block}")
                self.add_module(self.blocks[-1], TorchBlock(c_in, features, 2 if number and not block else 1))
                c_in = features
        self.Dense_0 = torch.nn.Linear(c_in, network.outputs)

    def forward(self, x):
        """Logits of NCHW images."""
        x = torch.relu(self.BatchNorm_0(self.Conv_0(x)))
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return self.Dense_0(x.mean((2, 3)))


def torch_module(network: Network) -> torch.nn.Module:
    """The network, where JAX computes too."""
    return (TorchResNet if network.residual else TorchPlain)(network).to(torch_device())


def torch_device() -> str:
    """JAX's, if PyTorch has it."""
    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def torch_batch(network: Network) -> Batch:
    """The same images, NCHW."""
    images, labels = map(np.array, random_batch(network))
    x = torch.tensor(np.moveaxis(images, -1, 1).copy(), device=torch_device())
    return Batch(x, torch.tensor(labels, dtype=torch.int64, device=torch_device()))


def torch_step(forward: Callable, optimizer: torch.optim.Optimizer, batch: Batch) -> torch.Tensor:
    """A step; the loss before it."""
    optimizer.zero_grad()
    logits = forward(batch.images)
    if logits.shape[1] == 1:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], batch.labels.to(logits.dtype))
    else:
        loss = torch.nn.functional.cross_entropy(logits, batch.labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def torch_cases(network: Network, try_compiled: bool) -> dict[str, Case]:
    """PyTorch's contenders."""
    cases = {
        EAGER: torch_case(network),
        LAST: torch_case(network, memory_format=torch.channels_last),
        SINGLE: torch_case(network, threads=1),
    }
    if not try_compiled:
        return cases
    compiled = torch_case(network, wrap=torch.compile)
    try:
        with stopwatch() as watch:
            compiled.f()
    except Exception as error:  # of whatever kind a compiler fails with
        print(f"torch.compile is left out: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        return cases
    print(f"torch.compile: the first {network.steps} steps in {watch.seconds:.1f} s", file=sys.stderr)
    return cases | {COMPILED: compiled}


def torch_case(
    network: Network,
    *,
    memory_format: Any = torch.contiguous_format,
    threads: int = THREADS,
    wrap: Callable[[torch.nn.Module], Callable] = lambda module: module,
) -> Case:
    """A Python loop that goes on from where it was at each call."""
    module = torch_module(network).to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    images, labels = torch_batch(network)
    batch, forward = Batch(images.contiguous(memory_format=memory_format), labels), wrap(module)

    def loop():
        torch.set_num_threads(threads)
        for _ in range(network.steps):
            loss = torch_step(forward, optimizer, batch)
        return float(loss)

    return Case(loop, jit=False)


def check_same_step(network: Network) -> None:
    """The losses of two steps from the same parameters agree; what dropout drops cannot be the same in PyTorch."""
    network = network._replace(dropout=0.0)
    batch = random_batch(network)
    start = {name: initial_state(network, layers) for name, layers in LAYERS.items()}
    assert jax.tree.structure(start[JAXCNN]) == jax.tree.structure(start[STOCK])
    jax.tree.map(np.testing.assert_array_equal, start[JAXCNN].params, start[STOCK].params)
    losses = {}
    for name, layers in LAYERS.items():
        step = jax.jit(partial(update, network, layers))
        state, first = step(start[JAXCNN], batch)
        losses[name] = [float(first), float(step(state, batch)[1])]
    module = torch_module(network)
    copy_to_torch(start[JAXCNN].params, module)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    losses[EAGER] = [float(torch_step(module, optimizer, torch_batch(network))) for _ in range(2)]
    # Adam's first update is nearly the gradient's sign: where that is a rounding, so is the update.
    tolerance = 1e-3 * losses[STOCK][0]
    for name, found in losses.items():
        np.testing.assert_allclose(found[0], losses[STOCK][0], rtol=1e-4, err_msg=f"losses of {name} and stock")
        np.testing.assert_allclose(found, losses[STOCK], rtol=0, atol=tolerance, err_msg=f"losses of {name} and stock")


@torch.no_grad()
def copy_to_torch(params: Any, module: torch.nn.Module) -> None:
    """Flax's parameters to the PyTorch parts of the same names."""
    names = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    targets = dict(module.named_parameters())
    channels = [p.shape[0] for name, p in targets.items() if p.ndim == 4][-1:]
    for path, leaf in flatten_dict(params).items():
        value = np.array(leaf)
        if value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        elif path[-2:] == ("Dense_0", "kernel"):  # what comes from NHWC images is flattened in another order
            value = value.reshape(-1, *channels, value.shape[1]).transpose(2, 1, 0).reshape(value.shape[::-1])
        elif value.ndim == 2:
            value = value.T
        targets.pop(".".join((*path[:-1], names[path[-1]]))).copy_(torch.tensor(value.copy()))
    assert not targets, f"PyTorch's network has more parameters: {list(targets)}"


def show(title: str, row: Measured) -> None:
    """Milliseconds, and the speed over PyTorch's and over the stock layers'."""
    medians = {name: timing.median for name, timing in row.timings.items()}
    best = min(median for name, median in medians.items() if name.startswith(EAGER))
    print_table(
        f"{title}: a step",
        ["", "ms", "± %", "compile, s", "temporary, MB", f"{EAGER} / this", f"best {EAGER} / this", f"{STOCK} / this"],
        [
            [
                name,
                1e3 * timing.median,
                100 * timing.spread,
                timing.compile or "",
                row.temporary_bytes[name] / 1e6 if name in row.temporary_bytes else "",
                medians[EAGER] / timing.median,
                best / timing.median,
                medians[STOCK] / timing.median,
            ]
            for name, timing in row.timings.items()
        ],
    )


def result(rows: dict[str, Measured], rounds: int) -> dict[str, Any]:
    """The file's content; seconds are those of a step."""
    return record(
        "train_step",
        {f"{network}: {name}": timing for network, row in rows.items() for name, timing in row.timings.items()},
        rounds=rounds,
        torch_device=torch_device(),
        torch_threads=THREADS,
        steps_a_sample={network: NETWORKS[network].steps for network in rows},
        compile_seconds={
            network: {name: timing.compile for name, timing in row.timings.items() if timing.compile}
            for network, row in rows.items()
        },
        temporary_bytes={network: row.temporary_bytes for network, row in rows.items()},
    )


if __name__ == "__main__":
    tyro.cli(main)
