"""The numbers that a caller hands to this package, checked in one way."""

import math
import operator
from numbers import Real

from jaxcnn.errors import InputError


def integer(name: str, value, *, minimum: int) -> int:
    """``value`` as an int.

    Raises:
      InputError: it is not an integer (a bool is none), or smaller than ``minimum``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, found {value!r}")
    return number


def non_negative(name: str, value) -> float:
    """``value`` as a float.

    Raises:
      InputError: it is not a real number (a bool is none), or negative, NaN or infinite.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not 0 <= number < math.inf:
        raise InputError(f"{name} must be a finite number of at least 0, found {value!r}")
    return number
