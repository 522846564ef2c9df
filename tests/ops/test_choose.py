"""Which algorithm is chosen, that each one named is right, and how exact the chosen ones are."""

import sys
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import choose, conv2d, conv_general_dilated, winograd
from jaxcnn.ops.geometry import ConvGeometry

OPERATIONS = ("convolve", "input_gradient", "kernel_gradient")


def geometry(x, kernel, **options):
    return ConvGeometry.resolve(x, kernel, **options)


# The algorithms for float32 on the CPU: of the convolution, its input gradient and its kernel gradient.
RULES = {
    "3x3": (geometry((8, 28, 28, 32), (3, 3, 32, 32)), "winograd winograd winograd"),
    "many channels": (geometry((4, 14, 14, 64), (3, 3, 64, 64)), "winograd winograd winograd"),
    "5x5": (geometry((8, 14, 14, 32), (5, 5, 32, 32)), "winograd winograd winograd"),
    "7x7": (geometry((16, 14, 14, 64), (7, 7, 64, 64)), "winograd winograd winograd"),
    "5x5, sums too long to be exact": (geometry((16, 14, 14, 320), (5, 5, 320, 320)), "eigen eigen eigen"),
    "2x2": (geometry((64, 28, 28, 64), (2, 2, 64, 64)), "eigen eigen winograd"),
    "2x2, many channels": (geometry((16, 28, 28, 128), (2, 2, 128, 128)), "winograd winograd winograd"),
    "2x2, many channels, tiles that stand over": (
        geometry((32, 17, 17, 256), (2, 2, 256, 128), padding="VALID"),
        "winograd eigen winograd",
    ),
    "few tiles": (geometry((2, 7, 7, 128), (3, 3, 128, 128)), "eigen im2col im2col"),
    "few tiles, more channels": (geometry((6, 7, 7, 512), (3, 3, 512, 512)), "eigen im2col winograd"),
    "few channels": (geometry((8, 28, 28, 16), (3, 3, 16, 16)), "xla xla im2col"),
    "few channels, in many images": (geometry((64, 28, 28, 24), (3, 3, 24, 24)), "winograd winograd winograd"),
    "few channels to many": (geometry((8, 28, 28, 16), (3, 3, 16, 64)), "eigen winograd winograd"),
    "few channels to many, in many images": (geometry((64, 28, 28, 16), (3, 3, 16, 64)), "eigen winograd winograd"),
    "3x3, in many images": (geometry((64, 28, 28, 32), (3, 3, 32, 32)), "winograd winograd winograd"),
    "3x3, in many small images": (geometry((64, 8, 8, 48), (3, 3, 48, 48)), "winograd winograd winograd"),
    "3x3, in many tiny images": (geometry((64, 4, 4, 32), (3, 3, 32, 64)), "eigen im2col eigen"),
    "many channels, in many tiny images": (geometry((64, 4, 4, 64), (3, 3, 64, 64)), "eigen eigen winograd"),
    "many channels, in few tiny images": (geometry((16, 4, 4, 64), (3, 3, 64, 64)), "xla xla winograd"),
    "3x3, in large images": (geometry((4, 112, 112, 32), (3, 3, 32, 32)), "winograd winograd winograd"),
    "tiles that stand over": (geometry((64, 9, 9, 64), (3, 3, 64, 64)), "winograd winograd winograd"),
    "few outputs": (geometry((8, 28, 28, 64), (3, 3, 64, 16)), "winograd eigen winograd"),
    "window along one axis": (geometry((8, 28, 28, 32), (3, 1, 32, 32)), "eigen eigen winograd"),
    "window along one axis, many channels": (
        geometry((16, 17, 17, 128), (7, 1, 128, 192)),
        "winograd winograd winograd",
    ),
    "one axis": (geometry((8, 280, 32), (3, 32, 32)), "xla xla winograd"),
    "one axis, few channels": (geometry((8, 280, 24), (3, 24, 24)), "xla xla im2col"),
    "one axis, more channels": (geometry((16, 1000, 64), (5, 64, 64)), "winograd winograd winograd"),
    "one axis, too few products": (geometry((4, 500, 128), (3, 128, 128)), "eigen eigen winograd"),
    "one axis, many channels, long window": (geometry((4, 200, 512), (5, 512, 512)), "winograd winograd winograd"),
    "one axis, two taps": (geometry((64, 250, 256), (2, 256, 256)), "eigen eigen winograd"),
    "one axis with strides": (geometry((16, 1000, 64), (4, 64, 64), strides=2), "eigen polyphase polyphase"),
    "one axis with strides, long window": (
        geometry((16, 1000, 128), (6, 128, 128), strides=2),
        "polyphase polyphase polyphase",
    ),
    "9x9": (geometry((8, 28, 28, 32), (9, 9, 32, 32)), "eigen eigen eigen"),
    "window larger than the image": (geometry((64, 2, 2, 256), (3, 3, 256, 256)), "im2col im2col winograd"),
    "outputs more than the inputs": (geometry((8, 8, 8, 32), (9, 9, 32, 32), padding=8), "im2col eigen im2col"),
    "images of no more than strides": (geometry((64, 4, 4, 256), (3, 3, 256, 256), strides=2), "eigen im2col im2col"),
    "three axes": (geometry((2, 8, 8, 8, 32), (3, 3, 3, 32, 32)), "winograd winograd winograd"),
    "three axes, long windows": (geometry((1, 12, 12, 12, 64), (5, 5, 5, 64, 64)), "im2col im2col im2col"),
    "three axes, many channels": (geometry((2, 8, 8, 8, 256), (3, 3, 3, 256, 32)), "im2col im2col im2col"),
    "four axes": (geometry((1, 6, 6, 6, 6, 16), (3, 3, 3, 3, 16, 16)), "im2col im2col im2col"),
    "three axes, few channels": (geometry((2, 8, 8, 8, 4), (3, 3, 3, 4, 16)), "im2col im2col im2col"),
    "three axes with strides": (geometry((2, 8, 8, 8, 128), (3, 3, 3, 128, 64), strides=2), "im2col im2col im2col"),
    "strides": (geometry((8, 28, 28, 32), (3, 3, 32, 32), strides=2), "eigen im2col im2col"),
    "strides, many channels": (geometry((8, 28, 28, 128), (3, 3, 128, 256), strides=2), "eigen xla im2col"),
    "strides, many channels, few outputs": (
        geometry((4, 14, 14, 128), (3, 3, 128, 256), strides=2),
        "eigen im2col im2col",
    ),
    "strides, in many images": (geometry((64, 28, 28, 32), (3, 3, 32, 64), strides=2), "eigen im2col im2col"),
    "large windows with strides": (
        geometry((4, 40, 60, 32), (5, 10, 32, 32), strides=2),
        "polyphase polyphase polyphase",
    ),
    "4x4 with strides": (geometry((32, 32, 32, 64), (4, 4, 64, 128), strides=2), "polyphase polyphase polyphase"),
    "4x4 with strides, few channels": (
        geometry((4, 64, 64, 24), (4, 4, 24, 32), strides=2),
        "eigen polyphase polyphase",
    ),
    "4x4 with strides, few products": (geometry((32, 16, 16, 8), (4, 4, 8, 16), strides=2), "xla polyphase eigen"),
    "three axes with strides, even window": (
        geometry((2, 16, 16, 16, 8), (4, 4, 4, 8, 32), strides=2),
        "polyphase polyphase polyphase",
    ),
    "first layer with strides": (geometry((2, 64, 64, 3), (7, 7, 3, 64), strides=2), "xla polyphase eigen"),
    "dilation": (geometry((8, 28, 28, 32), (3, 3, 32, 32), kernel_dilation=2), "eigen eigen im2col"),
    "first layer, in many images": (geometry((32, 32, 32, 3), (3, 3, 3, 32)), "im2col im2col eigen"),
    "first layer, of one channel": (geometry((64, 28, 28, 1), (3, 3, 1, 32)), "im2col im2col im2col"),
    "first layer": (geometry((8, 32, 32, 3), (3, 3, 3, 32)), "im2col im2col im2col"),
    "last layer": (geometry((8, 32, 32, 32), (3, 3, 32, 3)), "xla im2col im2col"),
    "1x1": (geometry((8, 28, 28, 32), (1, 1, 32, 64)), "im2col im2col im2col"),
    "1x1 with strides": (geometry((8, 28, 28, 32), (1, 1, 32, 64), strides=2), "im2col im2col im2col"),
    "1x1 with strides, in many images": (
        geometry((64, 28, 28, 128), (1, 1, 128, 128), strides=2),
        "eigen im2col im2col",
    ),
    "groups": (geometry((8, 28, 28, 32), (3, 3, 8, 32), feature_group_count=4), "im2col im2col im2col"),
    "depthwise": (geometry((8, 28, 28, 32), (3, 3, 1, 32), feature_group_count=32), "im2col im2col im2col"),
    "depthwise, 11x11": (geometry((8, 28, 28, 32), (11, 11, 1, 32), feature_group_count=32), "im2col im2col im2col"),
    "depthwise, 13x13": (geometry((8, 28, 28, 32), (13, 13, 1, 32), feature_group_count=32), "fft fft fft"),
    "depthwise, many taps along four axes": (
        geometry((1, 8, 8, 8, 8, 4), (4, 4, 4, 4, 1, 4), feature_group_count=4),
        "im2col im2col im2col",
    ),
    "tiny": (geometry((1, 4, 4, 16), (3, 3, 16, 16)), "im2col im2col im2col"),
}
all_rules = pytest.mark.parametrize(("geometry", "names"), RULES.values(), ids=RULES)


