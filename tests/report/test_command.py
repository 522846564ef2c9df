import shlex
from typing import Annotated

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.report.command import command
from jaxcnn.train import TrainConfig, lab_config

SIZES = st.lists(st.integers(1, 512), max_size=3).map(tuple)
CONFIGS = st.builds(
    TrainConfig,
    data=st.sampled_from(["digits", "digits:3,8", "my data/it's.npz", "$HOME;rm.npz", "lab"]),
    features=SIZES,
    hidden=SIZES,
    dropout=st.floats(0, 0.99),
    epochs=st.integers(1, 10**6),
    learning_rate=st.floats(1e-8, 1e8),
    schedule=st.sampled_from(["cosine", "constant"]),
    seed=st.integers(0, 2**31),
    device=st.sampled_from([None, "cpu", "gpu"]),
)


@given(CONFIGS)
def test_the_command_gives_the_config_again(config):
    program, name, *flags = shlex.split(command(config))
    assert (program, name) == ("jaxcnn", "train")
    assert tyro.cli(Annotated[TrainConfig, tyro.conf.arg(name="")], args=flags) == config


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TrainConfig(), "jaxcnn train"),
        (TrainConfig(hidden=(), seed=3), "jaxcnn train --hidden --seed 3"),
        (lab_config(), "jaxcnn lab"),
        (lab_config(2, "cpu"), "jaxcnn lab --seed 2 --device cpu"),
    ],
)
def test_only_what_is_not_the_default_is_said(config, expected):
    assert command(config) == expected
