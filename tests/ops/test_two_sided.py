"""Kernel gradients whose window is divided between x and g, beside XLA's: every case, type and block."""

from functools import partial
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases, random
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import direct, im2col, two_sided
from jaxcnn.ops.geometry import ConvGeometry

GEOMETRIES = {name: case.geometry for name, case in CASES.items() if not two_sided.limit(case.geometry)} | {
    "many images": ConvGeometry.resolve((7, 6, 5, 3), (3, 3, 3, 4)),
    "strides along the first axis": ConvGeometry.resolve((3, 9, 6, 3), (4, 3, 3, 2), strides=(3, 1)),
    "a dilation beyond the image": ConvGeometry.resolve((2, 4, 5, 2), (2, 2, 2, 3), kernel_dilation=(1, 6)),
    "pads beyond the window": ConvGeometry.resolve((2, 4, 5, 2), (2, 2, 2, 3), padding=((3, 0), (4, 2))),
    "one row": ConvGeometry.resolve((1, 1, 9, 2), (1, 3, 2, 3)),
    "one image": ConvGeometry.resolve((1, 5, 4, 2), (3, 3, 2, 3)),
    "one axis": ConvGeometry.resolve((3, 11, 4), (5, 4, 3), padding=((3, 1),)),
    "three axes": ConvGeometry.resolve((3, 4, 5, 3, 4), (3, 2, 2, 4, 2), strides=(1, 2, 1)),
}
all_geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def arrays(geometry, dtype="float64"):
    """x and a cotangent."""
    x, _, g = random(geometry, dtype)
    return x, g


def gradient(algorithm, geometry, **options):
    """Compiled quickly."""
    f = partial(algorithm.kernel_gradient, geometry=geometry, **options)
    return quick_jit(f)


def assert_same_as_xlas(geometry, dtype="float64"):
    with jax.enable_x64(True):
        x, g = arrays(geometry, dtype)
        actual = gradient(two_sided, geometry)(x, g)
        assert actual.dtype == dtype
        assert_close(actual, gradient(direct, geometry)(x.astype("float64"), g.astype("float64")))


@all_geometries
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_each_case_is_xlas_kernel_gradient(geometry, dtype):
    assert_same_as_xlas(geometry, dtype)


@pytest.mark.slow
@settings(max_examples=40)
@given(conv_cases(), st.sampled_from([1, 3000, two_sided.BLOCK_BYTES]))
def test_any_case_in_blocks_of_any_size_is_xlas(case, block_bytes):
    options = case.options | {"strides": (case.options["strides"][0], 1), "feature_group_count": 1}
    geometry = ConvGeometry.resolve((*case.x[:-1], case.kernel[-2]), case.kernel, **options)
    with mock.patch.object(two_sided, "BLOCK_BYTES", block_bytes):
        assert_same_as_xlas(geometry)


@pytest.mark.parametrize("name", ["many images", "strides along the first axis", "one axis", "three axes", "no images"])
def test_one_image_a_block_is_xlas(name, monkeypatch):
    monkeypatch.setattr(two_sided, "BLOCK_BYTES", 1)
    assert_same_as_xlas(GEOMETRIES[name])


@pytest.mark.parametrize("images", [1, 2, 3, 4, 6, 7])
def test_blocks_that_do_and_do_not_divide_the_images_are_xlas(images, monkeypatch):
    geometry = GEOMETRIES["many images"]
    image_bytes = 6 * 5 * 3 * (3 + 4) * 8
    monkeypatch.setattr(two_sided, "BLOCK_BYTES", images * image_bytes)
    assert_same_as_xlas(geometry)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((16, 8, 8, 2), (2, 512)), ((15, 8, 8, 2), (1, 960)), ((15, 9, 9, 2), (1, 1215)), ((16, 8, 8, 64), (1, 1024))],
    ids=["long", "short", "odd", "wide"],
)
def test_long_sums_of_small_products_are_halved(shape, rows):
    c = shape[-1]
    geometry = ConvGeometry.resolve(shape, (3, 3, c, c))
    jaxpr = jax.make_jaxpr(partial(two_sided.kernel_gradient, geometry=geometry))(*arrays(geometry, "float32"))
    (product,) = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    assert [v.aval.shape for v in product.invars] == [(*rows, 3 * c)] * 2
    assert_same_as_xlas(geometry)


@pytest.mark.parametrize("in_axes", [(0, None), (None, 1), (1, 0)])
@pytest.mark.parametrize("name", ["many images", "dilation", "one image"])
def test_vmap_over_either_and_both(name, in_axes):
    geometry = GEOMETRIES[name]
    with jax.enable_x64(True):
        x_and_g = [
            a if axis is None else jnp.stack([a, jnp.sin(a), -a], axis)
            for a, axis in zip(arrays(geometry), in_axes, strict=True)
        ]
        both = [jax.vmap(lambda x, g, a=a: gradient(a, geometry)(x, g), in_axes)(*x_and_g) for a in (two_sided, direct)]
        assert_close(*both)


