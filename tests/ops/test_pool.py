import itertools
from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P
from quick import quick_jit
from tolerances import assert_close

from jaxcnn.ops import avg_pool, max_pool

POOLS = {
    "2x2 tiles": ((4, 8, 6, 3), (2, 2), (2, 2), "VALID"),
    "a rest that no window reaches": ((2, 7, 7, 2), (2, 2), (2, 2), "VALID"),
    "overlapping": ((2, 7, 8, 2), (3, 3), (2, 2), "SAME"),
    "no strides": ((2, 5, 5, 2), (2, 3), None, "VALID"),
    "explicit padding": ((2, 5, 5, 2), (3, 3), (2, 1), ((1, 0), (2, 2))),
    "gaps between the windows": ((2, 9, 9, 1), (2, 2), (4, 3), "VALID"),
    "one axis": ((2, 9, 3), (3,), (2,), "SAME"),
    "three axes": ((1, 4, 5, 6, 2), (2, 2, 3), (2, 1, 2), "SAME"),
}
LARGE = {
    f"{k}x{k} stride {stride} {padding}": ((2, 11, 10, 2), (k, k), (stride, stride), padding)
    for k, stride, padding in itertools.product((5, 7), (1, 2, 3), ("VALID", "SAME"))
}
all_pools = pytest.mark.parametrize(("shape", "window", "strides", "padding"), POOLS.values(), ids=POOLS)
cotangent_weighted = jnp.cos


def value_and_gradient(pool, x, *args):
    def weighted(x):
        y = pool(x, *args)
        return jnp.sum(cotangent_weighted(y)), y

    program = quick_jit(jax.grad(weighted, has_aux=True))
    gradient, y = program(x)
    return y, gradient


@all_pools
@pytest.mark.parametrize("values", ["distinct", "tied"])
def test_max_pool_is_flaxs_with_its_gradient(shape, window, strides, padding, values):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=shape)
        x = np.round(x) if values == "tied" else x
        mine, flaxs = (value_and_gradient(pool, x, window, strides, padding) for pool in (max_pool, nn.max_pool))
        np.testing.assert_array_equal(mine[0], flaxs[0])
        jax.tree.map(assert_close, mine, flaxs)


@pytest.mark.parametrize(("shape", "window", "strides", "padding"), LARGE.values(), ids=LARGE)
def test_large_windows_are_flaxs_with_their_gradients(shape, window, strides, padding):
    x = np.round(np.random.default_rng(0).normal(size=shape)).astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):  # Flax divides a float by an integer
        for pools in ((max_pool, nn.max_pool), (avg_pool, nn.avg_pool)):
            jax.tree.map(assert_close, *(value_and_gradient(pool, x, window, strides, padding) for pool in pools))


@pytest.mark.parametrize("most_at_once", [0, np.inf], ids=["axis by axis", "at once"])
@all_pools
def test_ties_go_to_the_first_however_taps_are_folded(monkeypatch, shape, window, strides, padding, most_at_once):
    def gradient(pool):
        y, transpose = jax.vjp(lambda x: pool(x, window, strides, padding), x)
        return transpose(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))[0]

    monkeypatch.setattr("jaxcnn.ops.pool.MOST_AT_ONCE", most_at_once)
    x = np.random.default_rng(0).choice(np.float32([-np.inf, 0, 1]), shape)
    np.testing.assert_array_equal(gradient(max_pool), gradient(nn.max_pool))


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_a_large_window_is_folded_one_axis_after_another(pool):
    """14 + 14 taps and not 196 of them."""
    program = jax.make_jaxpr(lambda x: pool(x, (14, 14)))(jnp.ones((1, 20, 20, 1)))
    assert str(program).count(" slice[") == 28


def test_nans_come_through_large_windows():
    x = np.where(np.random.default_rng(0).random((2, 11, 10, 2)) < 0.05, np.nan, 1).astype(np.float32)
    mine, flaxs = (pool(x, (5, 5), (2, 2), "SAME") for pool in (max_pool, nn.max_pool))
    np.testing.assert_array_equal(mine, flaxs)


