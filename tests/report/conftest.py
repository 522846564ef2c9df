"""A run as it lies on disk, written by hand: nothing is trained."""

import json

import jax
import numpy as np
import pytest

from jaxcnn.models import CNN
from jaxcnn.train import Run, create_train_state, lab_config
from jaxcnn.train.run import fingerprint, run_splits

HISTORY = """epoch,train_loss,val_loss,val_accuracy,seconds
1,0.7,0.8,0.5,0.1
2,0.2,0.4,0.75,0.1
3,0.1,0.5,0.75,0.1
"""
PART = {"accuracy": 0.75, "f1": 0.5, "loss": 0.25, "precision": 1.0, "recall": 0.5, "roc_auc": 0.875}
METRICS = {
    "train": PART,
    "val": PART | {"loss": 0.5},
    "test": PART | {"accuracy": 0.984, "roc_auc": float("nan")},
    "inference": {
        "latency_median": 8.71e-5,
        "latency_p95": 1.2e-4,
        "throughput_batch_size": 64,
        "throughput_median": 12345.6,
        "throughput_p95": 9876.5,
        "compile": 0.41,
    },
    "best_epoch": 2,
}
RECORD = {
    "class_names": ["dark", "bright"],
    "image_shape": [8, 8, 1],
    "key": {"impl": "threefry2x32", "data": [0, 0]},
    "device": {"platform": "cpu", "kind": "cpu"},
    "versions": {"jaxcnn": "0.1.0", "jax": "0.10.2"},
}


@pytest.fixture
def record():
    return json.loads(json.dumps(RECORD))


@pytest.fixture
def metrics():
    return json.loads(json.dumps(METRICS))


@pytest.fixture(scope="session")
def state():
    """Untrained, but immutable: all tests can have the same."""
    return create_train_state(jax.random.key(0), CNN(), np.zeros((1, 8, 8, 1), np.float32))


@pytest.fixture
def run(tmp_path, record, metrics, state):
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "history.csv").write_text(HISTORY)
    return Run(tmp_path, lab_config(), ("dark", "bright"), (8, 8, 1), state, fingerprint(run_splits(lab_config())))