def test_it_is_differentiable_in_both():
    geometry = GEOMETRIES["valid"]
    with jax.enable_x64(True):
        x, g = arrays(geometry)
        cotangent = jnp.asarray(np.random.default_rng(1).normal(size=geometry.kernel_shape))
        ours, xlas = (
            jax.vjp(partial(a.kernel_gradient, geometry=geometry), x, g)[1](cotangent) for a in (two_sided, direct)
        )
        jax.tree.map(assert_close, ours, xlas)


def test_one_program_for_all_platforms_and_batch_sizes():
    b: Any = jax.export.symbolic_shape("b")[0]
    geometry = GEOMETRIES["many images"]
    x, g = arrays(geometry, "float32")
    specs = [jax.ShapeDtypeStruct((b, *a.shape[1:]), a.dtype) for a in (x, g)]
    unknown = geometry.with_batch(b)
    program = jax.export.export(gradient(two_sided, unknown), platforms=["cpu", "cuda", "tpu"])(*specs)
    assert_close(program.call(x, g), gradient(direct, geometry)(x, g))


def test_the_precision_asked_for_is_that_of_the_products():
    geometry = GEOMETRIES["many images"]
    text = gradient(two_sided, geometry, precision="highest").lower(*arrays(geometry, "float32")).as_text()
    assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("stablehlo.dot_general") == 1
    assert "stablehlo.convolution" not in text


def test_half_precision_is_summed_in_float32_over_all_images():
    geometry = ConvGeometry.resolve((1024, 1, 2, 1), (1, 1, 1, 1))
    ones = jnp.ones((1024, 1, 2, 1), "bfloat16")
    assert two_sided.kernel_gradient(ones, ones, geometry)[0, 0, 0, 0] == 2048  # in bfloat16 a sum of ones ends at 256


def test_what_is_not_finite_stays_where_it_was():
    geometry = ConvGeometry.resolve((2, 4, 4, 2), (1, 3, 2, 3))
    x, g = arrays(geometry, "float32")
    for bad in (np.inf, np.nan):
        g[0, 1, 1, 2] = bad
        actual = np.isfinite(gradient(two_sided, geometry)(x, g))
        assert actual[..., :2].all()
        assert not actual[..., 2].any()


@pytest.mark.parametrize(
    ("case", "pays"),
    [
        (((4, 8, 8, 16), (3, 3, 16, 16), {}), True),
        (((4, 8, 8, 8), (3, 3, 8, 64), {}), True),
        (((4, 8, 8, 64), (3, 3, 64, 8), {}), True),
        (((4, 8, 8, 16), (3, 3, 16, 16), {"strides": (2, 1)}), True),
        (((4, 80, 16), (3, 16, 16), {}), True),
        (((4, 8, 8, 4), (3, 3, 4, 8), {}), False),
        (((4, 8, 8, 8), (3, 3, 8, 512), {}), False),
        (((4, 8, 8, 16), (3, 1, 16, 16), {}), False),
        (((4, 8, 8, 16), (1, 1, 16, 16), {}), False),
        (((4, 8, 8, 16), (3, 3, 16, 16), {"strides": (1, 2)}), False),
        (((4, 8, 8, 16), (3, 3, 8, 16), {"feature_group_count": 2}), False),
        (((4, 8, 17, 16), (3, 3, 16, 16), {"kernel_dilation": 8, "padding": ((8, 8), (0, 0))}), False),
    ],
)
def test_it_is_im2cols_where_its_matrices_are_not_much_larger(case, pays):
    x, kernel, options = case
    geometry = ConvGeometry.resolve(x, kernel, **options)
    assert two_sided.pays(geometry) == pays
    with mock.patch.object(two_sided, "kernel_gradient", wraps=two_sided.kernel_gradient) as called:
        jax.eval_shape(partial(im2col.kernel_gradient, geometry=geometry), *arrays(geometry, "float32"))
    assert called.called == pays


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 2, 6), {"feature_group_count": 2}, "feature_group_count of 1, found 2"),
        ((3, 3, 4, 6), {"strides": (1, 2)}, "stride of 1 along the last axis, found (1, 2)"),
    ],
)
def test_its_limits(kernel, options, message):
    limit = two_sided.limit(ConvGeometry.resolve((2, 6, 6, 4), kernel, **options))
    assert limit is not None
    assert limit.endswith(message)
