import jax
import numpy as np
import pytest
from tolerances import assert_close

from jaxcnn import reference


def random(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_dense_and_its_gradients_are_jaxs(n):
    x, kernel, bias, g = random((n, 7), (7, 3), 3, (n, 3))
    with jax.enable_x64(True):
        y, pullback = jax.vjp(lambda x, kernel, bias: x @ kernel + bias, x, kernel, bias)
        assert_close(reference.dense(x, kernel, bias), y)
        for mine, jaxs in zip(reference.dense_gradients(x, kernel, g), pullback(g), strict=True):
            assert_close(mine, jaxs)


def test_relu_and_its_gradient_are_jaxs_also_at_the_kink():
    x, g = random((2, 3, 4), (2, 3, 4))
    x = np.round(x)
    assert (x == 0).any()
    with jax.enable_x64(True):
        y, pullback = jax.vjp(jax.nn.relu, x)
        assert_close(reference.relu(x), y)
        assert_close(reference.relu_gradient(x, g), pullback(g)[0])


def test_what_does_not_fit_is_refused():
    x, kernel = np.ones((2, 7)), np.ones((7, 3))
    with pytest.raises(ValueError, match=r"x must be .*found x.shape=\(2, 6\), kernel.shape=\(7, 3\)"):
        reference.dense(np.ones((2, 6)), kernel, np.ones(3))
    with pytest.raises(ValueError, match=r"bias.shape must be \(3,\), found \(2,\)"):
        reference.dense(x, kernel, np.ones(2))
    with pytest.raises(ValueError, match=r"g.shape must be \(2, 3\), found \(3, 2\)"):
        reference.dense_gradients(x, kernel, np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"g.shape must be \(2, 7\), found \(7,\)"):
        reference.relu_gradient(x, np.ones(7))
