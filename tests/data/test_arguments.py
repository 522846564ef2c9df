import jax
import numpy as np
import pytest

from jaxcnn.data.arguments import integer, non_negative
from jaxcnn.errors import InputError


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3)])
def test_integer(value):
    assert integer("n", value, minimum=3) == 3


@pytest.mark.parametrize("value", [2, -1, 3.0, "3", None, True, np.float32(3), np.array([3, 4])])
def test_not_an_integer_of_at_least_three(value):
    with pytest.raises(InputError, match=r"^n must be an integer of at least 3, found "):
        integer("n", value, minimum=3)


def test_a_traced_integer_is_not_static():
    with pytest.raises(InputError, match=r"^n must be an integer of at least 0, found "):
        jax.jit(lambda n: integer("n", n, minimum=0))(3)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.int32(2)])
def test_non_negative(value):
    number = non_negative("noise", value)
    assert type(number) is float
    assert number == value


@pytest.mark.parametrize("value", [-0.1, -1, np.nan, np.inf, "1", None, True, 1j])
def test_negative_or_no_number(value):
    with pytest.raises(InputError, match=r"^noise must be a finite number of at least 0, found "):
        non_negative("noise", value)
