"""Every wrong gradient is found, with its leaf and, where it is local, an index of the damaged part."""

import jax
import pytest
from jax import numpy as jnp
from wrong_gradients import WRONG, Wrong

from jaxcnn.verify import GradientReport, check_gradients


def check(wrong: Wrong, size: int, dtype: str, seed: int = 0) -> GradientReport:
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        f, arguments = wrong.make(size)
        arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), arguments)
        return check_gradients(f, *arguments, order=wrong.order, seed=seed)


LONG = ("network", "softmax loss", "max-pool", "layer norm", "batch norm")
"""What is long to differentiate."""


def marked(name):
    return pytest.param(name, marks=pytest.mark.slow) if name.startswith(LONG) else name


@pytest.mark.parametrize("name", [marked(name) for name in WRONG])
def test_found(name):
    wrong = WRONG[name]
    # One of the two a bug keeps the suite short; what the checker does depends on the bug more than on either.
    size, dtype = [(1, "float32"), (8, "float64")][sorted(WRONG).index(name) % 2]
    report = check(wrong, size, dtype)
    assert {entry.leaf for entry in report.wrong} == {wrong.leaf}, str(report)
    for entry in report.wrong:
        elements = [element for element in entry.worst if element.verdict == "wrong"]
        assert entry.order == wrong.order
        assert elements or entry.reason
        assert all(wrong.region(element.index, entry.shape) for element in elements), str(report)
