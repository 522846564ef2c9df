import csv
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from jaxcnn import InputError
from jaxcnn.data import Dataset, lab_images
from jaxcnn.models import CNN
from jaxcnn.train import (
    DivergedError,
    TrainConfig,
    classify,
    create_train_state,
    evaluate_run,
    lab_config,
    load_run,
    score,
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
    assert list(scores) == ["dark_vs_bright"]
    assert scores["dark_vs_bright"].keys() == run.metrics()["test"].keys()
    assert scores["dark_vs_bright"] != run.metrics()["test"]


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


def test_overwriting_replaces_a_runs_files_and_nothing_else(run, tmp_path):
    old = shutil.copytree(run.directory, tmp_path / "run")
    (old / "notes.txt").write_text("what I thought of it")
    (old / "figures").mkdir()
    (old / "figures" / "old.png").touch()
    train_run(dataclasses.replace(LAB, epochs=2), old, overwrite=True)
    assert (old / "notes.txt").read_text() == "what I thought of it"
    assert not (old / "figures").exists()
    assert load_run(old).config.epochs == 2


def test_a_run_comes_back_when_its_successor_fails_before_its_checkpoint(run, tmp_path):
    old = shutil.copytree(run.directory, tmp_path / "run")
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}

    def interrupt(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(LAB, old, overwrite=True, on_epoch=interrupt)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_config_of_another_program_is_no_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "bert"}')
    with pytest.raises(InputError, match=r"expected a run to overwrite, found no config.json of one in it"):
        train_run(LAB, tmp_path, overwrite=True)
    assert (tmp_path / "config.json").read_text() == '{"model": "bert"}'


def test_a_directory_that_is_no_run_is_never_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"expected a run to overwrite, found no config.json of one in it"):
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
    ("changes", "reason"),
    [
        (None, "no JSON object with config, class_names and versions"),
        ({"config": {"epochs": 0}}, "epochs: expected a positive integer"),
        ({"config": {"x": 1}}, "unexpected keyword argument 'x'"),
        ({"class_names": []}, r"class_names \[\]"),
        ({"class_names": [1, 2]}, r"class_names \[1, 2\]"),
        ({"image_shape": [8, 8, 0]}, r"image_shape \[8, 8, 0\]"),
        ({"image_shape": [1, 1, 1]}, "window spans 2 elements"),
    ],
)
def test_a_broken_config_is_refused(run, tmp_path, changes, reason):
    record = json.loads((run.directory / "config.json").read_text())
    (tmp_path / "config.json").write_text("[]" if changes is None else json.dumps(record | changes))
    with pytest.raises(InputError, match=f"expected a config.json as jaxcnn writes it, found .*{reason}"):
        load_run(tmp_path)


def test_another_networks_config_does_not_fit_the_checkpoint(run, tmp_path):
    copy = shutil.copytree(run.directory, tmp_path / "run")
    record = json.loads((copy / "config.json").read_text())
    record["config"]["features"] = [8]
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"expected the arrays .*\[3, 3, 1, 8\].*, found .*\[3, 3, 1, 16\]"):
        load_run(copy)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a directory with a config.json, found none"):
        load_run(tmp_path / "nothing")


def test_a_numbered_run_takes_the_first_free_number(tmp_path):
    (tmp_path / "lab-1").mkdir()
    (tmp_path / "lab-3").mkdir()
    runs = [train_run(dataclasses.replace(LAB, epochs=1), tmp_path / "lab", numbered=True) for _ in range(2)]
    assert [run.directory.name for run in runs] == ["lab-2", "lab-4"]


@pytest.fixture
def own(tmp_path):
    """A run on a user's file, and the file."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", images=rng.random((40, 8, 8), np.float32), labels=np.arange(40) % 2)
    run = train_run(TrainConfig(data=str(tmp_path / "own.npz"), epochs=1, features=(4,)), tmp_path / "run")
    return run, tmp_path / "own.npz"


def test_a_runs_own_scores_are_refused_when_its_data_have_changed(own):
    run, path = own
    images = np.load(path)["images"]
    assert evaluate_run(load_run(run.directory))["test"] == pytest.approx(run.metrics()["test"])
    np.savez(path, images=images, labels=(np.arange(40) + 1) % 2)
    with pytest.raises(InputError, match=r"own.npz: expected the data that .* was trained on \(SHA-256 .*found others"):
        evaluate_run(load_run(run.directory))


def test_classes_of_the_same_number_in_another_order_are_refused(own):
    run, path = own
    images, labels = (np.load(path)[name] for name in ("images", "labels"))
    np.savez(path, images=images, labels=labels, class_names=["1", "0"])
    with pytest.raises(InputError, match="expected the 2 classes 0, 1, found 2: 1, 0"):
        evaluate_run(run, str(path))


def test_a_batch_larger_than_the_data_is_all_of_them(tmp_path):
    run = train_run(dataclasses.replace(LAB, epochs=1, batch_size=10**9), tmp_path / "run")
    assert run.state.step == 1


def test_patience_without_validation_images_is_refused(tmp_path):
    config = TrainConfig(data="digits:3,8", validation=0.0, patience=3)
    with pytest.raises(InputError, match="patience: expected validation images"):
        train_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_scores_of_saturated_predictions_are_still_ranked():
    """Probabilities that round to 1 are ties; their log-odds are not."""
    state = create_train_state(jax.random.key(0), CNN(()), np.zeros((1, 1, 1, 1), np.float32))
    params = jax.tree.map(lambda leaf: jax.numpy.ones_like(leaf), state.params)
    logits = np.array([20.0, 30.0, 25.0, 40.0], np.float32)
    dataset = Dataset(logits.reshape(4, 1, 1, 1), np.array([0, 1, 0, 1], np.int32), ("a", "b"))
    assert score(state.replace(params=params), dataset, batch_size=4)["roc_auc"] == 1
