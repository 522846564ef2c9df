import csv
import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxcnn import InputError
from jaxcnn.data import lab_images
from jaxcnn.train import (
    DivergedError,
    TrainConfig,
    classify,
    evaluate_run,
    lab_config,
    load_run,
    next_run_directory,
    train_run,
)

LAB = dataclasses.replace(lab_config(), epochs=6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_run(LAB, tmp_path_factory.mktemp("runs") / "lab")


@pytest.fixture
def wide(tmp_path):
    """The lab's images as a data set of another size."""
    lab = lab_images()
    np.savez(tmp_path / "wide.npz", images=np.tile(lab.images, (1, 1, 2, 1)), labels=lab.labels)
    return tmp_path / "wide.npz"


def test_the_directory_holds_all_of_the_run(run):
    names = {path.name for path in run.directory.iterdir()}
    assert names == {"config.json", "history.csv", "metrics.json", "checkpoints"}
    record = json.loads((run.directory / "config.json").read_text())
    assert record["config"] == json.loads(json.dumps(dataclasses.asdict(LAB)))
    assert record["class_names"] == ["dark", "bright"]
    assert record["key"] == {"impl": "threefry2x32", "data": [0, 0]}
    assert record["device"]["platform"] == jax.devices()[0].platform
    assert record["versions"]["jax"] == jax.__version__


def test_the_history_has_a_row_an_epoch(run):
    with (run.directory / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert set(rows[0]) == {"epoch", "train_loss", "val_loss", "val_accuracy", "seconds"}


def test_the_metrics_are_of_all_parts_and_of_inference(run):
    metrics = run.metrics()
    assert set(metrics) == {"train", "val", "test", "inference", "best_epoch"}
    assert list(metrics["test"]) == ["loss", "accuracy", "precision", "recall", "f1", "roc_auc"]
    assert {"latency_median", "latency_p95", "throughput_median", "throughput_p95", "compile"} < set(
        metrics["inference"]
    )


def test_a_loaded_run_is_the_run(run):
    loaded = load_run(run.directory)
    assert (loaded.config, loaded.class_names, loaded.image_shape) == (LAB, ("dark", "bright"), (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, loaded.state.params, run.state.params)


@pytest.mark.parametrize("batch_size", [None, 1, 7, 2000])
def test_evaluation_gives_the_runs_own_scores_at_any_batch_size(run, batch_size):
    for name, part in evaluate_run(run, batch_size=batch_size).items():
        for metric, value in part.items():
            assert value == pytest.approx(run.metrics()[name][metric], abs=1e-6), (name, metric)


def test_evaluation_on_other_data(run):
    scores = evaluate_run(run, "dark_vs_bright")
    assert 0.5 < scores["dark_vs_bright"]["accuracy"] <= 1


def test_classes_and_probabilities_of_images(run):
    images = np.asarray(lab_images().images)
    rows = classify(run, [str(i) for i in range(10)], list(images))
    assert [name for name, _, _ in rows] == [str(i) for i in range(10)]
    assert all(0.5 <= probability <= 1 for _, _, probability in rows)
    assert {kind for _, kind, _ in rows} <= {"dark", "bright"}


def test_images_of_another_size_are_refused(run, wide):
    message = r"expected images of 8×8×1 \(height × width × channels\), found 8×16×1"
    with pytest.raises(InputError, match=message):
        evaluate_run(run, str(wide))
    with pytest.raises(InputError, match="^photo.png: " + message):
        classify(run, ["photo.png"], [np.zeros((8, 16, 1), np.float32)])


def test_other_classes_are_refused(run):
    with pytest.raises(InputError, match="digits: expected the 2 classes dark, bright, found 10: 0, 1"):
        evaluate_run(run, "digits")


def test_a_run_is_not_overwritten_unless_asked(run):
    before = (run.directory / "metrics.json").read_text()
    with pytest.raises(FileExistsError, match="expected none yet, found one"):
        train_run(LAB, run.directory)
    assert (run.directory / "metrics.json").read_text() == before


def test_overwriting_replaces_a_run_and_nothing_else(tmp_path):
    old = tmp_path / "run"
    old.mkdir()
    (old / "config.json").write_text("{}")
    (old / "left over").write_text("")
    train_run(LAB, old, overwrite=True)
    assert not (old / "left over").exists()
    assert (old / "metrics.json").exists()


def test_a_directory_that_is_no_run_is_never_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"expected a run to overwrite, found no config.json in it"):
        train_run(LAB, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


BAD = {
    "unknown data": ({"data": "mnits"}, "found 'mnits'"),
    "a path that does not exist": ({"data": "no/such.npz"}, "such.npz"),
    "a device that is absent": ({"device": "tpu"}, r"device: expected one that is present \(cpu\), found 'tpu'"),
    "a network too deep": ({"features": (4, 4, 4, 4)}, "expected a model that fits images of 8×8×1"),
    "a shift as large as the image": ({"shift": 8}, "max_shift must be smaller than height and width, found 8"),
    "an empty class in a split": ({"data": "digits:3,8", "test": 0.999}, "validation and test must leave a part"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, changes, message):
    config = dataclasses.replace(TrainConfig(epochs=1), **changes)
    with pytest.raises((InputError, FileNotFoundError), match=message) as caught:
        train_run(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_class_too_small_for_a_split_is_named(tmp_path):
    images = np.random.default_rng(0).random((12, 8, 8), np.float32)
    np.savez(tmp_path / "few.npz", images=images, labels=np.array([0] * 10 + [1] * 2))
    with pytest.raises(InputError, match="class 1 has 2 images, 3 are needed"):
        train_run(TrainConfig(data=str(tmp_path / "few.npz"), epochs=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_diverged_run_keeps_its_history_and_the_last_good_parameters(tmp_path):
    config = dataclasses.replace(LAB, learning_rate=1e38)
    with pytest.raises(DivergedError, match="after step 1"):
        train_run(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.state.params["Conv_0"]["kernel"].shape == (3, 3, 1, 16)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.params))
    assert (tmp_path / "run" / "history.csv").read_text().startswith("epoch,train_loss")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ('{"config": {"epochs": 0}}', "epochs"),
        ('{"config": {"x": 1}}', "x"),
    ],
)
def test_a_broken_config_is_refused(run, tmp_path, content, reason):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=f"expected a config.json as jaxcnn writes it, found .*{reason}"):
        load_run(tmp_path)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a directory with a config.json, found none"):
        load_run(tmp_path / "nothing")


def test_a_run_is_given_the_first_free_number(tmp_path):
    assert next_run_directory(tmp_path, "lab").name == "lab-1"
    (tmp_path / "lab-1").mkdir()
    (tmp_path / "lab-3").mkdir()
    assert next_run_directory(tmp_path, "lab").name == "lab-2"
