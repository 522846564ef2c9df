"""What the README says can be done is done."""

import re
from pathlib import Path

import pytest
from jax import numpy as jnp

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(2), ids=["as a library", "checked gradients"])
def test_an_example_runs_as_printed(number):
    example = blocks("python")[number]
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_the_fixtures_example_is_a_test(check_gradients):
    names = {"my_op": jnp.multiply, "x": jnp.arange(3.0), "kernel": jnp.ones(3)}
    exec(compile(blocks("python")[2], "README.md", "exec"), names)
    names["test_gradients"](check_gradients)


def test_files_that_are_named_exist():
    root = Path(__file__).parent.parent
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / path).exists(), path
    for path in re.findall(r"python ((?:experiments|benchmarks)/\w+\.py)", README):
        assert (root / path).exists(), path