@pytest.mark.parametrize(("shape", "window"), [((2, 6, 5, 3), (2, 2)), ((2, 7, 2), (3,)), ((1, 4, 7, 4, 2), (2, 3, 1))])
@pytest.mark.parametrize("values", ["distinct", "tied", "infinite"])
def test_derivatives_of_tiles_are_flaxs(shape, window, values):
    def first_and_second_derivative(pool):
        def gradient(x):
            return jax.grad(lambda x: jnp.sum(cotangent_weighted(pool(x, window, window))))(x)

        return quick_jit(lambda x: (gradient(x), jax.jvp(gradient, (x,), (jnp.sin(x),))[1]))(x)

    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x = {"distinct": x, "tied": np.round(x), "infinite": np.where(x < 0.5, -np.inf, x)}[values]
    jax.tree.map(np.testing.assert_array_equal, *map(first_and_second_derivative, (max_pool, nn.max_pool)))


@all_pools
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool_is_flaxs_with_its_gradient(shape, window, strides, padding, count_include_pad):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Flax divides a float by an integer
        x = np.random.default_rng(0).normal(size=shape)
        args = (window, strides, padding, count_include_pad)
        mine, flaxs = (value_and_gradient(pool, x, *args) for pool in (avg_pool, nn.avg_pool))
        jax.tree.map(assert_close, mine, flaxs)


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_gradient_of_max_pool_is_its_count_of_wins(h, w, window, stride, seed):
    """Each output has one winner, so the gradients of their sum add up to the number of outputs."""
    x = np.random.default_rng(seed).integers(0, 3, size=(1, h, w, 1)).astype(np.float32)
    pool = partial(max_pool, window_shape=(min(window, h), min(window, w)), strides=stride)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: jnp.sum(pool(x))))(x))
    assert gradient.sum() == jax.eval_shape(pool, x).size
    assert (gradient == np.round(gradient)).all()


@pytest.mark.slow
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_forward_mode_agrees_with_reverse_and_second_derivatives_exist(pool):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 1)), jnp.float32)

    def f(x):
        return pool(x, (2, 2), 2) ** 2

    np.testing.assert_allclose(jax.jacfwd(f)(x), jax.jacrev(f)(x), rtol=1e-6)
    hessian = jax.hessian(lambda x: jnp.sum(f(x)))(x).reshape(16, 16)
    np.testing.assert_allclose(hessian, hessian.T)
    assert jnp.linalg.norm(hessian) > 0


def test_infinities_and_nans_come_through():
    x = jnp.array([[-jnp.inf, -jnp.inf, jnp.inf, 1.0, jnp.nan, 2.0]]).reshape(1, 6, 1)
    y = max_pool(x, (2,), 2).ravel()
    np.testing.assert_array_equal(y, [-jnp.inf, jnp.inf, jnp.nan])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32", "uint8"])
def test_max_pool_keeps_the_dtype(dtype):
    x = jnp.arange(16).reshape(1, 4, 4, 1).astype(dtype)
    y = max_pool(x, (2, 2), 2, "SAME")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.ravel().astype(np.int32), [5, 7, 13, 15])


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"])
def test_the_padding_of_float8_never_wins(dtype):
    y = max_pool(-jnp.ones((1, 3, 3, 1), dtype), (2, 2), padding="SAME")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(np.float32), -1)


def test_max_pool_of_booleans_is_flaxs():
    x = np.random.default_rng(0).random((2, 7, 7, 2)) < 0.2
    for window in ((3, 3), (5, 5)):
        mine, flaxs = (pool(x, window, (2, 2), "SAME") for pool in (max_pool, nn.max_pool))
        assert mine.dtype == bool
        np.testing.assert_array_equal(mine, flaxs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool_sums_a_low_precision_in_float32(dtype, count_include_pad):
    """The 1024 terms of 96 add up to more than float16 holds, and bfloat16 stops counting at 256 of 1."""
    for value in (1, 96):
        x = jnp.full((1, 32, 32, 1), value, dtype)
        mean = partial(avg_pool, window_shape=(32, 32), count_include_pad=count_include_pad)
        y, transpose = jax.vjp(jax.jit(mean), x)
        assert y.dtype == dtype
        assert y.item() == value
        assert transpose(jnp.ones_like(y))[0].dtype == dtype


def test_vmap_and_jit():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 4, 4, 1)), jnp.float32)
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(lambda x: max_pool(x, (2, 2), 2)))(x), jnp.stack([max_pool(a, (2, 2), 2) for a in x])
    )


