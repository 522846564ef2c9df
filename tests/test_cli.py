import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from jaxcnn import cli
from jaxcnn.data import lab_images
from jaxcnn.selfcheck import Case

USER_CODE = """
import jax
from jax import numpy as jnp

number = 3


def norm(x, scale):
    return scale * jnp.sum(x**2)


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (1.01 * g * jnp.cos(x),))


def layer(x, kernel):
    from jaxcnn import conv2d

    return jnp.sum(conv2d(x, kernel))
"""
SMALL = ["--epochs", "2", "--features", "4", "--hidden", "--batch-size", "256"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def user_code(tmp_path, monkeypatch):
    """Modules of a user's, in the current folder: their_ops, in a package, and their_broken, which raises."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "their").mkdir()
    (tmp_path / "their" / "ops.py").write_text(USER_CODE)
    (tmp_path / "their_broken.py").write_text("raise RuntimeError('no\\nlicence')")
    (tmp_path / "their_needs.py").write_text("import not_there")
    yield
    for name in [name for name in sys.modules if name.startswith("their")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A run of the lab, and what it printed."""
    folder = tmp_path_factory.mktemp("lab")
    result = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "lab"], cwd=folder, capture_output=True, text=True, check=True
    )
    return folder / "runs" / "lab-1", result


def run(capsys, *arguments):
    """Exit status, stdout, stderr."""
    status = 0
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def test_the_lab_prints_what_the_tutorial_promises(lab):
    directory, result = lab
    losses = re.findall(r"^Epoch: (\d+), Loss: ([\d.]+)$", result.stdout, re.MULTILINE)
    assert [epoch for epoch, _ in losses] == ["20", "40", "60", "80", "100"]
    assert float(losses[-1][1]) < 0.01
    assert re.search(r"^Accuracy: 1\.0$", result.stdout, re.MULTILINE)
    assert result.stderr == ""
    assert {"config.json", "history.csv", "metrics.json", "checkpoints", "figures", "index.html"} == {
        path.name for path in directory.iterdir()
    }


def test_evaluate_gives_the_metrics_of_the_run(lab, capsys):
    status, out, _ = run(capsys, "evaluate", lab[0], "--json", "--batch-size", 7)
    assert status == 0
    metrics = json.loads((lab[0] / "metrics.json").read_text())
    for part, scores in json.loads(out).items():
        assert scores == pytest.approx(metrics[part], abs=1e-6)


def test_evaluate_on_other_data_prints_a_table(lab, capsys):
    status, out, _ = run(capsys, "evaluate", lab[0], "--data", "dark_vs_bright")
    assert status == 0
    assert "dark_vs_bright" in out
    assert "roc_auc" in out


def test_predict_names_the_class_of_pictures_and_archives(lab, capsys, tmp_path):
    images = np.asarray(lab_images().images)
    Image.fromarray((255 * images[0, :, :, 0]).astype(np.uint8)).save(tmp_path / "night.png")
    np.savez(tmp_path / "two.npz", images=images[[0, 9]])
    status, out, _ = run(capsys, "predict", lab[0], "night.png", "two.npz")
    assert status == 0
    assert re.findall(r"(night\.png|two\.npz\[\d\])\s+│\s+(\w+)", out) == [
        ("night.png", "dark"),
        ("two.npz[0]", "dark"),
        ("two.npz[1]", "bright"),
    ]


def test_train_keeps_a_run_and_shows_its_summary(capsys, tmp_path):
    status, out, err = run(capsys, "train", "--data", "digits:3,8", *SMALL)
    assert (status, err) == (0, "")
    assert (tmp_path / "runs" / "digits-38-1" / "index.html").exists()
    assert re.search(r"% of the test images right; train loss .* validation loss .*: a gap of", out)


def test_every_field_of_the_config_is_a_flag(capsys):
    status, out, _ = run(capsys, "train", "--help")
    assert status == 0
    flags = set(re.findall(r"--[a-z-]+", out))
    fields = {"--" + name.replace("_", "-") for name in cli.training.TrainConfig.__dataclass_fields__}
    assert fields | {"--run-dir", "--overwrite"} <= flags


