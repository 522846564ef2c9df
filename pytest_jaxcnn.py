"""The pytest plugin: a fixture that checks gradients, and the option that repeats a check.

It stands beside the package, not in it, so that pytest does not import JAX when it starts in a project whose tests may
never ask for the fixture.
"""

from argparse import ArgumentTypeError
from collections.abc import Callable
from types import TracebackType

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--gradcheck-seed``."""
    parser.getgroup("jaxcnn").addoption(
        "--gradcheck-seed",
        type=_seed,
        metavar="INT",
        help="seed of the fixture check_gradients, that repeats a check; each check draws a new one if not given",
    )


@pytest.fixture
def check_gradients(pytestconfig: pytest.Config) -> Callable:
    """:func:`jaxcnn.verify.check_gradients`, which fails the test with the report where a gradient is wrong.

    It takes the same arguments and returns the report. The seed is the one in the call, else that of
    ``--gradcheck-seed``, else a new one.

        def test_gradients(check_gradients):
            check_gradients(my_op, x, kernel, order=2)
    """
    from functools import wraps

    from jaxcnn import verify

    @wraps(verify.check_gradients)
    def check(f, *args, seed=None, **options):
        __tracebackhide__ = True
        seed = pytestconfig.option.gradcheck_seed if seed is None else seed
        try:
            report = verify.check_gradients(f, *args, seed=seed, **options)
        except Exception as error:  # misuse, or what f raises: the frames of the test and of f tell it
            _hide_checker(error)
            raise
        if not report.ok:
            pytest.fail(f"{report}\nrepeat with --gradcheck-seed={report.seed}", pytrace=False)
        return report

    return check


def _seed(text: str) -> int:
    """An option's value, for argparse."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"expected an integer of at least 0, found {text!r}")
    return int(text)


def _hide_checker(error: BaseException | None) -> None:
    """Take the frames of jaxcnn.verify out of an exception's traceback, and out of its causes'."""
    while error is not None:
        error.__traceback__ = _without_checker(error.__traceback__)
        error = error.__cause__


def _without_checker(traceback: TracebackType | None) -> TracebackType | None:
    if traceback is None:
        return None
    rest = _without_checker(traceback.tb_next)
    if traceback.tb_frame.f_globals.get("__name__", "").startswith("jaxcnn.verify."):
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)
