"""No false alarms: a right derivative is never called wrong, at any shape, magnitude, kink or tie."""

import jax
import pytest
from verify.right_gradients import FAMILIES, VALUES, draw, is_smooth

from jaxcnn.verify import check_gradients

CHUNK = 10
ALL = range(len(FAMILIES))
"""Every family at a shape of its own, with ``VALUES`` draws of its arguments."""

SOME = ALL[::50]
SECOND_ORDER = [number for number in ALL if is_smooth(number * VALUES)][::4]


def chunks(numbers):
    return [list(numbers[first : first + CHUNK]) for first in range(0, len(numbers), CHUNK)]


def by_chunks(numbers):
    return pytest.mark.parametrize("numbers", chunks(numbers), ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")


def called_wrong(seeds, **options):
    """The reports that call something wrong, a name before each."""
    told = []
    with jax.numpy_dtype_promotion("standard"):
        for seed in seeds:
            case = draw(seed)
            report = check_gradients(case.f, *case.args, seed=seed, **options)
            if not report.ok:
                told.append(f"{case.name}: {report}")
    return told


def test_there_are_a_thousand():
    assert len(ALL) * VALUES >= 1000


@by_chunks(SOME)
def test_none_is_called_wrong(numbers):
    assert not called_wrong(number * VALUES + value for number in numbers for value in range(VALUES))


@pytest.mark.slow
@by_chunks([number for number in ALL if number not in SOME])
def test_none_of_the_others_either(numbers):
    assert not called_wrong(number * VALUES + value for number in numbers for value in range(VALUES))


@pytest.mark.slow
@by_chunks(SECOND_ORDER)
def test_no_second_derivative_is_called_wrong(numbers):
    assert not called_wrong((number * VALUES for number in numbers), order=2)