def test_check_tells_of_each_of_its_cases(capsys, monkeypatch):
    monkeypatch.setattr(cli.selfcheck, "cases", lambda key: [Case("sine", jnp.sin, (jnp.ones((2, 3)),))])
    status, out, err = run(capsys, "check")
    assert (status, err) == (0, "")
    assert re.search(r"sine +│ +2×3 │ +ok │", out)
    assert out.endswith("1 of 1 are right\n")


def test_check_shows_the_reports_of_what_is_wrong_and_exits_with_1(capsys, monkeypatch):
    wrong = jax.custom_vjp(jnp.sin)
    wrong.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (1.01 * g * jnp.cos(x),))
    cases = [Case("right", jnp.sin, (jnp.ones(2),)), Case("planted", wrong, (jnp.ones(2),))]
    monkeypatch.setattr(cli.selfcheck, "cases", lambda key: cases)
    status, out, err = run(capsys, "check", "--seed", 5)
    assert (status, err) == (1, "")
    assert "planted: 1 of 1 gradients are wrong (values in float64, seed=5)" in out
    assert "right: " not in out
    assert out.endswith("1 of 2 are right\n")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_check_reads_a_function_of_the_users(user_code, capsys, dtype):
    arguments = ["their.ops:norm", "--shapes", "2,3", "scalar", "--order", 2, "--seed", 7, "--dtype", dtype]
    status, out, err = run(capsys, "check", *arguments)
    assert (status, err) == (0, "")
    assert out.startswith("gradients agree (values in float64, seed=7)\n")
    assert re.findall(r"ok +(\w+) (\(.*?\))", out) == [("x", "(2, 3)"), ("scale", "()")] * 2


def test_check_finds_the_error_of_a_users_function(user_code, capsys):
    status, out, err = run(capsys, "check", "their.ops:sine", "--shapes", 3, "--seed", 7)
    assert (status, err) == (1, "")
    assert out.startswith("1 of 1 gradients are wrong (values in float64, seed=7)\n")
    assert run(capsys, "check", "their.ops:sine", "--shapes", 3, "--seed", 7)[1] == out
    assert run(capsys, "check", "their.ops:sine", "--shapes", 3, "--seed", 8)[1] != out


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def test_tune_measures_a_users_function_and_shows_its_table(user_code, own_cache, capsys):
    arguments = ["their.ops:layer", "--shapes", "1,6,6,2", "3,3,2,2", "--rounds", 1]
    status, out, err = run(capsys, "tune", *arguments)
    assert (status, err) == (0, "")
    (file,) = (path for path in own_cache.rglob("*") if path.is_file())
    assert out.endswith(f"Table: {file}\n")
    rows = re.findall(r"^│ (\w+) +│ 1×6×6×2 │ 3×3×2×2 │ +1×1 │ float32 │.*│ +(\w+) │$", out, re.MULTILINE)
    assert [operation for operation, _ in rows] == ["convolve", "input_gradient", "kernel_gradient"]
    assert [chosen for _, chosen in rows] == list(json.loads(file.read_text())["algorithms"].values())


def test_tune_reads_shapes_and_prints_json(own_cache, capsys):
    arguments = ["--convolutions", "1,6,6,4 3,3,2,4 2", "1,6,1 3,1,2", "--rounds", 1, "--dtype", "float64", "--json"]
    status, out, err = run(capsys, "tune", *arguments)
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert len(json.loads((own_cache / result["file"]).read_text())["algorithms"]) == 6
    first, *_, last = result["convolutions"]
    assert (first["strides"], first["feature_group_count"], first["dtype"]) == ([2, 2], 2, "float64")
    assert (last["operation"], last["input_shape"]) == ("kernel_gradient", [1, 6, 1])
    assert last["chosen"] in last["seconds"]


def test_tune_measures_a_models_training(own_cache, capsys, monkeypatch):
    """Those that the training's program has, and no others."""
    asked = []
    monkeypatch.setattr(cli.tuning, "tune_convolutions", lambda found, rounds: asked.extend(found) or [])
    arguments = ["--model", "cnn", "--data", "lab", "--batch-size", 4, "--features", 3, 5]
    assert run(capsys, "tune", *arguments)[0] == 0
    shapes = [(geometry.input_shape, geometry.kernel_shape) for _, geometry, _ in asked]
    assert set(shapes) == {((4, 8, 8, 1), (3, 3, 1, 3)), ((4, 4, 4, 3), (3, 3, 3, 5))}
    assert len(shapes) == 6


