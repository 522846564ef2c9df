"""Convolutions are found wherever they are, measured, checked, and written to the table that "auto" follows."""

import json

import jax
import pytest
from jax import lax
from jax import numpy as jnp

import jaxcnn
from jaxcnn import tuning
from jaxcnn.bench import Timing
from jaxcnn.ops import choose, conv2d, direct, tuned
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.tuning import find_convolutions, measure

X = jax.ShapeDtypeStruct((2, 6, 6, 2), jnp.float32)
KERNEL = jax.ShapeDtypeStruct((3, 3, 2, 2), jnp.float32)
ALL = ["convolve", "input_gradient", "kernel_gradient"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def in_while(x, kernel):
    return lax.while_loop(lambda x: conv2d(x, kernel).sum() < 0, lambda x: x, x)


def with_custom_rule(x, kernel):
    f = jax.custom_vjp(conv2d)
    f.defvjp(lambda x, kernel: (conv2d(x, kernel), None), lambda _, g: (g, None))
    return f(x, kernel)


NESTED = {
    "plain": conv2d,
    "jit": jax.jit(conv2d),
    "scan": lambda x, kernel: lax.scan(lambda x, _: (conv2d(x, kernel), None), x, None, 2)[0],
    "cond": lambda x, kernel: lax.cond(x.sum() > 0, conv2d, lambda x, _: x, x, kernel),
    "while": in_while,
    "checkpoint": jax.checkpoint(conv2d),
    "custom_vjp": with_custom_rule,
    "a batch of kernels": lambda x, kernel: jax.vmap(conv2d, (None, 0))(x, jnp.stack([kernel, kernel])),
    "gradient": jax.grad(lambda x, kernel: conv2d(x, kernel).sum(), (0, 1)),
    "twice": lambda x, kernel: conv2d(conv2d(x, kernel), kernel),
}


@pytest.mark.parametrize("f", NESTED.values(), ids=NESTED)
def test_a_convolution_is_found_once_with_its_gradients(f):
    geometry = ConvGeometry.resolve(X.shape, KERNEL.shape)
    assert find_convolutions(f, X, KERNEL) == [(operation, geometry, "float32") for operation in ALL]


def test_a_gradient_alone_is_found_alone():
    (found,) = find_convolutions(lambda x, g: jaxcnn.ops.conv2d_kernel_gradient(x, g, KERNEL.shape), X, X)
    assert found.operation == "kernel_gradient"


@pytest.mark.parametrize("algorithm", ["xla", "eigen", "im2col"])
def test_an_algorithm_by_name_is_left_alone(algorithm):
    assert find_convolutions(lambda x, kernel: conv2d(x, kernel, algorithm=algorithm), X, KERNEL) == []


def test_an_empty_batch_and_one_of_unknown_size_are_left_alone():
    (n,) = jax.export.symbolic_shape("n")
    for size in (0, n):
        assert find_convolutions(conv2d, jax.ShapeDtypeStruct((size, 6, 6, 2), jnp.float32), KERNEL) == []


def test_tuning_writes_what_auto_then_follows():
    rows = jaxcnn.tune(conv2d, jnp.ones(X.shape), jnp.ones(KERNEL.shape), rounds=2)
    assert [row.convolution.operation for row in rows] == ALL
    table = json.loads(tuned.path(jax.devices()[0]).read_text())["algorithms"]
    assert table == {tuned.key(*row.convolution): row.chosen for row in rows}
    for row in rows:
        assert row.timings.keys() == {"xla", "eigen", "im2col", "winograd"}  # an FFT is for larger windows
        assert row.left_out == {}
        assert choose.algorithm(*row.convolution[:2], jnp.dtype("float32"), None, "cpu") == row.chosen


def candidates(x, kernel, dtype="float32", **options):
    geometry = ConvGeometry.resolve(x, kernel, **options)
    return measure._candidates(tuning.Convolution("convolve", geometry, dtype))


def test_only_what_can_be_chosen_is_measured():
    assert candidates((1, 6, 6, 2), (3, 3, 2, 2)) == ["xla", "eigen", "im2col", "winograd"]
    assert candidates((1, 6, 6, 2), (3, 3, 2, 2), "bfloat16") == ["xla", "eigen", "im2col"]
    assert candidates((1, 6, 6, 2), (3, 3, 2, 2), strides=2) == ["xla", "eigen", "im2col", "polyphase"]
    assert candidates((1, 6, 6, 2), (5, 5, 2, 2), strides=2) == ["xla", "eigen", "im2col", "fft", "polyphase"]
    with jax.default_matmul_precision("highest"):
        assert candidates((1, 6, 6, 2), (3, 3, 2, 2)) == ["xla", "eigen", "im2col"]
    assert candidates((1, 6, 6, 512), (5, 5, 512, 2)) == ["xla", "eigen", "im2col", "fft"]


class Wrong:
    """XLA's convolution, one element in a hundred thousand of which is off."""

    limit = staticmethod(lambda geometry: None)

    @staticmethod
    def convolve(x, kernel, geometry, *, precision=None):
        y = direct.convolve(x, kernel, geometry, precision=precision)
        return y.at[0, 0, 0, 0].add(1e-3 * jnp.max(jnp.abs(y)))


class Failing(Wrong):
    @staticmethod
    def convolve(x, kernel, geometry, *, precision=None):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nat …")


@pytest.mark.parametrize(
    ("implementation", "reason"), [(Wrong, "differs from XLA's by 1.0e-03"), (Failing, "RESOURCE_EXHAUSTED: out of m")]
)
def test_what_is_wrong_or_fails_is_left_out_with_its_reason(monkeypatch, implementation, reason):
    monkeypatch.setitem(choose.IMPLEMENTATIONS, "guess", implementation)
    convolution = tuning.Convolution("convolve", ConvGeometry.resolve(X.shape, KERNEL.shape), "float32")
    (row,) = tuning.tune_convolutions([convolution], rounds=1)
    assert row.left_out.keys() == {"guess"}
    assert row.left_out["guess"].startswith(reason)
    assert "guess" not in row.timings
    assert row.chosen != "guess"
    assert row.row(["xla", "guess"])[-3] == "–"


CHOICES = {
    "much faster than the rule's": ("convolve", "cpu", {"xla": 1.0, "im2col": 0.9}, "im2col"),
    "a little faster": ("convolve", "cpu", {"xla": 1.0, "im2col": 0.96}, "xla"),
    "slower": ("convolve", "cpu", {"xla": 1.0, "im2col": 2.0}, "xla"),
    "the rule's was left out": ("convolve", "cpu", {"im2col": 2.0, "fft": 1.0}, "fft"),
    "XLA's kernel gradient on the CPU": ("kernel_gradient", "cpu", {"xla": 0.1, "im2col": 1.0}, "im2col"),
    "elsewhere": ("kernel_gradient", "cuda", {"xla": 0.1, "im2col": 1.0}, "xla"),
}


@pytest.mark.parametrize(("operation", "platform", "seconds", "chosen"), CHOICES.values(), ids=CHOICES)
def test_the_fastest_is_chosen_where_it_is_faster_for_sure(operation, platform, seconds, chosen):
    convolution = tuning.Convolution(operation, ConvGeometry.resolve(X.shape, KERNEL.shape), "float32")
    rule = "im2col" if operation == "kernel_gradient" else "xla"
    assert measure._choice(convolution, seconds, rule, platform) == chosen


def test_a_row_shows_milliseconds():
    convolution = tuning.Convolution("convolve", ConvGeometry.resolve(X.shape, KERNEL.shape), "float32")
    result = tuning.Tuned(convolution, {"xla": Timing(0.0, (0.001234,))}, {}, "xla", "xla")
    shown = ["convolve", "2×6×6×2", "3×3×2×2", "1×1", "float32", "1.23", "–", "xla", "xla"]
    assert result.row(["xla", "fft"]) == shown


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types_are_tuned(dtype):
    with jax.enable_x64(dtype == "float64"):
        convolution = tuning.Convolution("convolve", ConvGeometry.resolve((1, 6, 6, 2), (5, 5, 2, 2)), dtype)
        (row,) = tuning.tune_convolutions([convolution], rounds=1)
    assert row.timings.keys() == {"xla", "eigen", "im2col", "fft"}
    assert row.left_out == {}