def chosen(geometry, dtype="float32", precision=None, platform: str | None = "cpu"):
    """For each operation."""
    return [choose.rule_of_thumb(o, geometry, jnp.dtype(dtype), precision, platform) for o in OPERATIONS]


@all_rules
def test_on_the_cpu_each_convolution_has_its_algorithms(geometry, names):
    assert chosen(geometry) == names.split()


@all_rules
@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu", None])
def test_elsewhere_it_is_xlas(geometry, names, platform):
    del names
    assert chosen(geometry, platform=platform) == ["xla"] * 3


@all_rules
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float64", None), ("bfloat16", None), ("float16", None), ("float32", "highest"), ("float32", "float32")],
)
def test_no_exactness_is_given_away(geometry, names, dtype, precision):
    del names
    names = chosen(geometry, dtype, precision)
    assert "winograd" not in names
    assert names[2] in ("im2col", "fft") or (names[2] == "eigen" and dtype == "float32")


def test_the_process_default_of_the_highest_precision_is_heeded():
    three_by_three = RULES["3x3"][0]
    with jax.default_matmul_precision("highest"):
        assert chosen(three_by_three) == ["eigen", "eigen", "im2col"]
        assert chosen(three_by_three, precision="default") == ["winograd"] * 3


def test_for_images_of_unknown_number_there_is_a_choice():
    b: Any = jax.export.symbolic_shape("b")[0]
    unknown = RULES["3x3"][0].with_batch(b)
    assert winograd.tiles(unknown) == sys.maxsize
    assert chosen(unknown) == ["winograd"] * 3


