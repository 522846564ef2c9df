"""Epochs: each is one compiled call to train and one to validate.

The steps of an epoch run inside a compiled loop. On the CPU this is right only because jaxcnn's kernel gradient is a
matrix product there (``ops.im2col``): with XLA's own kernel gradient the same loop takes some twenty times as long.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn import xla
from jaxcnn.bench.timing import stopwatch
from jaxcnn.data.augment import random_shift
from jaxcnn.data.batches import epoch_indices, sequential_indices, take_batch
from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import InputError
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import BatchSums, evaluate_batch, update


class Epoch(NamedTuple):
    """What one epoch told; the validation figures are NaN where there are no validation images."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


class Fit(NamedTuple):
    """What training gives back.

    Attributes:
      state: the parameters of the epoch with the lowest validation loss; of the last, without validation images.
      history: an array of ``epochs`` values for each field of :class:`Epoch`.
      best_epoch: the epoch that ``state`` is of, from 1.
    """

    state: TrainState
    history: dict[str, np.ndarray]
    best_epoch: int


class DivergedError(ArithmeticError):
    """The loss became infinite or NaN.

    Attributes:
      step: after this many steps the parameters first gave such a loss.
      state: the parameters one step earlier, whose loss was finite (the initial ones, if there was no step).
      history: as in :class:`Fit`, of the epochs before.
      directory: where a run keeps that state and history; None where ``fit`` was called on its own.
    """

    directory: Path | None = None

    def __init__(self, step: int, state: TrainState, history: dict[str, np.ndarray]):
        epoch = len(history["epoch"]) + 1
        super().__init__(
            f"training diverged: expected a finite loss, found none after step {step} (epoch {epoch}); "
            f"the parameters after step {int(state.step)} are kept"
        )
        self.step, self.state, self.history = step, state, history


