"""Each experiment runs, in a size that says nothing about its question."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPERIMENTS = {
    "lab": {},
    "digits": {"epochs": 1, "keys": 1},
    "overfitting": {"images": (50,), "steps": 2},
    "translation": {"epochs": 1, "keys": 1},
    "parameters": {"epochs": 1, "keys": 1},
    "gradients": {"geometries": 2, "others": 1},
    "checkers": {"seeds": 1},
}


def test_all_are_here():
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} == EXPERIMENTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_prints_its_table(name, capsys):
    module = runpy.run_path(str(ROOT / "experiments" / f"{name}.py"))
    for table in ("CONVOLUTIONAL", "DENSE", "WRONG", "RIGHT"):
        networks = module.get(table, {})
        for late in list(networks)[1:]:
            del networks[late]
    module["main"](**EXPERIMENTS[name])
    assert "│" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_its_head_has_question_command_and_expectation(name):
    text = (ROOT / "experiments" / f"{name}.py").read_text()
    assert re.match(r'""".+\?\n', text)
    assert f"\n    python experiments/{name}.py\n" in text
    assert "\nExpected: " in text


def test_the_labs_answer(capsys):
    """The double sigmoid stops where it must, 0.50320; without it nothing stops."""
    module = runpy.run_path(str(ROOT / "experiments" / "lab.py"))
    assert module["BOUND"] == pytest.approx(0.50320, abs=5e-6)
    module["main"]()
    written, corrected = re.search(r"epoch 100\s+│\s+([\d.]+) │\s+([\d.e-]+)", capsys.readouterr().out).groups()
    assert 0.5032 < float(written) < 0.5040
    assert float(corrected) < 0.01
