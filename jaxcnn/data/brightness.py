"""Dark and bright images: the lab's ten, and as many noisy ones as wanted.

Each class has one prototype μ of 8 × 8 pixels, all rows alike. With normal noise of standard deviation σ on
every pixel and both classes equally likely, the best classifier asks which prototype is nearer. It is linear,
and its accuracy is known:

    Φ(‖μ₁ − μ₀‖ / 2σ),    ‖μ₁ − μ₀‖ = √(8 · 3.52) ≈ 5.307

(Duda, Hart & Stork 2001, "Pattern Classification", section 2.6.1).
"""

import math
from functools import partial

import jax
import numpy as np
from jax import numpy as jnp
from jaxtyping import Float32, PRNGKeyArray

from jaxcnn.data.arguments import integer, non_negative
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.labels import balanced_labels
from jaxcnn.data.split import Splits

_CLASS_NAMES = ("dark", "bright")
_ROWS = (
    (0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.1),
    (0.9, 0.8, 0.9, 0.7, 0.8, 0.9, 0.8, 0.7),
)


def lab_images() -> Dataset:
    """The lab's ten images of 8 × 8 × 1: five dark ones (label 0), then five bright ones (label 1).

    >>> lab_images().images.shape
    (10, 8, 8, 1)
    """
    labels = np.repeat(np.arange(2, dtype=np.int32), 5)
    return Dataset(_prototypes()[labels], labels, _CLASS_NAMES)


def lab_splits(key: PRNGKeyArray) -> Splits:
    """The lab's ten images to train on; 500 noisy ones of :func:`dark_vs_bright` for validation, 500 for the test.

    Args:
      key: where the noisy images come from.
    """
    noisy = jax.device_get(dark_vs_bright(key, 1000))
    return Splits(lab_images(), noisy.select(slice(500)), noisy.select(slice(500, None)))


def dark_vs_bright(key: PRNGKeyArray, n: int, noise: float = 1.0) -> Dataset:
    """n noisy images of 8 × 8 × 1, half of them dark (label 0), half bright (label 1), in random order.

    Each is μ_label + noise · z with z standard normal in every pixel; nothing is clipped.
    No classifier is right more often than :func:`dark_vs_bright_bayes_rate` says (0.9960 for noise 1).

    Args:
      key: where the labels and the noise come from.
      n: how many images; static under ``jit``.
      noise: standard deviation of the noise, in units of pixels; static under ``jit``.

    Raises:
      InputError: n is not a positive integer, or noise not a finite number of at least 0.
    """
    return _noisy_images(key, integer("n", n, minimum=1), non_negative("noise", noise))


@partial(jax.jit, static_argnums=(1, 2))  # one program: eagerly, each of its operations is compiled on its own
def _noisy_images(key: PRNGKeyArray, n: int, noise: float) -> Dataset:
    key_labels, key_noise = jax.random.split(key)
    labels = balanced_labels(key_labels, n, 2)
    z = jax.random.normal(key_noise, (n, 8, 8, 1), jnp.float32)
    return Dataset(jnp.asarray(_prototypes())[labels] + noise * z, labels, _CLASS_NAMES)


def dark_vs_bright_bayes_rate(noise: float) -> float:
    """Accuracy of the best possible classifier of :func:`dark_vs_bright`: Φ(‖μ₁ − μ₀‖ / 2σ), σ = noise.

    >>> round(dark_vs_bright_bayes_rate(2.0), 4)
    0.9077

    Raises:
      InputError: noise is not a finite number of at least 0.
    """
    sigma = non_negative("noise", noise)
    if sigma == 0:
        return 1.0
    distance = math.sqrt(8) * math.dist(*_ROWS)
    return (1 + math.erf(distance / (2 * sigma) / math.sqrt(2))) / 2


def _prototypes() -> Float32[np.ndarray, "2 8 8 1"]:
    rows = np.array(_ROWS, np.float32)
    return np.broadcast_to(rows[:, None, :, None], (2, 8, 8, 1))