BAD = {
    "unknown data": (["train", "--data", "mnits"], "'mnits'"),
    "a path that does not exist": (["train", "--data", "no/such.npz"], "no/such.npz"),
    "zero epochs": (["train", "--epochs", 0], "epochs: expected a positive integer, found 0"),
    "negative batch": (["train", "--batch-size", -4], "batch_size: expected a positive integer, found -4"),
    "zero learning rate": (["train", "--learning-rate", 0], "learning_rate: expected a positive number, found 0"),
    "an absent device": (["train", "--device", "tpu"], "device: expected one that is present (cpu), found 'tpu'"),
    "words for numbers": (["train", "--epochs", "many"], "many"),
    "a value that is missing": (["train", "--epochs"], "--epochs"),
    "an unknown flag": (["train", "--epoch", 3], "--epoch"),
    "an unknown command": (["trane"], "trane"),
    "no command": ([], "Missing subcommand: Expected one of {lab, train, evaluate, predict, check, tune}"),
    "a run that is not there": (["evaluate", "runs/none"], "runs/none"),
    "no images": (["predict", "{lab}"], "expected the paths of images, found none"),
    "an image that is not there": (["predict", "{lab}", "none.png"], "none.png"),
    "another image size": (["predict", "{lab}", "large.png"], "expected images of 8×8×1"),
    "another number of channels": (["predict", "{lab}", "colour.png"], "found 8×8×3"),
    "a zero batch": (["evaluate", "{lab}", "--batch-size", 0], "batch_size: expected a positive integer, found 0"),
    "other classes": (["evaluate", "{lab}", "--data", "digits"], "expected the 2 classes dark, bright"),
    "labels out of range": (["evaluate", "{lab}", "--data", "labels.npz"], "labels"),
    "NaN pixels": (["train", "--data", "nan.npz"], "nan.npz"),
    "a target without a function": (["check", "mine", "--shapes", 3], "expected package.module:function, found 'mine'"),
    "no such module": (["check", "their.cops:f", "--shapes", 3], "their.cops: expected a module in this directory"),
    "a module's own missing import": (["check", "their_needs:f", "--shapes", 3], "No module named 'not_there'"),
    "a module that raises": (["check", "their_broken:f", "--shapes", 3], "found RuntimeError: no licence"),
    "no such function": (["check", "their.ops:nrom", "--shapes", 3], "found none of this name in their.ops"),
    "a number for a function": (["check", "their.ops:number", "--shapes", 3], "found a value of type int"),
    "a target without shapes": (["check", "their.ops:norm"], "shapes: expected one for each argument"),
    "shapes without a target": (["check", "--shapes", 3], "target: expected package.module:function before --shapes"),
    "a shape of words": (["check", "their.ops:norm", "--shapes", "3,a"], "shapes: expected sizes of at least 0"),
    "a negative shape": (["check", "their.ops:norm", "--shapes", "3,-1"], "found '3,-1'"),
    "a shape that begins negative": (["check", "their.ops:norm", "--shapes", "-1,3"], "found '-1,3'"),
    "a huge shape": (["check", "their.ops:norm", "--shapes", "99999,99999"], "expected at most 2147483647 elements"),
    "an integer type": (["check", "their.ops:norm", "--shapes", 3, "--dtype", "int32"], "'int32'"),
    "a third order": (["check", "their.ops:norm", "--shapes", 3, "--order", 3], "'3' for argument '--order'"),
    "a negative seed": (["check", "--seed", -1], "seed: expected an integer from 0 to 4294967295, found -1"),
    "an absent device to check": (["check", "--device", "tpu"], "device: expected one that is present (cpu)"),
    "an argument too few": (
        ["check", "their.ops:norm", "--shapes", 3],
        "their.ops:norm: f cannot be evaluated at x float32[3]: TypeError: norm() missing 1",
    ),
    "nothing to tune": (["tune"], "target: expected package.module:function, --model or --convolutions, found none"),
    "shapes without a target to tune": (["tune", "--shapes", 3], "target: expected package.module:function before"),
    "a target to tune without shapes": (["tune", "their.ops:layer"], "shapes: expected one for each argument"),
    "no such function to tune": (["tune", "their.ops:nrom", "--shapes", 3], "found none of this name in their.ops"),
    "nothing to tune in it": (
        ["tune", "their.ops:norm", "--shapes", 3, 3],
        'their.ops:norm: expected convolutions of jaxcnn with algorithm="auto", found none',
    ),
    "shapes that a function does not take": (
        ["tune", "their.ops:layer", "--shapes", "1,6,6,2", "3,3,4,2"],
        "expected a JAX function of 1,6,6,2, 3,3,4,2, found ValueError: kernel has 4 input channels, x has 2",
    ),
    "data without a model": (["tune", "--data", "lab", "--batch-size", 3], "--model NAME beside --data, --batch-size"),
    "an unknown model": (["tune", "--model", "vgg"], "model: expected one of cnn, found 'vgg'"),
    "a zero batch to tune": (["tune", "--model", "cnn", "--batch-size", 0], "batch_size: expected a positive integer"),
    "unknown data to tune": (["tune", "--model", "cnn", "--data", "mnits"], "'mnits'"),
    "a model too deep": (
        ["tune", "--model", "cnn", "--data", "lab", "--features", 2, 2, 2, 2, 2],
        "expected a model that fits the images of lab, found that its ",
    ),
    "images without a kernel": (["tune", "--convolutions", "1,6,6,2"], "expected images, kernel and maybe strides"),
    "a kernel that does not fit": (["tune", "--convolutions", "1,6,6,2 3,3,3,2"], "kernel has 3 input channels"),
    "a convolution of words": (["tune", "--convolutions", "1,6,6,2 3x3"], "expected sizes of at least 0"),
    "no images to convolve": (["tune", "--convolutions", "0,6,6,2 3,3,2,2"], "expected at least one image"),
    "a zero stride": (["tune", "--convolutions", "1,6,6,2 3,3,2,2 0"], "strides must be a positive integer, found 0"),
    "scalars to convolve": (["tune", "--convolutions", "scalar scalar"], "at least one spatial axis"),
    "zero rounds": (["tune", "--rounds", 0], "rounds: expected a positive integer, found 0"),
    "an absent device to tune": (["tune", "--device", "tpu"], "device: expected one that is present (cpu)"),
    "an existing run": (["lab", "--run-dir", "{lab}"], "expected none yet, found one"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_status_2(lab, user_code, capsys, tmp_path, arguments, message):
    Image.new("L", (9, 8)).save(tmp_path / "large.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    images = np.zeros((4, 8, 8), np.float32)
    np.savez(tmp_path / "labels.npz", images=images, labels=[0, 1, 1, 7])
    images[2, 3, 4] = np.nan
    np.savez(tmp_path / "nan.npz", images=images, labels=[0, 1, 0, 1])
    before = sorted(tmp_path.rglob("*"))
    metrics = (lab[0] / "metrics.json").read_text()
    status, out, err = run(capsys, *(str(argument).replace("{lab}", str(lab[0])) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("jaxcnn: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before
    assert (lab[0] / "metrics.json").read_text() == metrics


def test_a_corrupt_checkpoint_is_named(lab, capsys, tmp_path):
    copy = shutil.copytree(lab[0], tmp_path / "copy")
    victim = next(path for path in (copy / "checkpoints").rglob("*") if path.is_file() and path.stat().st_size > 100)
    victim.write_bytes(victim.read_bytes()[:-1])
    status, _, err = run(capsys, "evaluate", copy)
    assert (status, err.count("\n")) == (2, 1)
    assert f"damaged: {victim.relative_to(copy / 'checkpoints')}" in err


@pytest.mark.slow
def test_a_diverging_run_exits_with_1_and_names_the_step(capsys, tmp_path):
    status, _, err = run(capsys, "train", "--data", "lab", "--learning-rate", "1e38", *SMALL)
    assert (status, err.count("\n")) == (1, 1)
    assert re.search(r"expected a finite loss, found none after step \d+", err)
    assert (tmp_path / "runs" / "lab-1" / "checkpoints").exists()


@pytest.mark.slow
def test_a_second_run_is_given_the_next_number(capsys, tmp_path):
    for number in (1, 2):
        assert run(capsys, "train", "--data", "lab", *SMALL)[0] == 0
        assert (tmp_path / "runs" / f"lab-{number}" / "metrics.json").exists()
