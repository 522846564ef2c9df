"""Arrays that are kept change no value, and let products be made beside each other."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn.ops import winograd
from jaxcnn.ops.geometry import ConvGeometry
from jaxcnn.ops.lifetimes import keep, not_before, zeros_after

BATCHED, SUMMED = (2, 3, 3, 4), (5, 4)


def arrays(shape, value=1.0):
    return [jnp.full(shape, value, jnp.float32) for _ in range(4)]


@pytest.mark.parametrize("shape", [BATCHED, SUMMED], ids=["of images", "of none"])
@pytest.mark.parametrize("kept", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("result", [1.0, np.nan, np.inf, -np.inf])
def test_results_are_unchanged(shape, kept, result):
    results = arrays(shape, result)
    for actual in jax.jit(keep)(arrays(BATCHED, kept), results[-1], results):
        np.testing.assert_array_equal(actual, results[0])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "complex64"])
def test_results_keep_their_dtype(dtype):
    with jax.enable_x64(True):
        results = [a.astype(dtype) for a in arrays(BATCHED)]
        assert {a.dtype.name for a in keep(results, results[-1], results)} == {dtype}


def test_of_no_images_there_is_nothing_to_keep():
    results = arrays((0, 3, 3, 4))
    assert all(a is b for a, b in zip(keep(results, results[-1], results), results, strict=True))


def test_for_any_number_of_images():
    spec = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 3, 3, 4"), jnp.float32)
    program = jax.export.export(jax.jit(keep))([spec] * 4, spec, [spec] * 4)
    results = arrays(BATCHED)
    assert [a.shape for a in program.call(results, results[-1], results)] == [BATCHED] * 4


@pytest.mark.parametrize("operation", ["convolve", "kernel_gradient"])
def test_the_elements_are_read_after_the_last_product(operation):
    """In XLA's schedule, which its memory is planned by."""
    geometry = ConvGeometry.resolve((8, 16, 16, 32), (3, 3, 32, 32), padding="SAME")
    x, kernel = jnp.ones(geometry.input_shape), jnp.ones(geometry.kernel_shape)

    def f(x, kernel):
        second = kernel if operation == "convolve" else x
        return getattr(winograd, operation)(x, second, geometry)

    text = str(jax.jit(f).lower(x, kernel).compile().as_text())
    entry = text[text.index("ENTRY") :].splitlines()
    product = re.compile(r"^\s+%(ynn_fusion|dot).*dot_general")
    products = [i for i, line in enumerate(entry) if product.match(line)]
    points = {name for i, line in enumerate(entry) if i < products[0] for name in re.findall(r"^\s+(%\S+) =", line)}
    later = {name for line in entry[products[-1] + 1 :] for name in re.findall(r"%[\w.\-]+", line.split("(", 1)[-1])}
    assert len(products) == 36
    assert len(points & later) >= 18  # half of 36


@pytest.mark.parametrize("first", [0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_what_is_not_before_an_array_is_unchanged(first, dtype):
    x = jnp.full((2, 3), first, jnp.float32)
    array = jnp.arange(5).astype(dtype)
    found = jax.jit(not_before)(x, array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    (zeros,) = jax.jit(lambda x: zeros_after(x, [array]))(x)
    assert zeros.dtype == array.dtype
    np.testing.assert_array_equal(zeros, jnp.zeros(5))


def test_what_is_not_before_an_empty_array_is_unchanged():
    np.testing.assert_array_equal(not_before(jnp.ones((0, 3)), jnp.arange(5)), jnp.arange(5))
