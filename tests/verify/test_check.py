"""What may be checked, what is refused, and what a check leaves as it was."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.ops import conv2d, max_pool
from jaxcnn.verify import assert_gradients, check_gradients

X = jnp.array([1.0, -2.0, 0.5])


def cubes(x, scale, labels=None):
    return jnp.sum(x**3) * scale


def test_arguments_that_are_not_floating_are_held_fixed():
    def f(params, labels, key, nothing, name):
        noise = jax.random.normal(key, params["w"].shape, params["w"].dtype)
        return jnp.sum(params["w"] * noise * labels.astype(noise.dtype))

    report = check_gradients(f, {"w": X}, jnp.arange(3), jax.random.key(0), None, "name")
    assert report.ok
    assert [entry.leaf for entry in report.entries] == ["params['w']"]


@pytest.mark.parametrize("wrt", [1, -1, "scale", ["scale"]])
def test_wrt(wrt):
    report = check_gradients(cubes, X, jnp.float32(2), wrt=wrt)
    assert report.ok
    assert [entry.leaf for entry in report.entries] == ["scale"]


def test_aux_is_left_alone():
    assert check_gradients(lambda x: (jnp.sum(x**2), jnp.sum(x) * 7), X, has_aux=True).ok


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (jax.nn.relu, [0.0, 1.0, -1.0]),
        (jnp.abs, [0.0, 1.0, -1.0]),
        (lambda x: jnp.clip(x, -1, 1), [0.0, 1.0, -1.0]),
        (lambda x: max_pool(x.reshape(1, 2, 2, 1), (2, 2), 2), [1.0, 1.0, 1.0, 0.0]),
        (jnp.sort, [2.0] * 20),
        (lambda x: jnp.maximum(jnp.minimum(x[0], x[1]), x[2]), [0.5, 0.5, 0.5]),
    ],
    ids=["relu", "abs", "clip", "max-pool tie", "sort of equals", "maximum of a minimum"],
)
def test_kinks_are_told_and_not_wrong(f, x):
    (entry,) = check_gradients(f, jnp.array(x)).entries
    assert entry.verdict == "kink"


@pytest.mark.parametrize("slope", [-0.01, 1.01])
def test_a_value_outside_the_one_sided_derivatives_is_wrong(slope):
    @jax.custom_jvp
    def relu(x):
        return jnp.maximum(x, 0)

    @relu.defjvp
    def _(primals, tangents):
        (x,), (v,) = primals, tangents
        return relu(x), jnp.where(x == 0, slope * v, jnp.where(x > 0, v, 0))

    (entry,) = check_gradients(relu, jnp.array([1.0, 0.0])).wrong
    assert entry.worst[0].index == (1,)


def test_the_median_of_equals_may_follow_any_of_them():
    assert check_gradients(jnp.median, jnp.ones(5)).ok


def test_a_value_that_no_way_of_breaking_ties_gives_is_wrong():
    @jax.custom_vjp
    def median(x):
        return jnp.median(x)

    median.defvjp(lambda x: (median(x), x), lambda x, g: (jnp.where(jnp.arange(x.size) == 1, 1.1 * g, 0),))
    (entry,) = check_gradients(median, jnp.ones(5)).wrong
    assert entry.worst[0].index == (1,)


def test_float32_is_checked_as_sharply_as_float64_and_nothing_stays_changed():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 2))
    before = dict(jax.config.values)
    report = check_gradients(conv2d, jax.random.normal(jax.random.key(1), (2, 5, 5, 2)), kernel)
    assert report.ok
    assert report.evaluated_in == "float64"
    assert dict(jax.config.values) == before


def test_a_seed_repeats_a_check():
    f = jax.custom_jvp(jnp.sin)
    f.defjvp(lambda x, v: (jnp.sin(*x), 1.01 * jnp.cos(*x) * v[0]))
    first = check_gradients(f, X)
    assert str(first) == str(check_gradients(f, X, seed=first.seed))
    assert first.seed != check_gradients(f, X).seed


def test_a_function_that_has_changed_is_checked_anew():
    wrong = jax.custom_vjp(lambda x: x**2)
    wrong.defvjp(lambda x: (x**2, x), lambda x, g: (3 * g * x,))
    square = [lambda x: x**2]

    def f(x):
        return jnp.sum(square[0](x))

    assert check_gradients(f, X).ok
    square[0] = lambda x: wrong(x)
    assert not check_gradients(f, X).ok


def test_a_jitted_function_is_not_traced_again():
    traced = []

    @jax.jit
    def f(x):
        traced.append(x.dtype)
        return jnp.sum(x**2)

    check_gradients(f, X)
    count = len(traced)
    check_gradients(f, X)
    assert len(traced) == count


INDEX = np.array([2, 0, 1, 1])


@jax.custom_vjp
def picked(x):
    return x[INDEX]


picked.defvjp(lambda x: (picked(x), x), lambda x, g: (jnp.zeros_like(x).at[INDEX].add(g),))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[INDEX] ** 2,
        lambda x: jnp.take(x, INDEX) ** 2,
        lambda x: picked(x) ** 2,
        jax.jit(lambda x: x[INDEX] ** 2),
    ],
    ids=["index", "take", "custom_vjp", "jit"],
)
def test_captured_arrays_of_64_bits_are_what_they_were(f):
    for _ in range(2):
        assert check_gradients(f, X).ok
        assert f(X).dtype == jax.jit(lambda x: f(x))(X).dtype == jnp.float32


def test_arguments_are_not_donated():
    x = jnp.array([1.0, 2.0])
    assert check_gradients(jax.jit(lambda x: jnp.sin(x) * 2, donate_argnums=0), x).ok
    assert x[0] == 1


@dataclass
class Unhashable:
    power: int = 2

    def __call__(self, x):
        return x**self.power


@pytest.mark.parametrize("static", [Unhashable(), {1, 2}, np.array(["text"]), lambda x: x], ids=type)
def test_what_is_no_array_of_jaxs_is_held_fixed(static):
    assert check_gradients(lambda x, _: x**2, X, static).ok


def test_a_function_without_a_hash():
    assert check_gradients(Unhashable(), X).ok


def test_captured_values_that_cannot_be_copied():
    mixed = {1: jnp.ones(3), "a": 2}

    def f(x):
        return x.astype(jnp.float32) * mixed[1] if x.ndim else not_yet

    assert check_gradients(f, X).ok
    not_yet = 1


def test_a_gradient_that_is_nan_in_the_callers_type_alone():
    (entry,) = check_gradients(lambda x: jnp.log(jnp.sum(jnp.exp(x))), jnp.array([1.0, 100.0])).wrong
    assert entry.worst[0].index == (1,)
    assert entry.worst[0].mode == "reverse in float32"
    with jax.enable_x64(True):
        assert check_gradients(lambda x: jnp.log(jnp.sum(jnp.exp(x))), jnp.array([1.0, 100.0])).ok


def test_a_wrong_value_at_a_kink_comes_with_a_hint():
    report = check_gradients(lambda x: jax.nn.relu(x) - 1.5 * jax.nn.relu(-x), jnp.zeros(2))
    assert not report.ok
    assert "a point nearby tells" in str(report)


def test_functions_that_are_not_pure():
    count = iter(range(100))
    report = check_gradients(lambda x: x * next(count), X)
    assert not report.ok
    assert "not pure" in str(report)


def test_values_that_are_not_finite_are_located():
    report = check_gradients(lambda x: jnp.sqrt(x), X)
    assert not report.ok
    assert "nan here, first in its output at [1]" in str(report)


def test_assertion_is_the_report():
    f = jax.custom_jvp(jnp.sin)
    f.defjvp(lambda x, v: (jnp.sin(*x), jnp.cos(*x) * v[0] * 1.01))
    with pytest.raises(AssertionError, match=r"1 of 1 gradients are wrong .*seed=3"):
        assert_gradients(f, X, seed=3)
    assert_gradients(jnp.sin, X, order=2)


def test_no_second_derivatives_where_the_gradient_is_infinite():
    report = check_gradients(jnp.sqrt, 0.0, order=2)
    assert report.ok
    assert "no second derivatives" in str(report)


@pytest.mark.slow
def test_ten_million_elements():
    report = check_gradients(lambda x: jnp.sum(x * x), jnp.ones(10_000_000))
    assert report.ok


@pytest.mark.parametrize(
    ("f", "args", "options", "error", "match"),
    [
        (3, (X,), {}, TypeError, "f: expected a function, found int"),
        (lambda x: None, (X,), {}, TypeError, "expected f to return a floating point array"),
        (lambda x: x.astype(int), (X,), {}, TypeError, "expected f to return a floating point array"),
        (lambda x: 1 / 0, (X,), {}, ValueError, r"at x float32\[3\]: ZeroDivisionError"),
        (lambda x: x, (X,), {"has_aux": True}, ValueError, "has_aux: expected f to return a pair"),
        (lambda x: x, ("text",), {}, TypeError, "expected at least one floating point array .* found none in x"),
        (lambda x: x, (X + 1j,), {}, TypeError, "x is complex64: give its real and its imaginary part"),
        (cubes, (X, 2), {"wrt": 2}, ValueError, "wrt: expected a position below 2 or a name among x, scale, found 2"),
        (cubes, (X, 2), {"wrt": "y"}, ValueError, "wrt: expected .*, found 'y'"),
        (cubes, (X, 2), {"wrt": 1}, TypeError, "found none in scale"),
        (cubes, (X, 2), {"wrt": 1.5}, ValueError, "wrt: expected .*, found 1.5"),
        (cubes, (X, 2), {"wrt": True}, ValueError, "wrt: expected .*, found True"),
        (cubes, (X, 2), {"order": 3}, ValueError, "order: expected 1 or 2, found 3"),
        (cubes, (X, 2), {"order": True}, ValueError, "order: expected 1 or 2, found True"),
        (cubes, (X, 2), {"order": 2.0}, ValueError, "order: expected 1 or 2, found 2.0"),
        (cubes, (X, 2), {"modes": "reverse"}, ValueError, "modes: expected some of reverse, forward"),
        (cubes, (X, 2), {"modes": [["reverse"]]}, ValueError, "modes: expected some of reverse, forward"),
        (cubes, (X, 2), {"seed": -1}, ValueError, "seed: expected a whole number from 0, found -1"),
        (lambda x: x, (1 + 2j,), {}, TypeError, "x is complex128: give its real and its imaginary part"),
        (lambda x: x, (np.ones(2, np.longdouble),), {}, TypeError, "x is float128: expected at most float64"),
        (lambda x: x, (jax.ShapeDtypeStruct((2,), "float32"),), {}, TypeError, "x: expected an array with values"),
    ],
)
def test_bad_input(f, args, options, error, match):
    with pytest.raises(error, match=match):
        check_gradients(f, *args, **options)


def test_traced_arguments_are_refused():
    with pytest.raises(TypeError, match="x is traced: check gradients outside of jit"):
        jax.jit(lambda x: check_gradients(lambda x: x * 2, x))(X)


def test_a_mode_that_is_not_there():
    def doubled(x):
        return jax.lax.while_loop(lambda v: jnp.sum(v) < 10, lambda v: v * 2, x)

    report = check_gradients(doubled, jnp.ones(3))
    assert report.ok
    assert "reverse mode is not there" in str(report)
    with pytest.raises(ValueError, match="modes: f has no reverse mode"):
        check_gradients(doubled, jnp.ones(3), modes=["reverse"])
    with pytest.raises(ValueError, match="the gradient of f cannot be evaluated"):
        check_gradients(doubled, jnp.ones(3), order=2)
