"""conv_general_dilated beside lax's: values, derivatives, transformations and errors."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import conv_general_dilated


class Call(NamedTuple):
    """Shapes and arguments of a call."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    strides: tuple[int, ...] = (1, 1)
    padding: Any = "SAME"
    options: dict[str, Any] = {}  # noqa: RUF012 never changed

    def arrays(self, dtype="float64"):
        rng = np.random.default_rng(0)
        return [rng.normal(size=shape).astype(dtype) for shape in (self.lhs, self.rhs)]

    def with_(self, f):
        return lambda lhs, rhs: f(lhs, rhs, self.strides, self.padding, **self.options)


NHWC = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
OURS = {
    "lax's own layout": Call((2, 3, 6, 5), (4, 3, 3, 2)),
    "images last": Call((2, 6, 5, 3), (3, 2, 3, 4), (1, 2), "VALID", NHWC),
    "batch last, another layout out": Call(
        (3, 6, 5, 2), (3, 3, 2, 4), (2, 1), "SAME", {"dimension_numbers": ("CHWN", "IHWO", "NCHW")}
    ),
    "same at the other end": Call((2, 6, 5, 3), (2, 2, 3, 4), (1, 1), "SAME_LOWER", NHWC),
    "pads, some negative": Call((2, 6, 5, 3), (3, 2, 3, 4), (2, 1), ((2, -1), (0, 3)), NHWC),
    "kernel dilated": Call((2, 9, 8, 2), (3, 2, 2, 3), (1, 2), "SAME", NHWC | {"rhs_dilation": (2, 3)}),
    "lhs dilation of 1": Call((2, 6, 5, 3), (3, 2, 3, 4), (1, 1), "SAME", NHWC | {"lhs_dilation": (1, 1)}),
    "groups": Call((2, 4, 6, 5), (6, 2, 3, 3), (1, 1), "SAME", {"feature_group_count": 2}),
    "one axis": Call((2, 9, 3), (4, 3, 5), (2,), "SAME", {"dimension_numbers": ("NWC", "WIO", "NWC")}),
    "four axes": Call((1, 16, 3, 3, 3, 3), (16, 16, 2, 2, 2, 2), (1,) * 4),
    "three axes": Call((2, 3, 4, 5, 3), (4, 3, 2, 3, 2), (1, 2, 1), "VALID"),
}
XLAS = {
    "lhs dilated": Call((2, 6, 5, 3), (3, 2, 3, 4), (1, 1), ((1, 1), (0, 1)), NHWC | {"lhs_dilation": (2, 1)}),
    "groups of images": Call((4, 3, 6, 5), (4, 3, 3, 3), (1, 1), "SAME", {"batch_group_count": 2}),
    "nothing comes out": Call((2, 3, 2, 2), (4, 3, 3, 3), (1, 1), "VALID"),
    "no axes": Call((2, 3), (4, 3), (), ()),
}
all_calls = pytest.mark.parametrize("call", (OURS | XLAS).values(), ids=OURS | XLAS)
UNGROUPED = {name: call for name, call in OURS.items() if name != "groups"}  # those of groups are XLA's own


@all_calls
@pytest.mark.parametrize("algorithm", ["auto", "xla"])
def test_value_and_gradients_are_laxs(call, algorithm):
    check(call, partial(conv_general_dilated, algorithm=algorithm))


def check(call, f):
    with jax.enable_x64(True):
        arrays = call.arrays()
        both = [quick_jit(partial(value_and_gradients, call.with_(g))) for g in (f, lax.conv_general_dilated)]
        jax.tree.map(assert_close, *(program(*arrays) for program in both))


def value_and_gradients(f, *arrays):
    y, transpose = jax.vjp(f, *arrays)
    return y, transpose(jnp.cos(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape)))


@st.composite
def calls(draw):
    """Any layout, one to three axes."""
    axes = draw(st.integers(1, 3))
    of_axes = st.tuples(*[st.integers(1, 3)] * axes)
    window, strides, dilation, extra = (draw(of_axes) for _ in range(4))
    groups, per_group, features = (draw(st.integers(1, 2)) for _ in range(3))
    size = [d * (k - 1) + 1 + more for d, k, more in zip(dilation, window, extra, strict=True)]
    letters = "WHD"[:axes]
    lhs_spec, rhs_spec, out_spec = ("".join(draw(st.permutations(start + letters))) for start in ("NC", "IO", "NC"))
    sizes = dict(zip(letters, size, strict=True)) | {"N": 2, "C": groups * per_group}
    windows = dict(zip(letters, window, strict=True)) | {"I": per_group, "O": groups * features}
    # lax pairs strides and dilations with the spatial letters in the order in which the kernel has them.
    by_letter = {name: dict(zip(letters, values, strict=True)) for name, values in (("s", strides), ("d", dilation))}
    ordered = [letter for letter in rhs_spec if letter in letters]
    return Call(
        tuple(sizes[letter] for letter in lhs_spec),
        tuple(windows[letter] for letter in rhs_spec),
        tuple(by_letter["s"][letter] for letter in ordered),
        draw(st.sampled_from(["SAME", "VALID", "SAME_LOWER"])),
        {
            "rhs_dilation": tuple(by_letter["d"][letter] for letter in ordered),
            "dimension_numbers": (lhs_spec, rhs_spec, out_spec),
            "feature_group_count": groups,
        },
    )


