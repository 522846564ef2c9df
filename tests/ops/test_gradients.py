from functools import partial

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases
from hypothesis import given, settings
from jax import lax
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P
from quick import quick_jit
from tolerances import assert_close

from jaxcnn import reference
from jaxcnn.ops import conv2d_bias_gradient, conv2d_input_gradient, conv2d_kernel_gradient

all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def closed_forms(case, x, kernel, g):
    """The three gradients of this package."""
    return (
        conv2d_input_gradient(g, kernel, case.x, **case.options),
        conv2d_kernel_gradient(x, g, case.kernel, **case.options),
        conv2d_bias_gradient(g),
    )


def xla_gradients(case, x, kernel, g):
    """JAX's transpositions of lax's convolution with a bias, in float64."""
    x, kernel, g = (a.astype(jnp.float64) for a in (x, kernel, g))
    _, transpose = jax.vjp(partial(lax_convolution, case), x, kernel, jnp.zeros(case.kernel[-1]))
    return transpose(g)


def lax_convolution(case, x, kernel, bias):
    y = lax.conv_general_dilated(
        x,
        kernel,
        case.geometry.strides,
        case.geometry.padding,
        rhs_dilation=case.geometry.kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=case.geometry.groups,
    )
    return y + bias


def reference_gradients(case, x, kernel, g):
    return (
        reference.conv2d_input_gradient(g, kernel, case.x, **case.options),
        reference.conv2d_kernel_gradient(x, g, case.kernel, **case.options),
        reference.conv2d_bias_gradient(g),
    )


def in_one_program(case):
    """One compilation a case: what is compared, and what it is compared with."""
    return quick_jit(lambda *arrays: (closed_forms(case, *arrays), xla_gradients(case, *arrays)))


@all_cases
def test_each_is_xlas_transposition_and_the_textbooks_sum(case):
    check_in_float64(case)


@pytest.mark.slow
@settings(max_examples=20)
@given(conv_cases())
def test_the_same_for_any_case(case):
    check_in_float64(case)


def check_in_float64(case):
    arrays = case.arrays()
    with jax.enable_x64(True):
        actual, expected = in_one_program(case)(*arrays)
    jax.tree.map(assert_close, actual, expected)
    jax.tree.map(assert_close, actual, reference_gradients(case, *arrays))