def fit(
    state: TrainState,
    train: Dataset,
    validation: Dataset | None,
    config: TrainConfig,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Fit:
    """Train for ``config.epochs`` epochs, or until the validation loss has not fallen for ``config.patience`` of them.

    Args:
      state: where to start; it is left as it is.
      train: the images to learn from, in a new order each epoch.
      validation: the images to choose the parameters by; without any, those of the last epoch are taken.
      config: its ``epochs``, ``batch_size``, ``shift`` and ``patience`` are used.
      on_epoch: told of each epoch when it is done.

    Raises:
      DivergedError: a loss is not finite.
    """
    if not len(train):
        raise InputError("train: expected images to learn from, found none")
    state, train, validation = _on_one_device(state, train, validation)
    history: list[Epoch] = []
    best, best_epoch, best_loss = state, 0, math.inf
    before = start = state
    for number in range(1, config.epochs + 1):
        before, start = start, state
        state, epoch = run_epoch(start, train, validation, config, number)
        if not math.isfinite(epoch.train_loss) or (validation is not None and not math.isfinite(epoch.val_loss)):
            raise _diverged(before, start, train, config, history)
        history.append(epoch)
        on_epoch(epoch)
        if validation is None or epoch.val_loss < best_loss:
            best, best_epoch, best_loss = state, number, epoch.val_loss
        elif config.patience and number - best_epoch >= config.patience:
            break
    if validation is None and not math.isfinite(evaluate(state, train, batch_size=config.batch_size).loss):
        raise _diverged(before, start, train, config, history[:-1])
    return Fit(best, as_arrays(history), best_epoch)


def _on_one_device(state: TrainState, train: Dataset, validation: Dataset | None):
    """Host arrays are transferred once, not each epoch; a state goes to where the data are, as what comes back does."""
    train, validation = jax.device_put((train, validation if validation is not None and len(validation) else None))
    images = jnp.asarray(train.images)
    if images.committed and len(images.devices()) == 1:
        state = jax.device_put(state, images.sharding)
    return state, train, validation


def run_epoch(
    state: TrainState, train: Dataset, validation: Dataset | None, config: TrainConfig, number: int
) -> tuple[TrainState, Epoch]:
    """One pass over the training images, then one over the validation images."""
    with stopwatch() as watch:
        state, losses = train_epoch(
            state, train, steps_per_epoch(train, config), batch_size=config.batch_size, max_shift=config.shift
        )
        val_loss = val_accuracy = math.nan
        if validation is not None:
            sums = jax.device_get(evaluate(state, validation, batch_size=config.batch_size))
            val_loss, val_accuracy = sums.loss / sums.count, sums.correct / sums.count
        losses = jax.device_get(losses)
    train_loss = np.average(losses, weights=_batch_counts(len(train), config.batch_size))
    return state, Epoch(number, float(train_loss), float(val_loss), float(val_accuracy), watch.seconds)


@partial(xla.jit, static_argnames=("stop", "batch_size", "max_shift"))
def train_epoch(
    state: TrainState, dataset: Dataset, stop: int, *, batch_size: int, max_shift: int
) -> tuple[TrainState, Float[Array, " steps"]]:
    """The first ``stop`` steps of the epoch that begins at ``state``, and the loss before each of them.

    ``stop`` is static, so that a loop of one step is no loop to XLA. The state is not donated: where an epoch diverges
    it is run again, up to the last good step.
    """
    order_key, shift_key = (jax.random.fold_in(key, state.step) for key in (state.keys.order, state.keys.shift))
    indices, mask = epoch_indices(order_key, len(dataset), min(batch_size, len(dataset)))

    def step(i, carry):
        state, losses = carry
        batch = take_batch(dataset, indices[i], mask[i])
        if max_shift:
            shifted = random_shift(jax.random.fold_in(shift_key, i), batch.images, max_shift)
            batch = batch.replace(images=shifted)
        state, loss = update(state, batch)
        return state, losses.at[i].set(loss.astype(jnp.float32))

    return lax.fori_loop(0, stop, step, (state, jnp.zeros(len(indices), jnp.float32)))


@partial(xla.jit, static_argnames="batch_size")
def evaluate(state: TrainState, dataset: Dataset, *, batch_size: int) -> BatchSums:
    """The sums of :func:`evaluate_batch` over all of a data set."""
    indices, mask = sequential_indices(len(dataset), min(batch_size, len(dataset)))
    sums = lax.map(lambda row: evaluate_batch(state, take_batch(dataset, *row)), (indices, mask))
    return jax.tree.map(jnp.sum, sums)


def steps_per_epoch(dataset: Dataset, config: TrainConfig) -> int:
    """⌈images / batch size⌉: the last batch may be padded, none is dropped."""
    return -(-len(dataset) // config.batch_size)


def as_arrays(history: list[Epoch]) -> dict[str, np.ndarray]:
    """One array a field of :class:`Epoch`."""
    columns = zip(*history, strict=True) if history else [()] * len(Epoch._fields)
    return {name: np.asarray(column) for name, column in zip(Epoch._fields, columns, strict=True)}


def _batch_counts(n: int, batch_size: int) -> list[int]:
    """Real examples in each batch of an epoch."""
    return [min(batch_size, n - start) for start in range(0, n, batch_size)]


def _diverged(before: TrainState, start: TrainState, train: Dataset, config: TrainConfig, history) -> DivergedError:
    """Run the epoch from ``start`` again, which gives the same numbers, to find where it went wrong.

    ``before`` is where the epoch before it began: needed when the loss was already not finite at ``start``.
    """
    steps = steps_per_epoch(train, config)
    run = partial(train_epoch, dataset=train, batch_size=config.batch_size, max_shift=config.shift)
    losses = np.asarray(run(start, stop=steps)[1])
    bad = int(np.argmax(~np.isfinite(losses))) if not np.isfinite(losses).all() else steps
    if bad:
        good, _ = run(start, stop=bad - 1)
    else:
        good = start if before is start else run(before, stop=steps - 1)[0]
    return DivergedError(int(start.step) + bad, good, as_arrays(history))
