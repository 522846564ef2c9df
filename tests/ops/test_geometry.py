import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from jaxcnn.ops import ConvGeometry, PoolGeometry
from jaxcnn.ops.geometry import WindowAxis


@given(*[st.integers(*bounds) for bounds in ((1, 12), (1, 5), (1, 4), (1, 3), (-2, 4), (-2, 4))])
def test_output_size_counts_the_positions_of_the_window(size, window, stride, dilation, lo, hi):
    axis = WindowAxis(size, window, stride, dilation, lo, hi)
    last_start = size + hi - axis.extent
    assert max(axis.output_size, 0) == len(range(-lo, last_start + 1, stride))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_output_shape_is_xlas(case):
    assert case.geometry.output_shape == lax_output_shape(case)


@given(conv_cases())
def test_output_shape_is_xlas_for_any_case(case):
    assert case.geometry.output_shape == lax_output_shape(case)


def lax_output_shape(case):
    geometry = case.geometry
    return jax.eval_shape(
        lambda x, w: lax.conv_general_dilated(
            x,
            w,
            geometry.strides,
            case.options.get("padding", "SAME") if isinstance(case.options.get("padding"), str) else geometry.padding,
            rhs_dilation=geometry.kernel_dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=geometry.groups,
        ),
        *(jax.ShapeDtypeStruct(shape, np.float32) for shape in (case.x, case.kernel)),
    ).shape


@given(st.integers(1, 20), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))
def test_same_gives_the_size_over_the_stride_rounded_up(size, window, stride, dilation):
    geometry = ConvGeometry.resolve(
        (1, size, 1), (window, 1, 1), strides=stride, kernel_dilation=dilation, padding="SAME"
    )
    ((lo, hi),) = geometry.padding
    assert geometry.output_shape[1] == -(-size // stride)
    assert hi - lo in (0, 1)
    lower = ConvGeometry.resolve(
        (1, size, 1), (window, 1, 1), strides=stride, kernel_dilation=dilation, padding="SAME_LOWER"
    )
    assert lower.padding == ((hi, lo),)


def test_every_form_of_an_argument_is_the_same_geometry():
    first = ConvGeometry.resolve((2, 8, 8, 3), (3, 3, 3, 4), strides=2, padding=1, kernel_dilation=1)
    second = ConvGeometry.resolve(
        [2, 8, 8, 3], [3, 3, 3, 4], strides=[2, 2], padding=[1, (1, 1)], kernel_dilation=np.array([1, 1])
    )
    assert first == second
    assert hash(first) == hash(second)


X, KERNEL = (2, 8, 8, 3), (3, 3, 3, 16)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((2, 8, 8, 4), KERNEL, {}, r"kernel has 3 input channels, x has 4 .*\(2, 8, 8, 4\).*\(3, 3, 3, 16\)"),
        (X, KERNEL, {"feature_group_count": 2}, r"3 input channels × 2 groups, x has 3"),
        (
            (2, 8, 8, 9),
            KERNEL,
            {"feature_group_count": 3},
            "16 output channels, not a multiple of feature_group_count=3",
        ),
        (X, KERNEL, {"feature_group_count": 0}, "feature_group_count must be a positive integer, found 0"),
        (X, KERNEL, {"strides": 0}, "strides must be a positive integer, found 0"),
        (X, KERNEL, {"strides": 1.5}, "strides must be a positive integer, found 1.5"),
        (X, KERNEL, {"strides": (1, 2, 3)}, r"strides must be one integer or 2.*\(1, 2, 3\)"),
        (X, KERNEL, {"strides": True}, "strides must be a positive integer, found True"),
        (X, KERNEL, {"kernel_dilation": (1, -1)}, "kernel_dilation must be a positive integer, found -1"),
        (X, KERNEL, {"padding": "FULL"}, 'padding must be "SAME", "SAME_LOWER", "VALID".*FULL'),
        (X, KERNEL, {"padding": (1, 2, 3)}, "padding must have an entry for each of the 2 spatial axes"),
        (X, KERNEL, {"padding": ((1, 2, 3), 1)}, r"padding of an axis must be an integer or \(lo, hi\)"),
        (X, KERNEL, {"padding": (0.5, 1)}, r"padding of an axis must be an integer or \(lo, hi\), found 0.5"),
        (
            X,
            (9, 3, 3, 16),
            {"padding": "VALID"},
            "window spans 9 elements, the padded input has 8 on spatial axis 0",
        ),
        (X, (3, 5, 3, 16), {"padding": 0, "kernel_dilation": (1, 2)}, "window spans 9 .* on spatial axis 1"),
        (X, (3, 3, 16), {}, "as many axes as each other"),
        ((2, 8), (3, 3), {}, "at least one spatial axis"),
        (X, (0, 3, 3, 16), {}, "at least one tap"),
    ],
)
def test_a_convolution_that_cannot_be_is_refused(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        ConvGeometry.resolve(x, kernel, **options)


@pytest.mark.parametrize(
    ("x", "window", "options", "message"),
    [
        ((2, 8, 3), (2, 2), {}, r"window of 2 axes needs x of 4 axes .*\(2, 8, 3\)"),
        (X, (9, 1), {}, "window spans 9 elements, the padded input has 8"),
        (X, (2, 2), {"strides": (2,)}, "strides must be one integer or 2"),
        (X, (0, 2), {}, "window_shape must be a positive integer, found 0"),
        (X, (2, 2), {"padding": 2}, r"smaller than its window: padding=\(2, 2\), window=2"),
        (X, (2, 2), {"padding": ((0, -1), 0)}, "must be at least 0"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(x, window, options, message):
    with pytest.raises(ValueError, match=message):
        PoolGeometry.resolve(x, window, **options)