@all_cases
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_each_keeps_its_dtype(case, dtype):
    with jax.enable_x64(True):
        actual, expected = in_one_program(case)(*case.arrays(dtype))
    assert {str(gradient.dtype) for gradient in actual} == {dtype}
    jax.tree.map(assert_close, actual, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_bias_gradient_of_a_short_dtype_is_summed_in_float32(dtype):
    g = jnp.ones((20, 16, 16, 2), dtype)  # one by one, bfloat16 would stop at 256 and float16 at 2048
    b_bar = conv2d_bias_gradient(g)
    assert b_bar.dtype == dtype
    assert_close(b_bar, [5120, 5120])


SECOND_CASES = {name: CASES[name] for name in ("strides", "asymmetric padding", "groups")}
second_cases = pytest.mark.parametrize("case", SECOND_CASES.values(), ids=SECOND_CASES)


def second_derivatives(gradients):
    """Of Σ sin of the gradients in the convolution's input and kernel: first reverse, then forward over it."""

    def loss(*arrays):
        return sum(jnp.sum(jnp.sin(gradient)) for gradient in gradients(*arrays))

    def twice(*arrays):
        gradient = jax.grad(loss, (0, 1, 2))
        return jax.jvp(gradient, arrays, tuple(map(jnp.cos, arrays)))

    return twice


@pytest.mark.slow
@second_cases
def test_their_derivatives_are_those_of_xlas_transpositions(case):
    with jax.enable_x64(True):
        actual, expected = jax.jit(
            lambda *arrays: [second_derivatives(partial(f, case))(*arrays) for f in (closed_forms, xla_gradients)]
        )(*case.arrays())
    jax.tree.map(assert_close, actual, expected)


@pytest.mark.parametrize("in_axes", [(0, None, 0), (None, 0, 0), (1, 2, 3)])
@second_cases
def test_vmap_gives_each_its_own(case, in_axes):
    stacks = [np.stack([case.arrays(seed=seed)[i] for seed in range(3)]) for i in range(3)]
    singles = [
        [stack[0] if axis is None else stack[number] for stack, axis in zip(stacks, in_axes, strict=True)]
        for number in range(3)
    ]
    batched = [
        stack[0] if axis is None else np.moveaxis(stack, 0, axis) for stack, axis in zip(stacks, in_axes, strict=True)
    ]
    with jax.enable_x64(True):
        actual = jax.jit(jax.vmap(partial(closed_forms, case), in_axes))(*batched)
    expected = [reference_gradients(case, *single) for single in singles]
    jax.tree.map(assert_close, actual, tuple(map(np.stack, zip(*expected, strict=True))))


def test_in_shard_map_each_device_has_its_images():
    case = CASES["lab"]
    x, kernel, g = case.arrays("float32")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    @partial(jax.shard_map, mesh=mesh, in_specs=(P("data"), P(), P("data")), out_specs=(P("data"), P(), P()))
    def sharded(x, kernel, g):
        x_bar, kernel_bar, bias_bar = closed_forms(case._replace(x=x.shape), x, kernel, g)
        return x_bar, lax.psum(kernel_bar, "data"), lax.psum(bias_bar, "data")

    jax.tree.map(assert_close, jax.jit(sharded)(x, kernel, g), reference_gradients(case, x, kernel, g))


def test_one_program_for_all_platforms_and_batch_sizes():
    case = CASES["strides"]
    arrays = x, kernel, g = case.arrays("float32")
    (b,) = jax.export.symbolic_shape("b")
    specs = [jax.ShapeDtypeStruct((b, *a.shape[1:]), a.dtype) for a in (x, g)]

    def gradients(x, kernel, g):
        return closed_forms(case._replace(x=x.shape), x, kernel, g)

    program = jax.export.export(jax.jit(gradients), platforms=["cpu", "cuda", "tpu"])(specs[0], kernel, specs[1])
    jax.tree.map(assert_close, tuple(program.call(*arrays)), reference_gradients(case, *arrays))


ONES = {"x": (2, 8, 8, 3), "kernel": (3, 3, 3, 4), "g": (2, 8, 8, 4)}


@pytest.mark.parametrize(
    "call",
    [
        lambda x, kernel, g, options: conv2d_input_gradient(g, kernel, x.shape, **options),
        lambda x, kernel, g, options: conv2d_kernel_gradient(x, g, kernel.shape, **options),
    ],
    ids=["input", "kernel"],
)
@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ({"g": (2, 7, 8, 4)}, {}, r"g must have the shape of .* output, \(2, 8, 8, 4\): .* g.shape=\(2, 7, 8, 4\)"),
        ({"g": (3, 8, 8, 4)}, {}, r"g must have the shape of .* output, \(2, 8, 8, 4\): x.shape=\(2, 8, 8, 3\)"),
        ({}, {"strides": 2}, r"output, \(2, 4, 4, 4\): .* kernel.shape=\(3, 3, 3, 4\), g.shape=\(2, 8, 8, 4\)"),
        ({"g": (2, 8, 4)}, {}, r"x and g must be NHWC and kernel HWIO, 4 axes each: .* g.shape=\(2, 8, 4\)"),
        ({"kernel": (3, 3, 4)}, {}, r"4 axes each: .*kernel.shape=\(3, 3, 4\)"),
        ({"x": (8, 8, 3)}, {}, r"4 axes each: x.shape=\(8, 8, 3\)"),
        ({"x": (2, 8, 8, 2)}, {}, "kernel has 3 input channels, x has 2"),
        ({}, {"strides": 0}, "strides must be a positive integer, found 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, shapes, options, message):
    shapes = ONES | shapes
    x, kernel, g = (jnp.ones(shapes[array]) for array in ("x", "kernel", "g"))
    with pytest.raises(ValueError, match=message) as refusal:
        call(x, kernel, g, options)
    assert "\n" not in str(refusal.value)


def test_a_bias_gradient_of_other_than_four_axes_is_refused():
    with pytest.raises(ValueError, match=r"g must be NHWC, 4 axes: g.shape=\(8, 4\)"):
        conv2d_bias_gradient(jnp.ones((8, 4)))


@pytest.mark.parametrize("gradient", [conv2d_input_gradient, conv2d_kernel_gradient])
def test_two_dtypes_are_refused_as_the_convolution_refuses_them(gradient):
    ones = jnp.ones((1, 1, 1, 1))
    with pytest.raises(TypeError, match="one dtype, found float32 and bfloat16"):
        gradient(ones, ones.astype(jnp.bfloat16), (1, 1, 1, 1))
