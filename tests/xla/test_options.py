import functools

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from jaxcnn import xla
from jaxcnn.xla import options

WIDE = "xla_cpu_prefer_vector_width"


def test_the_cpu_has_options_that_this_jaxlib_takes():
    found = xla.compiler_options("cpu")
    assert found == options.MEASURED["cpu"]
    compiled = jax.jit(jnp.sin, compiler_options=found).lower(1.0).compile()
    np.testing.assert_allclose(compiled(1.0), np.sin(1.0), rtol=1e-6)


@pytest.mark.parametrize("platform", ["gpu", "tpu", "a platform of tomorrow"])
def test_where_nothing_was_measured_there_are_none_and_no_device_is_asked_for(platform):
    assert xla.compiler_options(platform) == {}


def test_none_is_the_platform_in_use():
    assert xla.compiler_options() == xla.compiler_options(jax.default_backend())


def test_an_option_that_this_jaxlib_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setitem(options.MEASURED, "cpu", {"xla_cpu_gone_tomorrow": "true", WIDE: "512"})
    assert xla.compiler_options("cpu") == {WIDE: "512"}


def test_a_value_that_xla_refuses_is_an_error(monkeypatch):
    monkeypatch.setitem(options.MEASURED, "cpu", {WIDE: "wide"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="wide"):
        xla.compiler_options("cpu")


def test_the_answer_is_the_callers_own():
    xla.compiler_options("cpu").clear()
    assert xla.compiler_options("cpu")


def scaled(x, factor=2.0):
    """x, scaled."""
    return factor * x


def test_jit_compiles_with_the_options(monkeypatch):
    """Seen by one that XLA refuses."""
    monkeypatch.setattr(options, "compiler_options", lambda: {"xla_cpu_gone_tomorrow": "true"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_gone_tomorrow"):
        xla.jit(scaled)(1.0)


def refuse_the_probe():
    raise AssertionError("the device was asked")


def test_nothing_is_asked_of_the_device_for_a_shape_or_before_a_call(monkeypatch):
    monkeypatch.setattr(options, "compiler_options", refuse_the_probe)
    f = xla.jit(scaled)
    assert f.eval_shape(jnp.ones(4)).shape == (4,)
    for asks in (f, f.trace, f.lower):
        with pytest.raises(AssertionError, match="the device was asked"):
            asks(1.0)


def test_the_users_options_go_before_the_measured_ones(monkeypatch):
    """Both are seen by an option or a value that XLA refuses."""
    monkeypatch.setattr(options, "compiler_options", lambda: {WIDE: "wide"})
    given = {WIDE: "256"}
    f = xla.jit(scaled, compiler_options=given)
    given.clear()
    assert f(1.0) == 2.0
    for asked in ({}, None, {"xla_embed_ir_in_executable": "true"}):
        with pytest.raises(jax.errors.JaxRuntimeError, match="wide"):
            xla.jit(scaled, compiler_options=asked)(1.0)


def test_inside_another_program_the_users_options_are_left_out():
    f = xla.jit(scaled, compiler_options={"xla_cpu_gone_tomorrow": "true"})
    assert jax.jit(f)(1.0) == 2.0
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_gone_tomorrow"):
        f(1.0)


class Scale:
    """Hashable, by identity."""

    factor = 3.0

    @functools.partial(xla.jit, static_argnums=0)
    def method(self, x, offset=0.0):
        """x, scaled."""
        return self.factor * x + offset


def test_a_method_can_be_jitted():
    scale = Scale()
    assert scale.method(2.0) == 6.0
    assert scale.method(2.0, offset=1.0) == 7.0
    assert Scale.method(scale, 2.0) == 6.0
    assert Scale.method.lower(scale, 2.0).compile()(2.0) == 6.0
    assert jax.grad(scale.method)(2.0) == 3.0
    assert (scale.method.__name__, scale.method.__doc__) == ("method", "x, scaled.")


@pytest.mark.parametrize(
    "transform",
    [
        jax.jit,
        jax.vmap,
        lambda f: jax.grad(lambda x: jnp.sum(f(x))),
        lambda f: lambda x: jax.jvp(f, (x,), (x,))[1],
        lambda f: lambda x: lax.scan(lambda carry, _: (f(carry), None), x, length=3)[0],
        lambda f: jax.jit(lambda x: f(jnp.ones(3)) + x),
        jax.checkpoint,
    ],
    ids=["jit", "vmap", "grad", "jvp", "scan", "a constant in jit", "checkpoint"],
)
def test_inside_other_transformations_it_is_jit(transform):
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(transform(xla.jit(scaled))(x), transform(jax.jit(scaled))(x))


def test_what_was_traced_can_be_forgotten():
    calls = []

    @xla.jit
    def f(x):
        calls.append(x)
        return 2 * x

    f.clear_cache()  # asks nothing of the device
    for times in (1, 2):
        assert f(1.0) == f(2.0) / 2 == 2.0
        assert jax.jit(lambda x: f(x))(1.0) == 2.0
        assert len(calls) == times
        f.clear_cache()


def test_jits_arguments_and_methods_are_kept():
    f = xla.jit(scaled, static_argnames="factor", donate_argnums=0)
    x = jnp.ones(4)
    np.testing.assert_array_equal(f(x, factor=3.0), 3 * np.ones(4))
    assert x.is_deleted()
    assert isinstance(f, jax.stages.Wrapped)
    assert f.lower(jnp.ones(4)).compile()(jnp.ones(4)).shape == (4,)
    assert f.eval_shape(jnp.ones(4)).shape == (4,)
    assert (f.__name__, f.__doc__) == ("scaled", "x, scaled.")


def test_it_traces_once():
    traces = []

    def f(x):
        traces.append(x)
        return x + 1

    jitted = xla.jit(f)
    for _ in range(3):
        jitted(jnp.ones(2))
    assert len(traces) == 1


@pytest.mark.parametrize("n", [1, 7, 64, 1000])
def test_numbers_are_those_without_the_options_up_to_the_order_of_sums(n):
    x = np.random.default_rng(n).normal(size=(n, 33)).astype(np.float32)

    def f(x):
        return jnp.tanh(x) @ x.T, jnp.exp(-(x**2)).sum(0), jnp.max(x, 1)

    for found, expected in zip(xla.jit(f)(x), jax.jit(f)(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
