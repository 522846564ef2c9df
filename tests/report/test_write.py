import base64
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxcnn import InputError
from jaxcnn.models import CNN
from jaxcnn.report import write_report
from jaxcnn.report.pictures import first_kernel
from jaxcnn.report.write import read_history
from jaxcnn.train import Run, TrainConfig, create_train_state
from jaxcnn.train.run import fingerprint, run_splits

NAMES = ["confusion", "filters", "learning_curves", "roc", "wrong"]
HEADER = "epoch,train_loss,val_loss,val_accuracy,seconds\n"


def drawn(run):
    return sorted(path.stem for path in (run.directory / "figures").iterdir())


def contents(run):
    paths = [run.directory / "index.html", *(run.directory / "figures").iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def trained_on(run, config, **model):
    """The same directory, with an untrained network for the images of another config."""
    splits = run_splits(config)
    dataset = splits.train
    num_outputs = 1 if dataset.num_classes == 2 else dataset.num_classes
    state = create_train_state(jax.random.key(0), CNN(num_outputs=num_outputs, **model), dataset.images)
    return Run(run.directory, config, dataset.class_names, dataset.image_shape, state, fingerprint(splits))


def test_figures_and_page_are_written(run):
    page = write_report(run)
    html = page.read_text("utf-8")
    assert page == run.directory / "index.html"
    assert drawn(run) == NAMES
    pngs = [path.read_bytes() for path in (run.directory / "figures").iterdir()]
    assert all(base64.b64encode(png).decode() in html for png in pngs)
    assert html.count("<img") == 5
    assert "ROC curves of 500 test images" in html


def test_written_again_it_is_the_same(run):
    write_report(run)
    first = contents(run)
    write_report(run)
    assert contents(run) == first


def test_a_run_that_diverged_at_once_has_a_page(run):
    (run.directory / "metrics.json").unlink()
    (run.directory / "history.csv").write_text(HEADER)
    html = write_report(run).read_text("utf-8")
    assert "Training diverged" in html
    assert drawn(run) == [name for name in NAMES if name != "learning_curves"]


def test_without_other_images_those_for_training_are_shown(run, metrics):
    del metrics["val"], metrics["test"]
    (run.directory / "metrics.json").write_text(json.dumps(metrics))
    (run.directory / "history.csv").write_text(HEADER + "1,2.3,nan,nan,0.1\n2,2.2,nan,nan,0.1\n")
    html = write_report(trained_on(run, TrainConfig(data="digits:3,8", validation=0.0, test=0.0))).read_text("utf-8")
    assert "ROC curves of 357 training images" in html
    assert drawn(run) == NAMES


def test_colour_images_and_any_class_names_can_be_reported(run, tmp_path):
    data = tmp_path / "colours.npz"
    images = np.random.default_rng(0).random((30, 8, 8, 3), np.float32)
    names = ["<script>", "$\\broken", "_x"]
    np.savez(data, images=images, labels=np.arange(30) % 3, class_names=names)
    html = write_report(trained_on(run, TrainConfig(data=str(data)))).read_text("utf-8")
    assert drawn(run) == NAMES
    assert "<script" not in html


def test_a_network_without_a_convolution_has_no_filters(run):
    write_report(trained_on(run, run.config, features=()))
    assert drawn(run) == [name for name in NAMES if name != "filters"]


def test_the_first_kernel_is_the_one_over_the_image():
    params = {"A": {"kernel": np.zeros((3, 3, 16, 8))}, "B": {"kernel": np.ones((3, 3, 1, 16)), "bias": np.zeros(16)}}
    np.testing.assert_array_equal(first_kernel(params, channels=1), np.ones((3, 3, 1, 16)))


def test_history_is_read_column_by_column(run):
    history = read_history(run.directory / "history.csv")
    np.testing.assert_array_equal(history["epoch"], [1, 2, 3])
    np.testing.assert_array_equal(history["val_accuracy"], [0.5, 0.75, 0.75])


@pytest.mark.parametrize(
    "text", ["", "a,b\n", HEADER + "1,2\n", HEADER + "1,x,1,1,1\n", HEADER + "1,2,3,4,5,6\n", "\xff"]
)
def test_a_damaged_history_is_named(run, text):
    (run.directory / "history.csv").write_text(text, "latin-1")
    with pytest.raises(InputError, match=r"history\.csv: expected a line epoch, train_loss, .* found [^\n]+$"):
        write_report(run)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_a_damaged_record_is_named(run, name):
    (run.directory / name).write_text('{"config": ')
    with pytest.raises(InputError, match=rf"{name}: expected JSON as jaxcnn writes it, found Expecting value"):
        write_report(run)


def test_who_only_trains_does_not_wait_for_matplotlib():
    heavy = "{'matplotlib', 'jinja2', 'sklearn'}"
    program = f"import sys, jaxcnn.report; sys.exit(str({heavy} & set(sys.modules) or '') or None)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
