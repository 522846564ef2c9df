"""The lab's 100 epochs, beside the same network in PyTorch's eager loop.

    python benchmarks/lab.py [--json FILE]          (needs the extra: pip install '.[bench]')

The same 100 steps of Adam on the same ten images, sampled in turn in one process: PyTorch's eager loop, on one thread
(which is quicker for a network as small) and on all; jaxcnn's `fit`, for which each step here is an epoch, with its
order drawn, a compiled call and its answer; and the bare steps in one compiled call, as they are inside longer epochs.
Before anything is timed, one step from the same parameters must give the same loss and gradients in both. Then the
whole processes, from start to exit, imports and compilation included, in turn again.
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import torch
import tyro
from jax import lax
from jax import numpy as jnp

import jaxcnn
from jaxcnn.bench import Case, Timing, measure_alternately, record, write
from jaxcnn.data import Batch, Dataset, lab_images, take_batch
from jaxcnn.losses import classification_loss
from jaxcnn.report.console import print_table
from jaxcnn.train import TrainState, fit, initial_state, lab_config
from jaxcnn.train.step import update

EPOCHS = 100
THREADS = torch.get_num_threads()


def main(
    rounds: int = 15,
    processes: int = 5,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Check, measure, and print the ratios.

    Args:
      rounds: Samples of each loop.
      processes: Samples of each whole process.
      json_file: Where the result is kept.
    """
    check_same_step()
    images = jax.device_put(lab_images())
    loops = measure_alternately(
        {
            "PyTorch, 1 thread": Case(torch_loop, (TorchNetwork(), *torch_batch(), 1), jit=False),
            "PyTorch, all threads": Case(torch_loop, (TorchNetwork(), *torch_batch(), THREADS), jit=False),
            "jaxcnn, fit": Case(fit_loop, (lab_state(), images), jit=False),
            "jaxcnn, 100 steps a call": Case(steps_in_one_call, (lab_state(), whole_batch(images))),
        },
        rounds=rounds,
    )
    whole = measure_alternately(
        {
            "PyTorch": Case(whole_process, (CHILD_TORCH,), jit=False),
            "jaxcnn": Case(whole_process, (CHILD_JAXCNN,), jit=False),
        },
        rounds=processes,
    )
    show(
        "Microseconds a step",
        {name: scale(timing, 1e6 / EPOCHS) for name, timing in loops.items()},
        "PyTorch, 1 thread",
    )
    show("Seconds for the whole process", {name: scale(timing, 1) for name, timing in whole.items()}, "PyTorch")
    if json_file:
        write(json_file, record("lab", loops | {f"process: {name}": timing for name, timing in whole.items()}))


def lab_state() -> TrainState:
    """The lab's initial parameters."""
    return initial_state(lab_config(), lab_images())


def fit_loop(state: TrainState, images: Dataset) -> float:
    """jaxcnn as a user calls it: `fit` waits for the losses of each epoch."""
    return float(fit(state, images, None, lab_config()).history["train_loss"][-1])


@jaxcnn.xla.jit
def steps_in_one_call(state: TrainState, batch: Batch) -> TrainState:
    """The training step as often as PyTorch's loop takes its own, on the same batch."""
    return lax.fori_loop(0, EPOCHS, lambda _, state: update(state, batch)[0], state)


def whole_batch(images: Dataset) -> Batch:
    """All ten images."""
    return take_batch(images, jnp.arange(10), jnp.ones(10, bool))


class TorchNetwork(torch.nn.Module):
    """The lab's network as PyTorch users write it."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 16, 3, padding=1)
        self.dense = torch.nn.Linear(16 * 4 * 4, 1)

    def forward(self, x):
        """Logits of NCHW images."""
        x = torch.nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.dense(x.flatten(1))[:, 0]


def torch_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """The ten images, NCHW, and their labels."""
    images = lab_images()
    x = torch.tensor(np.moveaxis(np.asarray(images.images), -1, 1).copy())
    return x, torch.tensor(np.asarray(images.labels), dtype=torch.float32)


def torch_loop(network: TorchNetwork, x: torch.Tensor, y: torch.Tensor, threads: int) -> float:
    """PyTorch's eager loop."""
    torch.set_num_threads(threads)
    optimizer = torch.optim.Adam(network.parameters(), lr=lab_config().learning_rate)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x), y)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def check_same_step() -> None:
    """Both must compute the same loss and the same gradient of the convolution from the same parameters."""
    state, images = lab_state(), lab_images()
    network = TorchNetwork()
    conv, dense = state.params["Conv_0"], state.params["Dense_0"]
    assert network.conv.bias is not None
    with torch.no_grad():
        network.conv.weight.copy_(torch.tensor(np.array(conv["kernel"]).transpose(3, 2, 0, 1)))
        network.conv.bias.copy_(torch.tensor(np.array(conv["bias"])))
        # NHWC and NCHW flatten in another order.
        weight = np.array(dense["kernel"]).reshape(4, 4, 16).transpose(2, 0, 1).reshape(1, -1)
        network.dense.weight.copy_(torch.tensor(weight))
        network.dense.bias.copy_(torch.tensor(np.array(dense["bias"])))
    x, y = torch_batch()
    torch_loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x), y)
    torch_loss.backward()

    def mean_loss(params):
        return classification_loss(state.apply_fn({"params": params}, images.images), images.labels).mean()

    loss, gradients = jax.value_and_grad(mean_loss)(state.params)
    np.testing.assert_allclose(float(loss), float(torch_loss.detach()), rtol=1e-5)
    torch_gradient = network.conv.weight.grad
    assert torch_gradient is not None
    kernel_gradient = np.asarray(gradients["Conv_0"]["kernel"]).transpose(3, 2, 0, 1)
    np.testing.assert_allclose(kernel_gradient, torch_gradient.numpy(), rtol=1e-4, atol=1e-6)


def whole_process(code: str) -> None:
    """Train in a process of its own, which imports what it needs and nothing else."""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


CHILD_JAXCNN = """
import jax
from jaxcnn.data import lab_images
from jaxcnn.train import fit, initial_state, lab_config
config, images = lab_config(), lab_images()
print(fit(initial_state(config, images), jax.device_put(images), None, config).history["train_loss"][-1])
"""

CHILD_TORCH = """
import torch
rows = [[.1, .2, .1, .3, .2, .1, .2, .1], [.9, .8, .9, .7, .8, .9, .8, .7]]
x = torch.tensor([[[row] * 8] for row in rows for _ in range(5)]).reshape(10, 1, 8, 8)
y = torch.tensor([0.0] * 5 + [1.0] * 5)
net = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
                          torch.nn.Flatten(), torch.nn.Linear(256, 1))
adam = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(100):
    adam.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y)
    loss.backward()
    adam.step()
print(float(loss.detach()))
"""


def scale(timing: Timing, factor: float) -> tuple[float, float]:
    """Median in another unit, and the spread in percent."""
    return timing.median * factor, 100 * timing.spread


def show(title: str, rows: dict[str, tuple[float, float]], base: str) -> None:
    """A table with the ratio to PyTorch."""
    print_table(
        title,
        ["", "median", "± %", f"{base} / this"],
        [[name, median, spread, rows[base][0] / median] for name, (median, spread) in rows.items()],
    )


if __name__ == "__main__":
    tyro.cli(main)