def pooled(x):
    return cotangent_weighted(max_pool(x, (2, 2), 2)).sum()


def test_the_gradient_of_tiles_under_vmap_and_shard_map():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 5, 3)), jnp.float32)
    gradient = jax.grad(pooled)(x)
    np.testing.assert_allclose(jax.vmap(jax.grad(lambda image: pooled(image[None])))(x), gradient, rtol=1e-6)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.shard_map(jax.grad(pooled), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    np.testing.assert_allclose(jax.jit(sharded)(x), gradient, rtol=1e-6)


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize("spec", [P("data"), P(None, "data")], ids=["images", "rows"])
def test_gradients_under_explicit_sharding_are_sharded_alike(pool, spec):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 5, 3)), jnp.float32)

    def derivatives(x):
        return jax.jvp(jax.grad(lambda x: cotangent_weighted(pool(x, (2, 2), 2)).sum()), (x,), (x,))

    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        actual = jax.jit(derivatives)(jax.device_put(x, jax.NamedSharding(mesh, spec)))
    for a, expected in zip(actual, derivatives(x), strict=True):
        assert jax.typeof(a).sharding.spec == P(*spec, *[None] * (x.ndim - len(spec)))
        np.testing.assert_allclose(a, expected, rtol=1e-6)


def test_the_gradient_of_tiles_is_exported_for_any_batch_and_platform():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), jnp.float32)
    spec = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 4, 4, 2"), jnp.float32)

    def first_and_second_derivative(x):
        return jax.jvp(jax.grad(pooled), (x,), (jnp.sin(x),))

    program = jax.export.export(jax.jit(first_and_second_derivative), platforms=["cpu", "cuda", "tpu"])(spec)
    for actual, expected in zip(program.call(x), first_and_second_derivative(x), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_gradient_of_tiles_in_low_precision_is_flaxs(dtype):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), dtype)
    mine, flaxs = (jax.grad(lambda x, pool=pool: pool(x, (2, 2), (2, 2)).sum())(x) for pool in (max_pool, nn.max_pool))
    assert mine.dtype == dtype
    np.testing.assert_array_equal(mine.astype(np.float32), flaxs.astype(np.float32))


def test_the_gradient_of_tiles_puts_no_zeros_between_elements():
    """As that of slices does, for each tap."""
    x, zeros = jnp.ones((2, 8, 8, 3)), "interior = [0, 1, 1, 0]"
    assert zeros not in jax.jit(jax.grad(pooled)).lower(x).as_text()
    assert zeros in jax.jit(jax.grad(lambda x: max_pool(x, (3, 3), 2).sum())).lower(x).as_text()


@pytest.mark.parametrize(("mine", "flaxs"), [(max_pool, nn.max_pool), (avg_pool, nn.avg_pool)])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (2, 1, 2), (2, 0)])
@pytest.mark.parametrize(("window", "strides"), [((2, 2), (2, 2)), ((3, 3), (2, 1)), ((2,), None)])
def test_there_may_be_any_batch_axes(mine, flaxs, batch, window, strides):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(*batch, *(6 for _ in window), 3)))
    with jax.numpy_dtype_promotion("standard"):  # Flax divides a float by an integer
        for padding in ("VALID", "SAME", "SAME_LOWER"):
            assert_close(mine(x, window, strides, padding), flaxs(x, window, strides, padding))
    assert mine(x, window, strides, 1).shape[: len(batch)] == batch


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_without_channels_it_is_refused(pool):
    with pytest.raises(ValueError, match=r"window of 2 axes needs x of at least 3 axes .*x.shape=\(8, 3\)"):
        pool(jnp.ones((8, 3)), (2, 2))


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_a_window_that_does_not_fit_is_refused(pool):
    with pytest.raises(ValueError, match="window spans 5 elements, the padded input has 4"):
        pool(jnp.ones((1, 4, 4, 1)), (5, 5))
