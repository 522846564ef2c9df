import jax
import numpy as np
import pytest
from flax import linen as nn
from tolerances import assert_close

from jaxcnn import reference

POOLS = {
    "2x2 tiles": ((4, 8, 6, 3), (2, 2), (2, 2), "VALID"),
    "a rest that no window reaches": ((2, 7, 7, 2), (2, 2), (2, 2), "VALID"),
    "overlapping": ((2, 7, 8, 2), (3, 3), (2, 2), "SAME"),
    "no strides": ((2, 5, 5, 2), (2, 3), None, "VALID"),
    "pads": ((2, 5, 5, 2), (3, 3), (2, 1), ((1, 0), (2, 2))),
    "gaps between the windows": ((2, 9, 9, 1), (2, 2), (4, 3), "VALID"),
    "one axis": ((2, 9, 3), (3,), (2,), "SAME"),
    "three axes": ((1, 4, 5, 6, 2), (2, 2, 3), (2, 1, 2), "SAME"),
}
all_pools = pytest.mark.parametrize(("shape", "window", "strides", "padding"), POOLS.values(), ids=POOLS)


def flaxs(pool, x, *args):
    """Flax's value, and its gradient for a cotangent drawn from a seed."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Flax divides a float by an integer
        y, pullback = jax.vjp(lambda x: pool(x, *args), x)
        g = np.random.default_rng(1).normal(size=y.shape)
        return np.asarray(y), g, np.asarray(pullback(g)[0])


@all_pools
@pytest.mark.parametrize("values", ["distinct", "tied"])
def test_max_pool_is_flaxs(shape, window, strides, padding, values):
    x = np.random.default_rng(0).normal(size=shape)
    x = np.round(x) if values == "tied" else x
    y, g, x_bar = flaxs(nn.max_pool, x, window, strides, padding)
    np.testing.assert_array_equal(reference.max_pool(x, window, strides, padding), y)
    assert_close(reference.max_pool_gradient(x, g, window, strides, padding), x_bar)


@all_pools
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool_is_flaxs(shape, window, strides, padding, count_include_pad):
    x = np.random.default_rng(0).normal(size=shape)
    args = (window, strides, padding, count_include_pad)
    y, g, x_bar = flaxs(nn.avg_pool, x, *args)
    assert_close(reference.avg_pool(x, *args), y)
    assert_close(reference.avg_pool_gradient(g, shape, *args), x_bar)


def test_the_first_of_equals_has_the_gradient():
    x_bar = reference.max_pool_gradient(np.zeros((1, 2, 4, 1)), np.ones((1, 1, 2, 1)), (2, 2), 2)
    np.testing.assert_array_equal(x_bar.squeeze(), [[1, 0, 1, 0], [0, 0, 0, 0]])


def test_the_padding_never_wins():
    y = reference.max_pool(np.full((1, 2, 2, 1), -5.0), (2, 2), 1, 1)
    np.testing.assert_array_equal(y, np.full((1, 3, 3, 1), -5.0))


def test_what_does_not_fit_is_refused():
    x = np.ones((1, 4, 4, 1))
    with pytest.raises(ValueError, match=r"a span of 5 elements over 4 \+ 0 \+ 0: .*window \(5, 5\)"):
        reference.max_pool(x, (5, 5))
    with pytest.raises(ValueError, match=r"found x.shape=\(1, 4, 4, 1\), window_shape=\(2,\)"):
        reference.avg_pool(x, (2,))
    with pytest.raises(ValueError, match=r"pads of a pool must be from 0 .*found \(0, 2\) for a window of 2"):
        reference.max_pool(x, (2, 2), padding=((0, 1), (0, 2)))
    with pytest.raises(ValueError, match=r"g.shape must be \(1, 3, 3, 1\), found \(1, 2, 2, 1\)"):
        reference.max_pool_gradient(x, np.ones((1, 2, 2, 1)), (2, 2))
    with pytest.raises(ValueError, match=r"g.shape must be \(1, 2, 2, 1\), found \(1, 3, 3, 1\)"):
        reference.avg_pool_gradient(np.ones((1, 3, 3, 1)), x.shape, (2, 2), 2)
