"""Which algorithm the rule of thumb has for which convolution, and what it promises of each."""

import sys
from typing import Any

import jax
import pytest
from conv_cases import conv_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from jaxcnn.ops import winograd
from jaxcnn.ops.algorithms import IMPLEMENTATIONS
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.rule import rule_of_thumb

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
    "three axes, long windows": (geometry((1, 12, 12, 12, 64), (5, 5, 5, 64, 64)), "planes planes planes"),
    "three axes, many channels": (geometry((2, 8, 8, 8, 256), (3, 3, 3, 256, 32)), "planes planes planes"),
    "three axes, one input": (geometry((2, 8, 8, 8, 1), (3, 3, 3, 1, 16)), "im2col im2col im2col"),
    "three axes, strides of planes": (
        geometry((2, 8, 8, 8, 32), (3, 3, 3, 32, 64), strides=(1, 2, 2)),
        "planes planes planes",
    ),
    "three axes, windows of planes": (geometry((2, 8, 8, 8, 512), (1, 3, 3, 512, 8)), "im2col im2col im2col"),
    "four axes": (geometry((1, 6, 6, 6, 6, 16), (3, 3, 3, 3, 16, 16)), "im2col im2col im2col"),
    "three axes, few channels": (geometry((2, 8, 8, 8, 4), (3, 3, 3, 4, 16)), "planes planes planes"),
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
    "groups": (geometry((8, 28, 28, 32), (3, 3, 8, 32), feature_group_count=4), "groupwise groupwise groupwise"),
    "groups of few channels": (geometry((8, 28, 28, 32), (3, 3, 4, 32), feature_group_count=8), "im2col im2col im2col"),
    "groups of a few more": (
        geometry((8, 28, 28, 64), (3, 3, 8, 64), feature_group_count=8),
        "im2col im2col groupwise",
    ),
    "two groups of few channels": (
        geometry((8, 28, 28, 8), (3, 3, 4, 8), feature_group_count=2),
        "im2col im2col im2col",
    ),
    "groups of 1x1": (
        geometry((8, 28, 28, 48), (1, 1, 16, 48), feature_group_count=3),
        "groupwise groupwise groupwise",
    ),
    "depthwise": (geometry((8, 28, 28, 32), (3, 3, 1, 32), feature_group_count=32), "im2col im2col im2col"),
    "depthwise with strides": (
        geometry((8, 28, 28, 32), (5, 5, 1, 32), feature_group_count=32, strides=2),
        "im2col polyphase im2col",
    ),
    "depthwise with strides, mostly zeros": (
        geometry((8, 28, 28, 32), (3, 3, 1, 32), feature_group_count=32, strides=2),
        "im2col im2col im2col",
    ),
    "depthwise, 11x11": (geometry((8, 28, 28, 32), (11, 11, 1, 32), feature_group_count=32), "im2col im2col im2col"),
    "depthwise, 13x13": (geometry((8, 28, 28, 32), (13, 13, 1, 32), feature_group_count=32), "fft fft fft"),
    "depthwise, 7x7, four outputs each": (
        geometry((8, 28, 28, 32), (7, 7, 1, 128), feature_group_count=32),
        "im2col fft im2col",
    ),
    "many small groups": (geometry((4, 7, 7, 512), (1, 1, 8, 512), feature_group_count=64), "im2col im2col im2col"),
    "depthwise, many taps along four axes": (
        geometry((1, 8, 8, 8, 8, 4), (4, 4, 4, 4, 1, 4), feature_group_count=4),
        "im2col im2col im2col",
    ),
    "tiny": (geometry((1, 4, 4, 16), (3, 3, 16, 16)), "im2col im2col im2col"),
}
all_rules = pytest.mark.parametrize(("geometry", "names"), RULES.values(), ids=RULES)


def chosen(geometry, dtype="float32", precision=None, platform: str | None = "cpu"):
    """For each operation."""
    return [rule_of_thumb(o, geometry, jnp.dtype(dtype), precision, platform) for o in OPERATIONS]


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
    assert names[2] in ("im2col", "fft", "planes", "groupwise") or (names[2] == "eigen" and dtype == "float32")


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
    st.sampled_from(["float32", "float64", "bfloat16", "int8", "complex64"]),
    st.sampled_from(["cpu", "cuda", None]),
)
def test_what_is_chosen_can_do_the_convolution(case, times, dtype, platform):
    (*x, c_in), (*window, k_in, c_out) = case.x, case.kernel
    wider = ConvGeometry.resolve((*x, times * c_in), (*window, times * k_in, times * c_out), **case.options)
    for operation, name in zip(OPERATIONS, chosen(wider, dtype, None, platform), strict=True):
        assert IMPLEMENTATIONS[name].limit(wider) is None
        assert operation != "kernel_gradient" or platform != "cpu" or name != "xla"
        assert name != "winograd" or (dtype == "float32" and min(times * k_in, times * c_out) >= 8)
        assert name != "fft" or jnp.issubdtype(dtype, jnp.floating)
