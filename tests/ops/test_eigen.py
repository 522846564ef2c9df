"""XLA's convolution as Eigen's: every case and random ones beside XLA's own, and what is compiled."""

import jax
import pytest
from conv_cases import CASES, all_three, conv_cases, random, xlas
from hypothesis import HealthCheck, assume, given, settings
from jax import lax
from jax import numpy as jnp
from tolerances import assert_close

from jaxcnn.ops import direct, eigen
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {
    "one axis": ConvGeometry.resolve((2, 50, 3), (7, 3, 20), strides=3),
    "few channels": ConvGeometry.resolve((2, 9, 11, 16), (3, 3, 16, 16)),
    "many channels": ConvGeometry.resolve((2, 9, 11, 5), (3, 4, 5, 17)),
    "strides": ConvGeometry.resolve((2, 9, 11, 18), (3, 4, 18, 3), strides=(3, 2)),
    "dilation": ConvGeometry.resolve((2, 9, 11, 18), (2, 3, 18, 3), kernel_dilation=(2, 3), strides=(1, 2)),
    "pads that crop": ConvGeometry.resolve((2, 9, 11, 4), (3, 2, 4, 20), padding=((-1, 2), (3, -2))),
    "one row": ConvGeometry.resolve((2, 1, 11, 4), (1, 3, 4, 20)),
    "one element": ConvGeometry.resolve((2, 1, 1, 4), (3, 3, 4, 20)),
    "many images": ConvGeometry.resolve((17, 9, 5, 4), (3, 3, 4, 20)),
    "a strip a row": ConvGeometry.resolve((1, 9, 5, 4), (3, 2, 4, 20), strides=(2, 1)),
    "strips of several rows": ConvGeometry.resolve((1, 50, 5, 4), (5, 2, 4, 20), strides=(3, 1), padding=((-2, 3), 1)),
    "strips of dilated windows": ConvGeometry.resolve((5, 29, 5, 4), (3, 3, 4, 20), kernel_dilation=(4, 1)),
    "no image": ConvGeometry.resolve((0, 9, 11, 4), (3, 3, 4, 20)),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_it_is_the_convolution_and_its_gradients(geometry):
    with jax.enable_x64(True):
        jax.tree.map(assert_close, all_three(eigen, geometry)(*random(geometry)), xlas(geometry))


@pytest.mark.parametrize("n", [4, 7, 8])
def test_a_large_kernel_gradient_is_a_sum_over_blocks(n, monkeypatch):
    geometry = ConvGeometry.resolve((n, 9, 11, 4), (3, 3, 4, 20), strides=2)
    x, _, g = random(geometry)
    image_bytes = x[0].nbytes + g[0].nbytes
    monkeypatch.setattr(eigen, "WHOLE_BYTES", 4 * image_bytes)
    monkeypatch.setattr(eigen, "BLOCK_BYTES", 3 * image_bytes)
    monkeypatch.setattr(eigen, "ENOUGH_IMAGES", 3)
    with jax.enable_x64(True):
        gradient = jax.jit(eigen.kernel_gradient, static_argnums=2)
        assert ("while" in gradient.lower(x, g, geometry).as_text()) == (n > 4)
        assert_close(gradient(x, g, geometry), xlas(geometry)[2])


def test_a_large_kernel_gradient_needs_the_memory_of_a_block():
    geometry = ConvGeometry.resolve((64, 112, 112, 3), (7, 7, 3, 32))
    x, g = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (geometry.input_shape, geometry.output_shape))
    compiled = jax.jit(eigen.kernel_gradient, static_argnums=2).lower(x, g, geometry).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * eigen.BLOCK_BYTES


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(conv_cases())
def test_random_cases(case):
    assume(eigen.limit(case.geometry) is None)
    with jax.enable_x64(True):
        jax.tree.map(assert_close, all_three(eigen, case.geometry)(*random(case.geometry)), xlas(case.geometry))


def compiled(algorithm, operation: str, geometry: ConvGeometry, *, in_a_loop: bool) -> str:
    """The program of one operation, as the CPU backend runs it."""
    shapes = {"x": geometry.input_shape, "kernel": geometry.kernel_shape, "g": geometry.output_shape}
    names = {"convolve": ("x", "kernel"), "input_gradient": ("g", "kernel"), "kernel_gradient": ("x", "g")}
    a, b = (jax.ShapeDtypeStruct(shapes[name], jnp.float32) for name in names[operation])
    f = getattr(algorithm, operation)

    def loop(a, b):
        one = jax.eval_shape(lambda a, b: f(a, b, geometry), a, b)
        zeros = jnp.zeros(one.shape, one.dtype)
        return lax.fori_loop(0, 3, lambda i, total: total + f(a + i, b, geometry), zeros)

    program = loop if in_a_loop else lambda a, b: f(a, b, geometry)
    return jax.jit(program).trace(a, b).lower(lowering_platforms=("cpu",)).compile().as_text()


def is_eigens(text: str) -> bool:
    """Whether the convolution is an operation by itself, in the order of axes that Eigen's kernel has."""
    (line,) = (line for line in text.splitlines() if " convolution(" in line)
    return "__ynn" not in text and "dim_labels=b01f_01io->b01f" in line and "reversal" not in line


@pytest.mark.parametrize("in_a_loop", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("operation", ["convolve", "input_gradient", "kernel_gradient"])
def test_the_cpu_backend_gives_it_to_eigen(operation, strides, in_a_loop):
    geometry = ConvGeometry.resolve((32, 12, 12, 32), (3, 3, 32, 32), strides=strides)
    assert is_eigens(compiled(eigen, operation, geometry, in_a_loop=in_a_loop))


def test_the_cpu_backend_does_not_give_xlas_own_to_eigen():
    geometry = ConvGeometry.resolve((32, 12, 12, 32), (3, 3, 32, 32))
    assert not is_eigens(compiled(direct, "convolve", geometry, in_a_loop=False))
    assert not is_eigens(compiled(direct, "kernel_gradient", geometry, in_a_loop=True))


@pytest.mark.parametrize(
    ("x", "kernel", "groups", "limit"),
    [
        ((1, 9, 9, 4), (3, 3, 4, 4), 1, None),
        ((1, 9, 4), (3, 4, 4), 1, None),
        ((1, 9, 9, 4), (3, 3, 2, 4), 2, "eigen needs a feature_group_count of 1, found 2"),
        ((1, 5, 5, 5, 4), (3, 3, 3, 4, 4), 1, "eigen needs 1 or 2 spatial axes, found 3"),
    ],
)
def test_its_limits(x, kernel, groups, limit):
    assert eigen.limit(ConvGeometry.resolve(x, kernel, feature_group_count=groups)) == limit


def test_there_are_cases_for_it():
    assert sum(eigen.limit(case.geometry) is None for case in CASES.values()) >= 3
