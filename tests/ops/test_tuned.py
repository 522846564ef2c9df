"""A table of measured algorithms is followed where it is valid, and ignored with one warning where it is not."""

import json
import re
import subprocess
import sys
import warnings

import jax
import pytest
from jax import export, lax
from jax import numpy as jnp

from jaxcnn.ops import choose, conv2d, tuned
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.rule import rule_of_thumb

X, KERNEL = (2, 8, 8, 4), (3, 3, 4, 4)
GEOMETRY = ConvGeometry.resolve(X, KERNEL)
TELLTALE = {
    "xla": {"convolution"},
    "im2col": {"dot_general"},
    "fft": {"dot_general", "fft"},
}
"""Operations that a program has if it is by that algorithm."""
ANY = set().union(*TELLTALE.values())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuned, "_WARNED", set())


@pytest.fixture
def cpu():
    return jax.devices("cpu")[0]


def specs(dtype=jnp.float32, x=X, kernel=KERNEL):
    return jax.ShapeDtypeStruct(x, dtype), jax.ShapeDtypeStruct(kernel, dtype)


def operations(text: str) -> set[str]:
    return set(re.findall(r"stablehlo\.(\w+)", text))


def lowered(dtype=jnp.float32, **options) -> set[str]:
    """The operations of a convolution's program; a new function each time, for JAX keeps what it has lowered."""
    return operations(jax.jit(lambda x, kernel: conv2d(x, kernel, **options)).lower(*specs(dtype)).as_text())


def entry(algorithm, operation="convolve", geometry=GEOMETRY, dtype="float32"):
    return {tuned.key(operation, geometry, dtype): algorithm}


def write_by_hand(cpu, **changes):
    """A table with members that are changed."""
    file = tuned.write(cpu, entry("fft"))
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file


@pytest.mark.parametrize("algorithm", TELLTALE)
def test_a_table_is_followed(cpu, algorithm):
    tuned.write(cpu, entry(algorithm))
    assert lowered() & ANY == TELLTALE[algorithm]


@pytest.mark.parametrize(("operation", "argnum"), [("input_gradient", 0), ("kernel_gradient", 1)])
def test_each_gradient_has_an_entry_of_its_own(cpu, operation, argnum):
    tuned.write(cpu, entry("fft", operation))
    x, kernel = specs()

    def gradient(x, kernel, g):
        return jax.vjp(conv2d, x, kernel)[1](g)[argnum]

    assert "fft" in operations(jax.jit(gradient).lower(x, kernel, x).as_text())
    assert "fft" not in lowered()


def test_a_table_that_changes_is_read_again(cpu):
    tuned.write(cpu, entry("fft"))
    assert tuned.lookup("convolve", GEOMETRY, jnp.float32, "cpu") == "fft"
    tuned.write(cpu, entry("xla"))
    assert tuned.lookup("convolve", GEOMETRY, jnp.float32, "cpu") == "xla"


def test_what_was_written_before_stays(cpu, tmp_path):
    file = tuned.write(cpu, entry("fft"))
    tuned.write(cpu, entry("xla", "input_gradient"))
    assert json.loads(file.read_text())["algorithms"] == entry("fft") | entry("xla", "input_gradient")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_write_that_fails_leaves_the_table_as_it_was(cpu, monkeypatch, tmp_path):
    file = tuned.write(cpu, entry("fft"))
    before = file.read_text()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tuned.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        tuned.write(cpu, entry("xla"))
    assert file.read_text() == before
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