@settings(max_examples=200)
@given(
    conv_cases(),
    st.integers(1, 64),
    st.sampled_from(["float32", "float64", "bfloat16"]),
    st.sampled_from(["cpu", "cuda", None]),
)
def test_what_is_chosen_can_do_the_convolution(case, times, dtype, platform):
    (*x, c_in), (*window, k_in, c_out) = case.x, case.kernel
    wider = ConvGeometry.resolve((*x, times * c_in), (*window, times * k_in, times * c_out), **case.options)
    for operation, name in zip(OPERATIONS, chosen(wider, dtype, None, platform), strict=True):
        assert choose.IMPLEMENTATIONS[name].limit(wider) is None
        assert operation != "kernel_gradient" or platform != "cpu" or name != "xla"
        assert name != "winograd" or (dtype == "float32" and min(times * k_in, times * c_out) >= 8)


@pytest.mark.parametrize(("precision", "name"), [(None, "winograd"), ("highest", "eigen")])
def test_the_program_has_the_algorithm_chosen(precision, name):
    x, kernel = (jnp.ones(shape) for shape in ((8, 28, 28, 32), (3, 3, 32, 32)))
    auto, named = (jax.jit(partial(conv2d, algorithm=a, precision=precision)).lower(x, kernel) for a in ("auto", name))
    assert auto.as_text() == named.as_text()
    assert ("stablehlo.convolution" in auto.as_text()) == (name == "eigen")


