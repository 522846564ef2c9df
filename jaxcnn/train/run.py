"""A run: from a config to a directory that holds all of it (:mod:`jaxcnn.train.directory`), and back."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp

from jaxcnn.data import Dataset, Splits, lab_splits, load, split
from jaxcnn.errors import InputError
from jaxcnn.models import CNN
from jaxcnn.train.checkpoint import restore_checkpoint, save_checkpoint
from jaxcnn.train.config import TrainConfig
from jaxcnn.train.device import select_device
from jaxcnn.train.directory import (
    history_writer,
    make_numbered_directory,
    make_run_directory,
    read_config,
    replacing_run,
    write_json,
)
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
      data_sha256: the fingerprint of its data.
    """

    directory: Path
    config: TrainConfig
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    state: TrainState
    data_sha256: str

    def splits(self) -> Splits:
        """The images it was trained, chosen and tested on, made again from its config.

        Raises:
          InputError: the data are not what they were.
          FileNotFoundError: they are not there any more.
        """
        splits = run_splits(self.config)
        if (found := fingerprint(splits)) != self.data_sha256:
            raise InputError(
                f"{self.config.data}: expected the data that {self.directory} was trained on "
                f"(SHA-256 {self.data_sha256}), found others ({found})"
            )
        return splits

    def metrics(self) -> dict:
        """What its metrics.json holds."""
        return json.loads((self.directory / "metrics.json").read_text())


def train_run(
    config: TrainConfig,
    directory: Path,
    *,
    overwrite: bool = False,
    numbered: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    """Train a network as ``config`` says and keep everything about it in ``directory``.

    Args:
      config: what to do.
      directory: must not exist, unless ``overwrite``.
      overwrite: whether a run that is there may be replaced; nothing but a run's own files ever is.
      numbered: add the first free number to the directory's name.
      on_epoch: told of each epoch when it is done.

    Raises:
      InputError: the data or the device cannot be used; nothing is written.
      FileExistsError: the directory exists.
      DivergedError: a loss is not finite; the last good parameters and the history are kept.
    """
    device = select_device(config.device)
    config = _with_full_path(config)
    splits = jax.device_put(run_splits(config), device)
    state = jax.device_put(_checked_state(config, splits), device)
    directory = make_numbered_directory(directory) if numbered else make_run_directory(directory, overwrite=overwrite)
    record = describe(config, splits, device)
    with replacing_run(directory):
        state, best_epoch = _fit_and_save(state, splits, config, directory, record, on_epoch)
    train = splits.train
    run = Run(directory, config, train.class_names, train.image_shape, state, record["data_sha256"])
    write_json(directory / "metrics.json", measure_run(run, splits) | {"best_epoch": best_epoch})
    return run


def _fit_and_save(
    state: TrainState, splits: Splits, config: TrainConfig, directory: Path, record: dict, on_epoch
) -> tuple[TrainState, int]:
    """The part of a run that leaves config.json, history.csv and checkpoints."""
    write_json(directory / "config.json", record)
    with history_writer(directory / "history.csv") as write:

        def record_epoch(epoch: Epoch) -> None:
            write(epoch)
            on_epoch(epoch)

        try:
            result = fit(state, splits.train, splits.validation, config, record_epoch)
        except DivergedError as error:
            save_checkpoint(directory / "checkpoints", {"params": error.state.params})
            error.directory = directory
            raise
    save_checkpoint(directory / "checkpoints", {"params": result.state.params})
    return result.state, result.best_epoch


def load_run(directory: Path, device: str | None = None) -> Run:
    """The run that is kept in ``directory``.

    Raises:
      FileNotFoundError: there is no run.
      InputError: it is damaged, or the device is absent.
    """
    if not (directory / "config.json").is_file():
        raise FileNotFoundError(f"run {directory}: expected a directory with a config.json, found none")
    target = select_device(device)
    record = read_config(directory)
    try:
        if record is None:
            raise ValueError("no JSON object with config, class_names and versions")
        config = _config_of(record["config"])
        class_names, image_shape = _names(record["class_names"]), _shape(record["image_shape"])
        template = Dataset(jnp.zeros((1, *image_shape)), jnp.zeros(1, jnp.int32), class_names)
        state = jax.device_put(initial_state(config, template), target)
        sha256 = str(record["data_sha256"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"run {directory}: expected a config.json as jaxcnn writes it, found {error}") from error
    restored = restore_checkpoint(directory / "checkpoints", {"params": state.params}, target)
    return Run(directory, config, class_names, image_shape, state.replace(params=restored["params"]), sha256)


def _names(value) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(name, str) for name in value):
        raise ValueError(f"class_names {value!r}")
    return tuple(value)


def _shape(value) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(size, int) and size > 0 for size in value):
        raise ValueError(f"image_shape {value!r}")
    return value[0], value[1], value[2]


