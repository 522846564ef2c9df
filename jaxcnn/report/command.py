"""The command that repeats a run."""

import dataclasses
import shlex

from jaxcnn.train import TrainConfig, lab_config


def command(config: TrainConfig) -> str:
    """What to type, with a flag for each value that is not the default.

    >>> command(TrainConfig(data="digits:3,8", epochs=5, features=(8, 16)))
    'jaxcnn train --data digits:3,8 --features 8 16 --epochs 5'
    >>> command(lab_config(seed=1))
    'jaxcnn lab --seed 1'
    """
    if config == lab_config(config.seed, config.device):
        return shlex.join(["jaxcnn", "lab", *_flags(config, lab_config())])
    return shlex.join(["jaxcnn", "train", *_flags(config, TrainConfig())])


def _flags(config: TrainConfig, default: TrainConfig) -> list[str]:
    flags = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name):
            values = value if isinstance(value, tuple) else (value,)
            flags += ["--" + field.name.replace("_", "-"), *map(str, values)]
    return flags
