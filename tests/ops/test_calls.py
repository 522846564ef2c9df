"""Calls that stay calls in a program for the CPU, and are inlined in any other."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.ops.calls import call

X = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


@jax.jit
def products(x, y):
    return x * y + jnp.sin(x)


def called(x):
    return call(products, x, x + 1) * 2


def test_it_is_the_function():
    for f in (called, jax.jit(called), jax.vmap(called)):
        np.testing.assert_allclose(f(X), products(X, X + 1) * 2, rtol=1e-6)
    gradient = jax.grad(lambda x: called(x).sum())(X)
    np.testing.assert_allclose(gradient, 2 * (2 * X + 1 + np.cos(X)), rtol=1e-5)


@pytest.mark.parametrize(("platform", "stays"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_on_a_cpu_does_it_stay_a_call(platform, stays):
    text = jax.jit(called).trace(X).lower(lowering_platforms=(platform,)).as_text()
    assert ('inlineable = "false"' in text) == stays


def test_xla_does_not_inline_it():
    text = jax.jit(called).lower(X).compile().as_text()
    assert " call(" in text


def test_one_program_may_be_for_several_platforms():
    exported = jax.export.export(jax.jit(called), platforms=["cpu", "cuda"])(X)
    np.testing.assert_allclose(exported.call(X), called(X), rtol=1e-6)