def _config_of(fields: dict[str, Any]) -> TrainConfig:
    """JSON has lists where a config has tuples."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return TrainConfig(**values)


def _with_full_path(config: TrainConfig) -> TrainConfig:
    """A file is found again from any other directory."""
    path = Path(config.data)
    return dataclasses.replace(config, data=str(path.resolve())) if path.suffix == ".npz" else config


class RunKeys(NamedTuple):
    """The independent keys that a seed stands for."""

    data: jax.Array
    split: jax.Array
    state: jax.Array
    evaluation: jax.Array


def run_keys(seed: int) -> RunKeys:
    """The seed's key, split once."""
    return RunKeys(*jax.random.split(jax.random.key(seed), len(RunKeys._fields)))


def run_splits(config: TrainConfig) -> Splits:
    """The three parts of a config's data; the lab's are what they are (:func:`jaxcnn.data.lab_splits`)."""
    keys = run_keys(config.seed)
    if config.data == "lab":
        return lab_splits(keys.data)
    dataset = load(config.data, key=keys.data)
    return split(keys.split, dataset, validation=config.validation, test=config.test)


def fingerprint(splits: Splits) -> str:
    """SHA-256 of all pixels, labels and class names, in their order."""
    digest = hashlib.sha256()
    for part in jax.device_get(splits):
        digest.update(repr((part.images.shape, part.class_names)).encode())
        digest.update(np.asarray(part.images).tobytes())
        digest.update(np.asarray(part.labels).tobytes())
    return digest.hexdigest()


def measure_run(run: Run, splits: Splits) -> dict:
    """Scores on each part of the data, and the cost of a prediction."""
    inference = summarize_inference(inference_timings(run.state, run.image_shape))
    return score_parts(run.state, named_parts(splits), batch_size=run.config.batch_size) | {"inference": inference}


def named_parts(splits: Splits) -> dict[str, Dataset]:
    """The parts under the names of metrics.json."""
    return {"train": splits.train, "val": splits.validation, "test": splits.test}


def describe(config: TrainConfig, splits: Splits, sharding: jax.sharding.Sharding) -> dict:
    """What config.json holds."""
    key = jax.random.key(config.seed)
    (device,) = sharding.device_set
    return {
        "config": dataclasses.asdict(config),
        "class_names": list(splits.train.class_names),
        "image_shape": list(splits.train.image_shape),
        "data_sha256": fingerprint(splits),
        "key": {"impl": str(jax.random.key_impl(key)), "data": jax.random.key_data(key).tolist()},
        "device": {"platform": device.platform, "kind": device.device_kind},
        "versions": {name: version(name) for name in PACKAGES},
    }


def initial_state(config: TrainConfig, dataset: Dataset) -> TrainState:
    """The state that a run on ``dataset`` starts from: the config's network and Adam on its schedule."""
    num_outputs = 1 if dataset.num_classes == 2 else dataset.num_classes
    model = _model(config.features, num_outputs, config.hidden, config.dropout)
    steps = min(config.epochs * steps_per_epoch(dataset, config), 2**31 - 1)  # Optax counts them in an int32
    return create_train_state(
        run_keys(config.seed).state, model, dataset.images, _optimizer(config.learning_rate, config.schedule, steps)
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


def _checked_state(config: TrainConfig, splits: Splits) -> TrainState:
    """The initial state, after an epoch was traced: what does not fit together is told before anything is written."""
    if config.patience and not len(splits.validation):
        raise InputError(
            f"patience: expected validation images to be patient with, found validation={config.validation}"
        )
    steps = partial(train_epoch, stop=1, batch_size=config.batch_size, max_shift=config.shift)
    try:
        state = initial_state(config, splits.train)
        jax.eval_shape(steps, state, splits.train)
    except InputError:
        raise
    except ValueError as error:  # a shape, from jaxcnn.ops.geometry
        shape = "×".join(map(str, splits.train.image_shape))
        raise InputError(f"expected a model that fits images of {shape}, found that its {error}") from error
    return state
