"""Adam: gradient descent whose steps are measured in the gradient's own spread.

Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", algorithm 1, in its symbols.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class AdamState(NamedTuple):
    """What Adam remembers: t, and its m and v by the parameters' names."""

    step: int
    mean: dict[str, Any]
    variance: dict[str, Any]


def adam_init(params: Mapping[str, Any]) -> AdamState:
    """t = 0, m = 0, v = 0.

    Args:
      params: arrays by name, or dicts of them by name.
    """
    return AdamState(0, *(_by_name(lambda p: np.zeros(np.shape(p)), params) for _ in range(2)))


def adam_step(
    params: Mapping[str, Any],
    gradients: Mapping[str, Any],
    state: AdamState,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[dict[str, Any], AdamState]:
    """One step along −m̂, each parameter's in units of √v̂.

        t ← t + 1
        m ← β₁ m + (1 − β₁) g              v ← β₂ v + (1 − β₂) g²
        m̂ = m / (1 − β₁ᵗ)                  v̂ = v / (1 − β₂ᵗ)
        θ ← θ − α m̂ / (√v̂ + ε)

    From m = 0, m is the mean (1 − β₁) Σ_{i ≤ t} β₁^{t − i} g_i, whose weights add up to 1 − β₁ᵗ: dividing by that makes
    it unbiased. The same holds for v.

    Args:
      params: θ, arrays by name, or dicts of them by name.
      gradients: g, by the same names.
      state: t, m and v after the step before.
      learning_rate: α.
      beta1: β₁.
      beta2: β₂.
      epsilon: ε.

    Returns:
      θ and the state after the step.

    Raises:
      ValueError: a parameter and its gradient differ in name or shape.
    """
    t = state.step + 1
    m = _by_name(lambda m, g: beta1 * m + (1 - beta1) * g, state.mean, gradients)
    v = _by_name(lambda v, g: beta2 * v + (1 - beta2) * g**2, state.variance, gradients)

    def moved(theta, m, v):
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        return theta - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon)

    return _by_name(moved, params, m, v), AdamState(t, m, v)


def _by_name(f, first, *others, name: str = "params"):
    """f of the arrays that have the same name, however deep the dicts are."""
    trees = (first, *others)
    if not any(isinstance(tree, Mapping) for tree in trees):
        return f(*_of_one_shape(name, trees))
    names = [sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__ for tree in trees]
    if any(other != names[0] for other in names):
        raise ValueError(f"{name} must have the same names in parameters, gradients and state, found {names}")
    return {key: _by_name(f, *(tree[key] for tree in trees), name=key) for key in first}


def _of_one_shape(name: str, arrays) -> list[np.ndarray]:
    arrays = [np.asarray(a, np.float64) for a in arrays]
    shapes = [a.shape for a in arrays]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"{name} must have one shape in parameters, gradients and state, found {shapes}")
    return arrays
