"""What decides a run, in one immutable value."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxcnn.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on; the same config gives the same parameters, bit for bit.

    Attributes:
      data: A data set's name (lab, digits, digits:3,8, dark_vs_bright, oriented_bars, shifted_blobs) or an .npz file.
      model: The network.
      features: Channels of each stage's convolution.
      hidden: Features of the dense layers between the last stage and the logits.
      dropout: Share of the flattened features that training sets to zero.
      epochs: Passes over the training images, at most.
      batch_size: Images a step; the last batch of an epoch is padded and masked.
      learning_rate: Adam's step size at the start.
      schedule: How the step size goes on: cosine falls to zero over all epochs, constant stays.
      shift: Training images are moved by up to this many pixels each way, anew each epoch.
      patience: Stop after this many epochs without a lower validation loss; 0 never stops early.
      validation: Share of each class that the parameters are chosen on. (The lab has its own parts.)
      test: Share of each class that is only looked at in the end. (The lab has its own parts.)
      seed: The PRNG key that splits, initial parameters, order and augmentation come from.
      device: cpu, gpu or tpu; the platform that JAX prefers if not given.
    """

    data: str = "digits"
    model: Literal["cnn"] = "cnn"
    features: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.3
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    shift: int = 1
    patience: int = 0
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    device: str | None = None

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            _expect(name, getattr(self, name), "a positive integer", _is_integer_from(1))
        for name in ("shift", "patience"):
            _expect(name, getattr(self, name), "an integer of at least 0", _is_integer_from(0))
        _expect("data", self.data, "a name or a path", lambda v: isinstance(v, str))
        seeds = range(2**32)
        _expect("seed", self.seed, "an integer from 0 to 4294967295", lambda v: _is_integer_from(0)(v) and v in seeds)
        for name in ("features", "hidden"):
            _expect(name, getattr(self, name), "a tuple of positive integers", _are_positive)
        _expect("learning_rate", self.learning_rate, "a positive number", lambda v: 0 < v < math.inf)
        for name in ("dropout", "validation", "test"):
            _expect(name, getattr(self, name), "a number in [0, 1)", lambda v: 0 <= v < 1)
        for name, choices in (("model", ("cnn",)), ("schedule", ("cosine", "constant"))):
            _expect(name, getattr(self, name), f"one of {', '.join(choices)}", choices.__contains__)


def lab_config(seed: int = 0, device: str | None = None) -> TrainConfig:
    """The tutorial's run: its network, ten images in one batch, 100 epochs of Adam."""
    return TrainConfig(
        data="lab",
        features=(16,),
        hidden=(),
        dropout=0.0,
        epochs=100,
        batch_size=10,
        learning_rate=0.01,
        schedule="constant",
        shift=0,
        seed=seed,
        device=device,
    )


def _is_integer_from(least: int):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are_positive(values) -> bool:
    return isinstance(values, tuple) and all(map(_is_integer_from(1), values))


def _expect(name: str, value, expected: str, holds) -> None:
    try:
        fits = holds(value)
    except TypeError:  # not of a type that has an order, or items
        fits = False
    if not fits:
        raise InputError(f"{name}: expected {expected}, found {value!r}")
