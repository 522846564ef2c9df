"""Strips of any height, of images with any pads, give what whole images give."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax import numpy as jnp
from quick import quick_jit

from jaxcnn.ops import winograd
from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.strips import map_strips, sum_strips


@st.composite
def strips(draw):
    """An axis of windows with strides of 1, and rows of a strip of its outputs."""
    window = draw(st.integers(1, 4))
    pad_lo, pad_hi = draw(st.integers(-1, 5)), draw(st.integers(-1, 5))
    size = draw(st.integers(max(window - pad_lo - pad_hi, 1, 1 - pad_lo - pad_hi, -2 * min(pad_lo, pad_hi, 0) + 1), 12))
    axis = WindowAxis(size, window, 1, 1, pad_lo, pad_hi)
    return axis, draw(st.integers(1, axis.output_size))


def whole_numbers(*shape):
    return np.random.default_rng(0).integers(-9, 9, shape).astype(np.float32)  # their sums are exact


def seen(x, axis):
    """Rows of x for each tap: N, outputs, …, taps."""
    padded = lax.pad(x, np.float32(0), [(0, 0, 0), (axis.pad_lo, axis.pad_hi, 0), (0, 0, 0)])
    return jnp.stack([padded[:, t : t + axis.output_size] for t in range(axis.window)], -1)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(strips())
def test_mapped_strips_are_the_whole(case):
    axis, rows = case
    x = whole_numbers(2, axis.size, 3)
    inside = axis._replace(size=rows + axis.window - 1, pad_lo=0, pad_hi=0)

    @quick_jit
    def both(x):
        return map_strips(lambda strip: seen(strip, inside).sum(-1), rows, axis, x), seen(x, axis).sum(-1)

    np.testing.assert_array_equal(*both(x))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(strips())
def test_summed_strips_are_the_whole(case):
    axis, rows = case
    x, g = whole_numbers(2, axis.size, 3), whole_numbers(2, axis.output_size, 3)
    inside = axis._replace(size=rows + axis.window - 1, pad_lo=0, pad_hi=0)

    def total(x, g, axis):
        return [jnp.einsum("nhct,nhc->t", seen(x, axis), g)]

    @quick_jit
    def both(x, g):
        return *sum_strips(partial(total, axis=inside), rows, axis, x, g), *total(x, g, axis)

    np.testing.assert_array_equal(*both(x, g))


@pytest.mark.parametrize("operation", ["convolve", "input_gradient", "kernel_gradient"])
@pytest.mark.parametrize("strip_bytes", [1, 20_000, 50_000])
def test_winograd_of_images_in_strips_is_that_of_images_in_blocks(operation, strip_bytes, monkeypatch):
    geometry = ConvGeometry.resolve((2, 19, 11, 4), (3, 3, 4, 5), padding=((1, 2), (0, 1)))
    x, kernel, g = (whole_numbers(*s) for s in (geometry.input_shape, geometry.kernel_shape, geometry.output_shape))
    arrays = {"convolve": (x, kernel), "input_gradient": (g, kernel), "kernel_gradient": (x, g)}[operation]
    expected = getattr(winograd, operation)(*arrays, geometry)
    monkeypatch.setattr(winograd, "BLOCK_BYTES", strip_bytes)
    monkeypatch.setattr(winograd, "FEWEST_ROWS", 1)
    monkeypatch.setattr(winograd, "MOST_BLOCKS", 0)
    found = jax.jit(getattr(winograd, operation), static_argnums=2)(*arrays, geometry)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


def test_a_large_image_takes_no_more_memory_than_some_blocks():
    geometry = ConvGeometry.resolve((1, 256, 256, 32), (3, 3, 32, 32))
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (geometry.input_shape, geometry.kernel_shape)]
    compiled = jax.jit(winograd.convolve, static_argnums=2).lower(*shapes, geometry).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * winograd.BLOCK_BYTES