@pytest.mark.slow
@settings(max_examples=15)
@given(calls())
def test_the_same_for_any_layout(call):
    check(call, conv_general_dilated)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "complex64"])
@pytest.mark.parametrize("preferred", [None, "float32"])
def test_types_are_laxs(dtype, preferred):
    call = OURS["lax's own layout"]
    call = call._replace(options={"preferred_element_type": preferred if dtype in ("bfloat16", "float16") else None})
    arrays = [jnp.asarray(a).astype(dtype) for a in call.arrays()]
    expected = call.with_(lax.conv_general_dilated)(*arrays)
    actual = call.with_(conv_general_dilated)(*arrays)
    assert actual.dtype == expected.dtype
    if dtype in ("int32", "complex64"):  # XLA's own
        np.testing.assert_array_equal(actual, expected)
    else:
        assert_close(actual, expected)


def test_sizes_may_be_iterators_and_arrays():
    lhs, rhs = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    expected = lax.conv_general_dilated(lhs, rhs, (1, 2), ((1, 1), (0, 1)), rhs_dilation=(2, 1))
    pads = zip((1, 0), (1, 1), strict=True)
    actual = conv_general_dilated(lhs, rhs, iter((1, 2)), pads, rhs_dilation=np.array([2, 1]))
    assert_close(actual, expected)
    dilated = conv_general_dilated(lhs, rhs, (1, 1), ((1, 1), (0, 1)), lhs_dilation=np.array([1, 2]))
    assert dilated.shape == (2, 4, 8, 14)


def test_numpys_float64_is_jaxs_float32():
    def loss(rhs):
        return conv_general_dilated(np.ones((2, 16, 8, 8)), rhs, (1, 1), "SAME").sum()

    assert "stablehlo.convolution" not in jax.jit(jax.grad(loss)).lower(jnp.ones((16, 16, 3, 3))).as_text()
    y = conv_general_dilated(np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3)), (1, 1), "SAME", algorithm="im2col")
    assert y.dtype == "float32"


@pytest.mark.parametrize("precision", ["TF32_TF32_F32", lax.DotAlgorithm(np.float32, np.float32, np.float32)])
@pytest.mark.parametrize("algorithm", ["auto", "im2col", "fft"])
def test_on_a_cpu_it_takes_other_devices_algorithms_of_products_as_lax_does(precision, algorithm):
    call = OURS["lax's own layout"]
    lhs, rhs = call.arrays("float32")
    f = partial(call.with_(partial(conv_general_dilated, algorithm=algorithm, precision=precision)), lhs)
    y, transpose = jax.vjp(f, jnp.asarray(rhs))
    assert_close(y, call.with_(lax.conv_general_dilated)(lhs, rhs))
    assert transpose(y)[0].shape == rhs.shape


def test_a_weak_type_stays_weak():
    lhs, rhs = lax.broadcast(1.0, (1, 1, 4, 4)), lax.broadcast(2.0, (1, 1, 2, 2))
    f = partial(conv_general_dilated, window_strides=(1, 1), padding="SAME")
    assert f(lhs, rhs).weak_type
    assert not f(lhs, rhs.astype("float32")).weak_type


def test_a_window_of_a_size_known_at_run_time_only_is_laxs():
    (k,) = jax.export.symbolic_shape("k")
    specs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 16, 16), (4, 8, k, k))]
    f = jax.jit(partial(conv_general_dilated, window_strides=(1, 1), padding="SAME"))
    lhs, rhs = np.ones((2, 8, 16, 16), "f4"), np.ones((4, 8, 3, 3), "f4")
    assert_close(jax.export.export(f)(*specs).call(lhs, rhs), f(lhs, rhs))


@pytest.mark.parametrize("call", UNGROUPED.values(), ids=UNGROUPED)
def test_its_kernel_gradient_has_no_convolution_on_the_cpu(call):
    arrays = call.arrays("float32")
    g = jax.eval_shape(call.with_(conv_general_dilated), *arrays)
    kernel_gradient = jax.jit(lambda g, lhs, rhs: jax.vjp(partial(call.with_(conv_general_dilated), lhs), rhs)[1](g))
    assert "stablehlo.convolution" not in kernel_gradient.lower(g, *arrays).as_text()


def summed_in_a_scan(f, a, b):
    start = jnp.zeros((), a.dtype)
    return lax.scan(lambda total, _: (total + jnp.sum(f(a, b + total)), None), start, length=2)[0]


