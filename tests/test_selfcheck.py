import jax
import pytest
from jax import numpy as jnp

from jaxcnn import selfcheck


@pytest.fixture(scope="module")
def checked():
    """All of them, once."""
    return list(selfcheck.run(0))


@pytest.mark.slow
def test_every_gradient_of_jaxcnn_is_right(checked):
    assert not [f"{result.case.name}: {result.report}" for result in checked if not result.report.ok]


@pytest.mark.slow
def test_names_are_used_once_and_arguments_are_float32(checked):
    assert len({result.case.name for result in checked}) == len(checked) > 20
    leaves = [leaf for result in checked for leaf in jax.tree.leaves(result.case.args)]
    assert {leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_kinks_are_told_where_they_are_and_only_there(checked):
    kinked = {result.case.name for result in checked if result.row()[2] == "kink"}
    assert kinked == {"max_pool, all equal", "CNN and its loss, relu at 0"}


def test_a_row_has_the_verdict_of_the_worst_leaf(monkeypatch):
    wrong = jax.custom_vjp(lambda x, y: jnp.sin(x) * y)
    wrong.defvjp(lambda x, y: (jnp.sin(x) * y, (x, y)), lambda xy, g: (xy[1] * g, jnp.sum(jnp.sin(xy[0]) * g)))
    monkeypatch.setattr(selfcheck, "cases", lambda key: [selfcheck.Case("planted", wrong, (jnp.ones((2, 3)), 1.5))])
    (result,) = selfcheck.run(3)
    name, shapes, verdict, notes, seconds = result.row()
    assert (name, shapes, verdict) == ("planted", "2×3 scalar", "wrong")
    assert "forward mode is not there to be checked" in notes
    assert float(seconds) == pytest.approx(result.seconds, abs=0.1)
    assert result.report.seed == 3
