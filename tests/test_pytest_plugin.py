"""The plugin in a project of its own, under a pytest of its own."""

import os
import re
import subprocess
import sys

import pytest

PROJECT = """
import sys

JAX_AT_START = "jax" in sys.modules

import jax
import pytest
from jax import numpy as jnp


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (1.01 * g * jnp.cos(x),))


def broken(x):
    raise KeyError("from within broken")


def test_start():
    assert not JAX_AT_START


def test_right(check_gradients):
    report = check_gradients(lambda x, y: jnp.sum(jnp.sin(x)) * y, jnp.ones(3), 2.0, order=2)
    assert report.ok
    assert len(report.entries) == 4


def test_own_seed(check_gradients):
    assert check_gradients(jnp.tanh, 0.5, seed=3).seed == 3


def test_misuse(check_gradients):
    with pytest.raises(ValueError, match="order: expected 1 or 2, found 3"):
        check_gradients(jnp.sin, 0.5, order=3)


def test_wrong(check_gradients):
    check_gradients(sine, jnp.linspace(0.0, 1.0, 5))


def test_wrong_order(check_gradients):
    check_gradients(jnp.sin, 0.5, order=3)


def test_broken(check_gradients):
    check_gradients(broken, 0.5)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_sine.py").write_text(PROJECT)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return folder


@pytest.fixture(scope="module")
def output(project):
    return run(project)


def run(project, *options):
    """What pytest prints; without what this pytest tells its children."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    return result.stdout + result.stderr


def section(output, test):
    """What is told about one test that failed."""
    return re.search(rf"^_+ {test} _+$(.*?)(?=^[_=]{{3,}})", output, re.MULTILINE | re.DOTALL)[1].strip()


def test_right_gradients_pass_and_jax_waits_for_the_tests(output):
    assert "3 failed, 4 passed" in output


def test_wrong_gradients_fail_with_the_report_alone(output):
    lines = section(output, "test_wrong").splitlines()
    seed = re.fullmatch(r"1 of 1 gradients are wrong \(values in float64, seed=(\d+)\)", lines[0])[1]
    assert lines[1] == "  wrong x (5,)"
    assert lines[-1] == f"repeat with --gradcheck-seed={seed}"
    assert not [line for line in lines if ".py" in line]


@pytest.mark.parametrize(
    ("test", "error"),
    [("test_wrong_order", "ValueError: order: expected 1 or 2, found 3"), ("test_broken", "KeyError: 'from within")],
)
def test_other_errors_are_shown_without_the_checker(output, test, error):
    text = section(output, test)
    assert error in text
    assert "test_sine.py" in text
    assert "verify" not in text
    assert "pytest_jaxcnn" not in text


@pytest.mark.slow
def test_a_seed_repeats_the_numbers_with_xdist_too(project, output):
    seed = re.search(r"--gradcheck-seed=(\d+)", output)[1]
    again = run(project, f"--gradcheck-seed={seed}", "-n", "2", "-k", "test_wrong or test_own_seed")
    assert "2 workers" in again
    assert section(again, "test_wrong").split("\n", 1)[1] == section(output, "test_wrong")


def test_a_seed_that_is_none_is_a_usage_error(project):
    for word in ("x", "-1"):
        output = run(project, f"--gradcheck-seed={word}")
        assert f"argument --gradcheck-seed: expected an integer of at least 0, found '{word}'" in output
        assert "collected" not in output


def test_help_tells_of_the_option(project):
    assert "--gradcheck-seed=INT" in run(project, "--help")
