"""Hand-written formulas against the function's values."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.ops import conv2d, conv2d_input_gradient, conv2d_kernel_gradient
from jaxcnn.verify import compare_gradients


def dense(x, weights):
    return x @ weights


X, W = jnp.ones((2, 3)), jnp.arange(12.0).reshape(3, 4)


def test_gradient_of_a_number():
    assert compare_gradients(lambda x: 2 * x, lambda x: jnp.sum(x**2), X).ok


def test_every_argument_and_manual_is_the_mode():
    report = compare_gradients(lambda g, x, w: (g @ w.T, x.T @ g), dense, X, W)
    assert report.ok
    assert [entry.leaf for entry in report.entries] == ["x", "weights"]
    assert {element.mode for entry in report.entries for element in entry.worst} == {"manual"}


def test_an_error_of_a_thousandth_is_found_and_autodiff_is_told_to_be_right():
    report = compare_gradients(lambda g, x, w: (g @ w.T, 1.001 * x.T @ g), dense, X, W)
    assert [entry.leaf for entry in report.wrong] == ["weights"]
    assert "the gradient by autodiff is right" in str(report)


def test_an_argument_without_a_formula_is_left_out():
    report = compare_gradients(lambda g, x, w: (None, x.T @ g), dense, X, W)
    assert report.ok
    assert [entry.leaf for entry in report.entries] == ["weights"]


def test_wrt_takes_that_gradient_alone():
    assert compare_gradients(lambda g, x, w: x.T @ g, dense, X, W, wrt="weights").ok


def test_formula_in_numpy():
    assert compare_gradients(lambda g, x, w: (np.asarray(g) @ np.asarray(w).T, None), dense, X, W).ok


def test_any_value_between_the_slopes_is_right_at_a_kink():
    def slope_at_zero(slope):
        return lambda x: jnp.where(x > 0, 1.0, jnp.where(x < 0, -1.0, slope)).astype(x.dtype)

    x = jnp.array([0.0, 1.0, -1.0])
    for slope in (-1.0, 0.3, 1.0):
        report = compare_gradients(slope_at_zero(slope), lambda x: jnp.sum(jnp.abs(x)), x)
        assert [entry.verdict for entry in report.entries] == ["kink"]
    (entry,) = compare_gradients(slope_at_zero(1.5), lambda x: jnp.sum(jnp.abs(x)), x).wrong
    assert entry.worst[0].index == (0,)


def test_closed_forms_of_a_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 3))

    def formula(g, x, kernel):
        return conv2d_input_gradient(g, kernel, x.shape), conv2d_kernel_gradient(x, g, kernel.shape)

    assert compare_gradients(formula, lambda x, kernel: conv2d(x, kernel), x, kernel).ok


@pytest.mark.parametrize(
    ("manual", "error", "match"),
    [
        (lambda g, x, w: g, TypeError, "expected 2 gradients, of x, weights, found 1"),
        (lambda g, x, w: (g, g), ValueError, r"gradient of x of shape \(2, 3\), found \(2, 4\)"),
        (lambda g, x, w: (x, w, w), TypeError, "expected 2 gradients, of x, weights, found 3"),
        (lambda g, x, w: (None, None), TypeError, "manual: expected a gradient of x, weights, found None"),
        (lambda g, x, w: 1 / 0, ValueError, "manual cannot be evaluated: ZeroDivisionError"),
        (3, TypeError, "manual: expected a function, found int"),
    ],
)
def test_formulas_that_do_not_fit(manual, error, match):
    with pytest.raises(error, match=match):
        compare_gradients(manual, dense, X, W)


def test_functions_that_cannot_be_compared():
    with pytest.raises(TypeError, match="f: expected a function, found int"):
        compare_gradients(lambda g, x: g, 3, X)
    with pytest.raises(ValueError, match="f cannot be evaluated: ZeroDivisionError"):
        compare_gradients(lambda g, x: g, lambda x: 1 / 0, X)
    with pytest.raises(TypeError, match="x is complex64"):
        compare_gradients(lambda g, x: g, lambda x: x, X.astype(jnp.complex64))
    with pytest.raises(TypeError, match="expected an array for the gradient of x, found 'text'"):
        compare_gradients(lambda x: "text", lambda x: x * x, 2.0)
