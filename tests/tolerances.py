"""How far results may be apart, by dtype: the rounding of a sum of some hundred terms, and no more."""

import numpy as np

RELATIVE = {"float64": 1e-12, "float32": 2e-5, "bfloat16": 3e-2, "float16": 4e-3}


def assert_close(actual, expected) -> None:
    """Compare with ``expected`` in norm: ‖actual − expected‖ ≤ tolerance · ‖expected‖."""
    actual, tolerance = np.asarray(actual), RELATIVE[str(actual.dtype)]
    expected = np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    error = np.linalg.norm(actual.astype(np.float64) - expected)
    assert error <= tolerance * np.linalg.norm(expected) + 1e-300, f"relative error {error}, {actual.dtype}"