def test_the_default_precision_is_the_one_where_the_convolution_is_traced_as_it_is_for_lax():
    x, kernel = jnp.ones((8, 28, 28, 32)), jnp.ones((3, 3, 32, 32))
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(conv2d).trace(x, kernel)
        y, transpose = jax.vjp(conv2d, x, kernel)
    for text in (traced.lower().as_text(), jax.jit(transpose).lower(y).as_text()):
        products = text.count("stablehlo.convolution(") + text.count("stablehlo.dot_general")
        assert text.count("HIGHEST") == 2 * products


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(
        ValueError, match="algorithm must be one of auto, xla, eigen, im2col, winograd, fft, polyphase, found 'fastest'"
    ):
        choose.check_algorithm("fastest")


@pytest.mark.parametrize("name", choose.ALGORITHMS)
def test_a_known_algorithm_is_not_refused(name):
    choose.check_algorithm(name)
    choose.check_algorithm(name, RULES["strides" if name == "polyphase" else "3x3"][0])


def test_an_algorithm_that_cannot_do_it_is_refused():
    for name in ("auto", "xla", "eigen", "im2col", "fft", "polyphase"):
        choose.check_algorithm(name, RULES["strides"][0])
    message = r"algorithm 'winograd' cannot do this convolution: winograd needs strides of 1, found \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        choose.check_algorithm("winograd", RULES["strides"][0])
    x, kernel = jnp.ones((1, 6, 6, 2)), jnp.ones((3, 3, 2, 2))
    with pytest.raises(ValueError, match=message):
        conv2d(x, kernel, strides=2, algorithm="winograd")
    with pytest.raises(ValueError, match=message):
        conv_general_dilated(
            x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), (2, 2), "SAME", algorithm="winograd"
        )


@pytest.mark.parametrize(
    ("options", "dtype", "message"),
    [
        ({"lhs_dilation": (2, 1)}, "float32", r"not with lhs_dilation=\(2, 1\)"),
        ({"batch_group_count": 2}, "float32", "not with batch_group_count=2"),
        ({}, "int32", "not with arrays of int32 and int32 with a result of int32"),
    ],
)
@pytest.mark.parametrize("name", ["eigen", "im2col", "winograd", "fft", "polyphase"])
def test_what_only_xla_can_do_is_refused_to_the_others(name, options, dtype, message):
    arrays = jnp.ones((2, 2, 5, 5), dtype), jnp.ones((2, 2, 3, 3), dtype)
    pads = ((1, 1), (1, 1))
    with pytest.raises(ValueError, match=f"algorithm '{name}' cannot do this convolution: {message}"):
        conv_general_dilated(*arrays, (1, 1), pads, **options, algorithm=name)
    for own in ("auto", "xla"):
        conv_general_dilated(*arrays, (1, 1), pads, **options, algorithm=own)


def everything(name, options):
    """Value, gradients, tangent and both batches of a convolution, as one program."""
    f = partial(conv2d, algorithm=name, **options)

    def program(x, kernel):
        return (
            jax.value_and_grad(lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel))), (0, 1))(x, kernel),
            jax.jvp(f, (x, kernel), (jnp.cos(x), jnp.sin(kernel))),
            jax.vmap(f, (0, None))(jnp.stack([x, jnp.cos(x)]), kernel),
            jax.vmap(f, (None, 0))(x, jnp.stack([kernel, jnp.sin(kernel)])),
        )

    return quick_jit(program)


@cache
def xlas(case_name):
    x, kernel, _ = CASES[case_name].arrays()
    return everything("xla", CASES[case_name].options)(x, kernel)