TRANSFORMED = {
    "jvp": lambda f: lambda a, b: jax.jvp(f, (a, b), (b.sum() + jnp.cos(a), a.sum() + jnp.sin(b)))[1],
    "linearize": lambda f: lambda a, b: jax.linearize(f, a, b)[1](jnp.cos(a), jnp.sin(b)),
    "hessian": lambda f: jax.hessian(lambda a, b: jnp.sum(jnp.sin(f(a, b))), 1),
    "checkpoint": lambda f: jax.grad(lambda a, b: jnp.sum(jax.checkpoint(f)(a, b) ** 2), (0, 1)),
    "vmap of lhs": lambda f: lambda a, b: jax.vmap(f, (0, None))(jnp.stack([a, -a]), b),
    "vmap of rhs": lambda f: lambda a, b: jax.vmap(f, (None, 0))(a, jnp.stack([b, -b])),
    "vmap of both": lambda f: lambda a, b: jax.vmap(f)(jnp.stack([a, 2 * a]), jnp.stack([b, -b])),
    "scan": lambda f: lambda a, b: summed_in_a_scan(f, a, b),
}


@pytest.mark.parametrize("transform", TRANSFORMED.values(), ids=TRANSFORMED)
def test_transformations_give_what_laxs_give(transform):
    call = Call((2, 2, 4, 3), (3, 2, 2, 2))
    with jax.enable_x64(True):
        results = [
            jax.jit(transform(call.with_(f)))(*call.arrays()) for f in (conv_general_dilated, lax.conv_general_dilated)
        ]
        jax.tree.map(assert_close, *results)


def test_one_program_for_all_platforms_and_batch_sizes():
    call = OURS["images last"]
    lhs, rhs = call.arrays("float32")
    (b,) = jax.export.symbolic_shape("b")
    spec = jax.ShapeDtypeStruct((b, *lhs.shape[1:]), lhs.dtype)
    program = jax.export.export(jax.jit(call.with_(conv_general_dilated)), platforms=["cpu", "cuda", "tpu"])(spec, rhs)
    assert_close(program.call(lhs, rhs), call.with_(lax.conv_general_dilated)(lhs, rhs))


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_sharded_images_give_the_same_gradients(axis_type):
    call = OURS["lax's own layout"]
    lhs, rhs = call.arrays("float32")

    def loss(lhs, rhs):
        return jnp.sum(jnp.sin(call.with_(conv_general_dilated)(lhs, rhs)))

    expected = jax.grad(loss, (0, 1))(lhs, rhs)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        sharded = [jax.device_put(a, jax.NamedSharding(mesh, s)) for a, s in ((lhs, P("data")), (rhs, P()))]
        actual = jax.jit(jax.grad(loss, (0, 1)))(*sharded)
    assert actual[0].sharding.spec[0] == "data"
    jax.tree.map(assert_close, actual, expected)


def test_a_jitted_call_is_traced_once():
    traced = []

    @jax.jit
    def f(lhs, rhs):
        traced.append(lhs.shape)
        return OURS["images last"].with_(conv_general_dilated)(lhs, rhs)

    for _ in range(3):
        f(*OURS["images last"].arrays("float32"))
    assert len(traced) == 1


BAD = {
    "channels": Call((2, 3, 6, 5), (4, 2, 3, 2)),
    "ranks": Call((2, 3, 6), (4, 3, 3, 2)),
    "a stride of 0": Call((2, 3, 6, 5), (4, 3, 3, 2), (0, 1)),
    "strides of another length": Call((2, 3, 6, 5), (4, 3, 3, 2), (1,)),
    "a padding of no name": Call((2, 3, 6, 5), (4, 3, 3, 2), (1, 1), "SOME"),
    "pads of another length": Call((2, 3, 6, 5), (4, 3, 3, 2), (1, 1), [(0, 0)]),
    "a dilation of 0": Call((2, 3, 6, 5), (4, 3, 3, 2), (1, 1), "SAME", {"rhs_dilation": (0, 1)}),
    "groups that do not divide": Call((2, 3, 6, 5), (4, 3, 3, 2), (1, 1), "SAME", {"feature_group_count": 2}),
    "letters": Call((2, 3, 6, 5), (4, 3, 3, 2), (1, 1), "SAME", {"dimension_numbers": ("NHWC", "HWIX", "NHWC")}),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_errors_are_laxs(call):
    arrays = call.arrays("float32")
    with pytest.raises(Exception) as expected:  # noqa: PT011 compared with the other below
        call.with_(lax.conv_general_dilated)(*arrays)
    with pytest.raises(type(expected.value)) as actual:
        call.with_(conv_general_dilated)(*arrays)
    assert str(actual.value) == str(expected.value)


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(
        ValueError, match="auto, xla, eigen, im2col, winograd, fft, polyphase, planes, groupwise, found 'fastest'"
    ):
        conv_general_dilated(jnp.ones((1, 1, 2, 2)), jnp.ones((1, 1, 1, 1)), (1, 1), "SAME", algorithm="fastest")