OTHERS = {
    "operation": ("input_gradient", GEOMETRY, "float32"),
    "type": ("convolve", GEOMETRY, "bfloat16"),
    "batch": ("convolve", GEOMETRY.with_batch(3), "float32"),
    "strides": ("convolve", ConvGeometry.resolve(X, KERNEL, strides=2), "float32"),
    "strides of one axis": ("convolve", ConvGeometry.resolve(X, KERNEL, strides=(1, 2)), "float32"),
    "dilation": ("convolve", ConvGeometry.resolve(X, KERNEL, kernel_dilation=2), "float32"),
    "padding": ("convolve", ConvGeometry.resolve(X, KERNEL, padding=((0, 2), 1)), "float32"),
    "groups": ("convolve", ConvGeometry.resolve((2, 8, 8, 8), KERNEL, feature_group_count=2), "float32"),
    "kernel": ("convolve", ConvGeometry.resolve(X, (3, 3, 4, 8)), "float32"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_convolution_has_no_entry(cpu, other):
    tuned.write(cpu, entry("fft"))
    assert tuned.lookup(*other, "cpu") is None


@pytest.mark.parametrize("platform", [None, "cuda", "rocm", "tpu"])
def test_a_platform_that_is_not_here_has_no_table(cpu, platform):
    tuned.write(cpu, entry("fft"))
    assert tuned.lookup("convolve", GEOMETRY, jnp.float32, platform) is None


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_program_for_another_platform_follows_no_table_of_this_one(cpu, platform):
    tuned.write(cpu, entry("fft"))
    exported = export.export(jax.jit(lambda *arrays: conv2d(*arrays)), platforms=(platform,))(*specs())
    assert operations(exported.mlir_module()) & ANY == {"convolution"}


def test_a_symbolic_batch_has_no_entry(cpu):
    tuned.write(cpu, entry("fft"))
    (n,) = export.symbolic_shape("n")
    assert tuned.lookup("convolve", GEOMETRY.with_batch(n), jnp.float32, "cpu") is None
    exported = export.export(jax.jit(lambda *arrays: conv2d(*arrays)), platforms=("cpu",))(*specs(x=(n, *X[1:])))
    assert "fft" not in operations(exported.mlir_module())


def test_winograd_is_chosen_where_it_is_exact_enough_only(cpu):
    dtypes = jnp.float32, jnp.bfloat16
    for dtype in dtypes:
        tuned.write(cpu, entry("winograd", dtype=jnp.dtype(dtype).name))
    narrow, highest = ("bfloat16", None), ("float32", lax.Precision.HIGHEST)
    for dtype, precision in (narrow, highest):
        without = rule_of_thumb("convolve", GEOMETRY, jnp.dtype(dtype), precision, "cpu")
        assert choose.algorithm("convolve", GEOMETRY, jnp.dtype(dtype), precision, "cpu") == without != "winograd"
    assert choose.algorithm("convolve", GEOMETRY, jnp.dtype("float32"), None, "cpu") == "winograd"


def test_winograd_is_not_chosen_for_sums_too_long_for_it(cpu):
    geometry = ConvGeometry.resolve((1, 12, 12, 512), (5, 5, 512, 512))
    tuned.write(cpu, {tuned.key("convolve", geometry, jnp.float32): "winograd"})
    assert tuned.lookup("convolve", geometry, jnp.float32, "cpu") == "winograd"
    assert choose.algorithm("convolve", geometry, jnp.dtype("float32"), None, "cpu") == "eigen"


def test_of_several_processes_none_has_a_table(cpu, monkeypatch):
    tuned.write(cpu, entry("fft"))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert tuned.lookup("convolve", GEOMETRY, jnp.float32, "cpu") is None


BROKEN = {
    "no JSON": ("{", "Expecting property name"),
    "nothing": ("", "Expecting value"),
    "no text": (b"\xff\xfe\x00", "can't decode"),
    "deep": ("[" * 100_000, "recursion"),
    "a list": ("[]", "no object with a member named algorithms"),
    "no algorithms": ("{}", "no object with a member named algorithms"),
}


@pytest.mark.parametrize(("content", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_once_and_replaced(cpu, content, problem):
    file = tuned.write(cpu, entry("fft"))
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.warns(UserWarning, match=f"{re.escape(str(file))}: not followed: .*{problem}.*jaxcnn tune") as record:
        assert lowered() == lowered(algorithm="im2col")
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lowered()
        tuned.write(cpu, entry("fft"))
    assert "fft" in lowered()


FOREIGN = {
    "device": ({"device": {"platform": "cpu", "kind": "cpu", "processor": "abacus", "cores": 1}}, "abacus"),
    "version": ({"versions": {"jax": "0.0.1", "jaxlib": "0.0.1"}}, "measured with versions .*'0.0.1'"),
    "algorithm": ({"algorithms": entry("guess")}, "no algorithm 'guess'"),
    "number": ({"algorithms": entry(3)}, "no algorithm 3"),
}


@pytest.mark.parametrize(("changes", "problem"), FOREIGN.values(), ids=FOREIGN)
def test_a_table_that_is_not_for_here_is_told_once(cpu, changes, problem):
    write_by_hand(cpu, **changes)
    with pytest.warns(UserWarning, match=f"not followed: .*{problem}.*jaxcnn tune") as record:
        assert lowered() == lowered(algorithm="im2col")
    assert len(record) == 1


def test_an_algorithm_that_cannot_do_it_is_told_once(cpu):
    strided = ConvGeometry.resolve(X, KERNEL, strides=2)
    tuned.write(cpu, entry("winograd", geometry=strided) | entry("fft"))
    with pytest.warns(UserWarning, match="winograd needs strides of 1, .* the table says 'winograd'") as record:
        assert lowered(strides=2) == lowered(strides=2, algorithm="im2col")
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lowered(strides=2)
    assert "fft" in lowered()


def test_a_folder_in_its_place_is_told(cpu):
    tuned.path(cpu).mkdir(parents=True)
    with pytest.warns(UserWarning, match="Is a directory"):
        lowered()


def test_nothing_is_read_before_a_program_is_lowered(cpu):
    """Importing jaxcnn, and tracing, warn of no broken table."""
    tuned.path(cpu).parent.mkdir(parents=True)
    tuned.path(cpu).write_text("{")
    code = """
import jax, jaxcnn, warnings
from jax import numpy as jnp
from jax._src import xla_bridge
warnings.simplefilter("error")
x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 4), (3, 3, 4, 4)))
traced = jax.jit(jaxcnn.conv2d).trace(x, kernel)
assert not xla_bridge.backends_are_initialized()
traced.lower(lowering_platforms=("tpu",))
try:
    traced.lower(lowering_platforms=("cpu",))
except UserWarning:
    print("told")
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "told\n"
