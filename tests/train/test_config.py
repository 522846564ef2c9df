import dataclasses
import math

import pytest

from jaxcnn import InputError
from jaxcnn.train import TrainConfig, lab_config


def test_a_config_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_the_lab_is_the_tutorials():
    config = lab_config(seed=3)
    assert (config.data, config.features, config.epochs, config.batch_size, config.seed) == ("lab", (16,), 100, 10, 3)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epochs", 0, "a positive integer"),
        ("epochs", -1, "a positive integer"),
        ("epochs", 1.5, "a positive integer"),
        ("epochs", True, "a positive integer"),
        ("batch_size", 0, "a positive integer"),
        ("batch_size", -8, "a positive integer"),
        ("learning_rate", 0.0, "a positive number"),
        ("learning_rate", -1e-3, "a positive number"),
        ("learning_rate", math.nan, "a positive number"),
        ("learning_rate", math.inf, "a positive number"),
        ("shift", -1, "an integer of at least 0"),
        ("patience", -1, "an integer of at least 0"),
        ("seed", -1, "an integer from 0 to 4294967295"),
        ("seed", 2**32, "an integer from 0 to 4294967295"),
        ("dropout", 1.0, r"a number in \[0, 1\)"),
        ("validation", -0.1, r"a number in \[0, 1\)"),
        ("test", math.nan, r"a number in \[0, 1\)"),
        ("features", (16, 0), "a tuple of positive integers"),
        ("features", 16, "a tuple of positive integers"),
        ("features", [16], "a tuple of positive integers"),
        ("learning_rate", "fast", "a positive number"),
        ("data", 7, "a name or a path"),
        ("seed", True, "an integer from 0 to 4294967295"),
        ("hidden", (-1,), "a tuple of positive integers"),
        ("model", "vit", "one of cnn"),
        ("schedule", "linear", "one of cosine, constant"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, expected):
    with pytest.raises(InputError, match=f"^{field}: expected {expected}, found "):
        TrainConfig(**{field: value})