SUPPORTED = [
    (algorithm, name)
    for algorithm in ("eigen", "im2col", "winograd", "fft", "polyphase")
    for name, case in CASES.items()
    if choose.IMPLEMENTATIONS[algorithm].limit(case.geometry) is None
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "name"), SUPPORTED)
def test_each_algorithm_named_gives_xlas_values_derivatives_and_batches(algorithm, name, monkeypatch):
    monkeypatch.setattr(winograd, "TILES", {r: min(m, 2) for r, m in winograd.TILES.items()})  # quicker to compile
    with jax.enable_x64(True):
        x, kernel, _ = CASES[name].arrays()
        jax.tree.map(assert_close, everything(algorithm, CASES[name].options)(x, kernel), xlas(name))


REALISTIC = [
    pytest.param((8, 28, 28, 32), (3, 3, 32, 32), {}, id="3x3"),
    pytest.param((4, 14, 14, 64), (3, 3, 64, 64), {}, id="many channels", marks=pytest.mark.slow),
    pytest.param((2, 7, 7, 128), (3, 3, 128, 128), {}, id="few tiles"),
    pytest.param((16, 16, 16, 3), (3, 3, 3, 32), {}, id="first layer"),
    pytest.param((8, 14, 14, 32), (5, 5, 32, 32), {}, id="5x5", marks=pytest.mark.slow),
    pytest.param((2, 12, 12, 256), (7, 7, 256, 256), {}, id="7x7, longest sums", marks=pytest.mark.slow),
    pytest.param((16, 17, 17, 128), (7, 1, 128, 192), {}, id="window along one axis", marks=pytest.mark.slow),
    pytest.param((8, 14, 14, 64), (1, 1, 64, 64), {}, id="1x1"),
    pytest.param((4, 14, 14, 64), (3, 3, 1, 64), {"feature_group_count": 64}, id="depthwise"),
    pytest.param((4, 28, 28, 32), (3, 3, 32, 64), {"strides": 2}, id="strides", marks=pytest.mark.slow),
    pytest.param(
        (1, 40, 60, 32), (5, 10, 32, 32), {"strides": 2}, id="large windows with strides", marks=pytest.mark.slow
    ),
    pytest.param((2, 64, 64, 3), (7, 7, 3, 32), {"strides": 2}, id="first layer with strides", marks=pytest.mark.slow),
]
DATA = {
    "normal": lambda a: a,
    "small": lambda a: 1e-3 * a,
    "large": lambda a: 1e3 * a,
    "positive": abs,
}


def passes(options, **how):
    """One program for the convolution and its gradients."""

    def program(x, kernel, g):
        y, transpose = jax.vjp(partial(conv2d, **options, **how), x, kernel)
        return y, *transpose(g)

    return (quick_jit if how.get("algorithm") == "xla" else jax.jit)(program)


@pytest.mark.parametrize(("x", "kernel", "options"), REALISTIC)
def test_float32_is_near_float64_and_as_near_as_xlas_at_the_highest_precision(x, kernel, options):
    y = ConvGeometry.resolve(x, kernel, **options).output_shape
    xla, auto, highest = (passes(options, **how) for how in ({"algorithm": "xla"}, {}, {"precision": "highest"}))
    rng = np.random.default_rng(0)
    normal = [rng.normal(size=shape).astype("float32") for shape in (x, kernel, y)]
    with jax.enable_x64(True):
        for name, of in DATA.items():
            arrays = [of(a).astype("float32") for a in normal]
            expected = xla(*(a.astype("float64") for a in arrays))
            autos, highests, xlas = (
                [relative_error(a, e) for a, e in zip(f(*arrays), expected, strict=True)] for f in (auto, highest, xla)
            )
            assert max(autos) <= 1e-5, (name, autos)
            for own, theirs in zip(highests, xlas, strict=True):
                assert own <= 4 * theirs + 1e-7, (name, highests, xlas)


def relative_error(actual, expected):
    assert actual.dtype == "float32"
    return np.linalg.norm(np.asarray(actual, "float64") - expected) / np.linalg.norm(expected)
