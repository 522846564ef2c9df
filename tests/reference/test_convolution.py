from functools import partial

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases
from hypothesis import given, settings
from jax import lax
from tolerances import assert_close

from jaxcnn import reference


def lax_convolution(case):
    """XLA's own, which resolves "SAME" and "VALID" by its own rule."""
    padding = case.options.get("padding", "SAME")
    return partial(
        lax.conv_general_dilated,
        window_strides=case.geometry.strides,
        padding=padding if isinstance(padding, str) else case.geometry.padding,
        rhs_dilation=case.geometry.kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=case.geometry.groups,
    )


def assert_it_is_lax(case):
    x, kernel, g = case.arrays()

    @jax.jit
    def value_and_gradients(x, kernel, g):
        y, pullback = jax.vjp(lax_convolution(case), x, kernel)
        return y, *pullback(g)

    with jax.enable_x64(True):
        expected = value_and_gradients(x, kernel, g)
    actual = (
        reference.conv2d(x, kernel, **case.options),
        reference.conv2d_input_gradient(g, kernel, x.shape, **case.options),
        reference.conv2d_kernel_gradient(x, g, kernel.shape, **case.options),
    )
    for mine, laxs in zip(actual, expected, strict=True):
        assert mine.dtype == np.float64
        assert_close(mine, laxs)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_value_and_gradients_are_laxs(case):
    assert_it_is_lax(case)


@pytest.mark.slow
@settings(max_examples=25)
@given(conv_cases())
def test_value_and_gradients_are_laxs_for_any_case(case):
    assert_it_is_lax(case)


@pytest.mark.parametrize("name", ["lab", "strides", "no images"])
def test_the_bias_gradient_sums_over_images_and_positions(name):
    _, _, g = CASES[name].arrays()
    assert_close(reference.conv2d_bias_gradient(g), g.sum(axis=(0, 1, 2)))


def test_every_dtype_becomes_float64():
    y = reference.conv2d(np.ones((1, 2, 2, 1), np.int8), np.ones((1, 1, 1, 1), np.float16))
    assert y.dtype == np.float64


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((8, 8, 3), (3, 3, 3, 4), {}, r"x must be \(N, H, W, C\) and kernel .*found x.shape=\(8, 8, 3\)"),
        ((2, 8, 8, 2), (3, 3, 3, 4), {}, r"groups × the kernel's input channels.*x.shape=\(2, 8, 8, 2\)"),
        ((2, 8, 8, 4), (3, 3, 2, 3), {"feature_group_count": 2}, "F be a multiple of groups: .*feature_group_count=2"),
        ((2, 8, 8, 3), (0, 3, 3, 4), {}, r"window must be a positive integer.*found \(0, 3\)"),
        ((2, 8, 8, 3), (3, 3, 3, 4), {"strides": 0}, "strides must be a positive integer.*found 0"),
        ((2, 8, 8, 3), (3, 3, 3, 4), {"strides": 1.5}, "strides must be a positive integer.*found 1.5"),
        ((2, 8, 8, 3), (3, 3, 3, 4), {"kernel_dilation": (1, 2, 3)}, "kernel_dilation must be .*2 spatial axes"),
        ((2, 8, 8, 3), (3, 3, 3, 4), {"padding": "FULL"}, 'padding must be "SAME", "VALID".*found \'FULL\''),
        ((2, 8, 8, 3), (3, 3, 3, 4), {"padding": ((1, 1, 1), 0)}, r"padding must be p or \(lo, hi\) for each of 2"),
        ((2, 8, 8, 3), (3, 3, 3, 4), {"padding": 0.5}, "padding must be p or .*found 0.5"),
        ((2, 8, 2, 3), (3, 3, 3, 4), {"padding": "VALID"}, r"a span of 3 elements over 2 \+ 0 \+ 0.*\(8, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        reference.conv2d(np.ones(x), np.ones(kernel), **options)


def test_a_cotangent_of_another_shape_is_refused():
    x, kernel, g = np.ones((2, 8, 8, 3)), np.ones((3, 3, 3, 4)), np.ones((2, 6, 6, 4))
    message = r"g.shape must be \(2, 8, 8, 4\), found \(2, 6, 6, 4\)"
    with pytest.raises(ValueError, match=message):
        reference.conv2d_input_gradient(g, kernel, x.shape)
    with pytest.raises(ValueError, match=message):
        reference.conv2d_kernel_gradient(x, g, kernel.shape)
    with pytest.raises(ValueError, match=r"g must be .*found g.shape=\(6, 4\)"):
        reference.conv2d_bias_gradient(g[0, 0])
