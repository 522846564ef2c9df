"""A run: from a config to a directory that holds all of it, and back.

config.json    the config, the model's input and output, key, device and versions
history.csv    a row an epoch, written as it happens
checkpoints/   the parameters that were chosen
metrics.json   scores on the three parts of the data, and what a prediction costs
"""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import optax
from jax import numpy as jnp

from jaxcnn.data import Dataset, Splits, lab_splits, load, split
from jaxcnn.errors import InputError
from jaxcnn.models import CNN
from jaxcnn.train.checkpoint import restore_checkpoint, save_checkpoint
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.device import select_device
from jaxcnn.train.evaluate import inference_timings, score_parts, summarize_inference
from jaxcnn.train.loop import DivergedError, Epoch, fit, steps_per_epoch, train_epoch
from jaxcnn.train.state import TrainState, create_train_state

PACKAGES = ("jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True)
class Run:
    """A trained network with all that is needed to use it.

    Attributes:
      directory: where it is kept.
      config: what it was trained with.
      class_names: names of the outputs.
      image_shape: height, width and channels of the images it takes.
      state: its parameters.
    """

    directory: Path
    config: TrainConfig
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    state: TrainState

    def splits(self) -> Splits:
        """The images it was trained, chosen and tested on, made again from its config."""
        return run_splits(self.config)

    def metrics(self) -> dict:
        """What its metrics.json holds."""
        return json.loads((self.directory / "metrics.json").read_text())


def train_run(
    config: TrainConfig,
    directory: Path,
    *,
    overwrite: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    """Train a network as ``config`` says and keep everything about it in ``directory``.

    Args:
      config: what to do.
      directory: must not exist, unless ``overwrite``.
      overwrite: whether a run that is there may be replaced; nothing but a run ever is.
      on_epoch: told of each epoch when it is done.

    Raises:
      InputError: the data or the device cannot be used; nothing is written.
      FileExistsError: the directory exists.
      DivergedError: a loss is not finite; the last good parameters and the history are kept.
    """
    device = select_device(config.device)
    splits = jax.device_put(run_splits(config), device)
    state = jax.device_put(_checked_state(config, splits.train), device)
    make_run_directory(directory, overwrite=overwrite)
    _write_json(directory / "config.json", describe(config, splits.train, device))
    run = Run(directory, config, splits.train.class_names, splits.train.image_shape, state)
    with _history_writer(directory / "history.csv") as write:

        def record_epoch(epoch: Epoch) -> None:
            write(epoch)
            on_epoch(epoch)

        try:
            result = fit(state, splits.train, splits.validation, config, record_epoch)
        except DivergedError as error:
            save_checkpoint(directory / "checkpoints", {"params": error.state.params})
            raise
    save_checkpoint(directory / "checkpoints", {"params": result.state.params})
    run = dataclasses.replace(run, state=result.state)
    _write_json(directory / "metrics.json", measure_run(run, splits) | {"best_epoch": result.best_epoch})
    return run


def load_run(directory: Path, device: str | None = None) -> Run:
    """The run that is kept in ``directory``.

    Raises:
      FileNotFoundError: there is no run.
      InputError: it is damaged, or the device is absent.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"run {directory}: expected a directory with a config.json, found none")
    target = select_device(device)
    try:
        record = json.loads(path.read_text())
        config = _config_of(record["config"])
        class_names, image_shape = tuple(record["class_names"]), tuple(record["image_shape"])
        template = Dataset(jnp.zeros((1, *image_shape)), jnp.zeros(1, jnp.int32), class_names)
        state = jax.device_put(initial_state(config, template), target)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"run {directory}: expected a config.json as jaxcnn writes it, found {reason}") from error
    restored = restore_checkpoint(directory / "checkpoints", {"params": state.params}, target)
    return Run(directory, config, class_names, image_shape, state.replace(params=restored["params"]))


def _config_of(fields: dict[str, Any]) -> TrainConfig:
    """JSON has lists where a config has tuples."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return TrainConfig(**values)


def run_splits(config: TrainConfig) -> Splits:
    """The three parts of a config's data."""
    data_key, _ = jax.random.split(jax.random.key(config.seed))
    load_key, split_key = jax.random.split(data_key)
    if config.data == "lab":
        return lab_splits(load_key)
    dataset = load(config.data, key=load_key)
    return split(split_key, dataset, validation=config.validation, test=config.test)


def measure_run(run: Run, splits: Splits) -> dict:
    """Scores on each part of the data, and the cost of a prediction."""
    inference = summarize_inference(inference_timings(run.state, run.image_shape))
    return score_parts(run.state, named_parts(splits), batch_size=run.config.batch_size) | {"inference": inference}


def named_parts(splits: Splits) -> dict[str, Dataset]:
    """The parts under the names of metrics.json."""
    return {"train": splits.train, "val": splits.validation, "test": splits.test}


def make_run_directory(directory: Path, *, overwrite: bool) -> None:
    """Create it; what is there already is removed if that was asked for and it is a run."""
    if directory.exists():
        if not overwrite:
            raise FileExistsError(
                f"run directory {directory}: expected none yet, found one (use another, or --overwrite)"
            )
        if not (directory / "config.json").is_file():
            raise InputError(f"run directory {directory}: expected a run to overwrite, found no config.json in it")
        shutil.rmtree(directory)
    directory.mkdir(parents=True)


def next_run_directory(parent: Path, name: str) -> Path:
    """``parent/name-1``, or the first number after it that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def describe(config: TrainConfig, dataset: Dataset, sharding: jax.sharding.Sharding) -> dict:
    """What config.json holds."""
    key = jax.random.key(config.seed)
    (device,) = sharding.device_set
    return {
        "config": dataclasses.asdict(config),
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "key": {"impl": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
        "device": {"platform": device.platform, "kind": device.device_kind},
        "versions": {name: version(name) for name in PACKAGES},
    }


def initial_state(config: TrainConfig, dataset: Dataset) -> TrainState:
    """The state that a run on ``dataset`` starts from: the config's network and Adam on its schedule."""
    _, state_key = jax.random.split(jax.random.key(config.seed))
    num_outputs = 1 if dataset.num_classes == 2 else dataset.num_classes
    model = _model(config.features, num_outputs, config.hidden, config.dropout)
    steps = config.epochs * steps_per_epoch(dataset, config)
    return create_train_state(
        state_key, model, dataset.images, _optimizer(config.learning_rate, config.schedule, steps)
    )


# A state carries its network and its optimizer as static values, which JAX tells apart by identity: with the same
# objects for the same config, runs that differ in their key only share one compiled program.
@cache
def _model(features: tuple[int, ...], num_outputs: int, hidden: tuple[int, ...], dropout: float) -> CNN:
    return CNN(features, num_outputs, hidden=hidden, dropout=dropout)


@cache
def _optimizer(learning_rate: float, schedule: str, steps: int) -> optax.GradientTransformation:
    cosine = schedule == "cosine"
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps) if cosine else learning_rate)


def _checked_state(config: TrainConfig, dataset: Dataset) -> TrainState:
    """The initial state, after an epoch was traced: what does not fit together is told before anything is written."""
    epoch = partial(train_epoch, stop=1, batch_size=config.batch_size, max_shift=config.shift)
    try:
        state = initial_state(config, dataset)
        jax.eval_shape(epoch, state, dataset)
    except InputError:
        raise
    except ValueError as error:  # a shape, from jaxcnn.ops.geometry
        shape = "×".join(map(str, dataset.image_shape))
        raise InputError(f"expected a model that fits images of {shape}, found that its {error}") from error
    return state


@contextmanager
def _history_writer(path: Path) -> Iterator[Callable[[Epoch], None]]:
    """Rows reach the disk one by one, so that a run that is cut short leaves what it did."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Epoch._fields)

        def write(epoch: Epoch) -> None:
            writer.writerow(epoch)
            file.flush()

        yield write


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
