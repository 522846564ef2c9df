"""Which algorithm is chosen, that each one named is right, and how exact the chosen ones are."""

from functools import cache, partial

import jax
import numpy as np
import pytest
from conv_cases import CASES
from jax import numpy as jnp
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import choose, conv2d, conv_general_dilated, winograd
from jaxcnn.ops.geometry import ConvGeometry

THREE_BY_THREE = ConvGeometry.resolve((8, 28, 28, 32), (3, 3, 32, 32))
STRIDES = ConvGeometry.resolve((8, 28, 28, 32), (3, 3, 32, 64), strides=2)
THREE_AXES = ConvGeometry.resolve((2, 8, 8, 8, 4), (3, 3, 3, 4, 16))
GROUPS = ConvGeometry.resolve((8, 28, 28, 32), (3, 3, 8, 32), feature_group_count=4)


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
        ValueError,
        match="must be one of auto, xla, eigen, im2col, winograd, fft, polyphase, planes, groupwise, found 'fastest'",
    ):
        choose.check_algorithm("fastest")


@pytest.mark.parametrize("name", choose.ALGORITHMS)
def test_a_known_algorithm_is_not_refused(name):
    choose.check_algorithm(name)
    own = {"polyphase": STRIDES, "planes": THREE_AXES, "groupwise": GROUPS}
    choose.check_algorithm(name, own.get(name, THREE_BY_THREE))


def test_an_algorithm_that_cannot_do_it_is_refused():
    for name in ("auto", "xla", "eigen", "im2col", "fft", "polyphase"):
        choose.check_algorithm(name, STRIDES)
    message = r"algorithm 'winograd' cannot do this convolution: winograd needs strides of 1, found \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        choose.check_algorithm("winograd", STRIDES)
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
@pytest.mark.parametrize("name", ["eigen", "im2col", "winograd", "fft", "polyphase", "planes", "groupwise"])
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
    for algorithm in ("eigen", "im2col", "winograd", "fft", "polyphase", "planes", "groupwise")
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
    pytest.param((4, 14, 14, 64), (3, 3, 4, 64), {"feature_group_count": 16}, id="groups of few channels"),
    pytest.param((4, 28, 28, 64), (3, 3, 32, 64), {"feature_group_count": 2}, id="groups", marks=pytest.mark.slow),
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
