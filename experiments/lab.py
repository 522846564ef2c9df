"""Why does the tutorial's network, trained as it is written, stop at a loss of 0.5033?

    python experiments/lab.py

The tutorial ends its network in a sigmoid and trains it with a loss that applies a sigmoid again. What the loss takes
for a logit is then a probability, in (0, 1), and the best that a dark image can get is σ(0) = 1/2, a bright one σ(1):
over five of each the loss cannot fall below (ln 2 + ln(1 + 1/e)) / 2 = 0.50320. Without the second sigmoid nothing
holds it up.

The tutorial asks for an accuracy of 0.95. On ten images every accuracy is a multiple of 0.1.

Expected: as written 0.503… after 100 epochs, corrected below 0.01; both have all ten images right. 10 seconds.
"""

import math

import jax
import tyro
from flax import linen as nn
from jax import numpy as jnp

from jaxcnn.data import lab_images
from jaxcnn.losses import probabilities
from jaxcnn.models import CNN
from jaxcnn.report.console import print_table
from jaxcnn.train import create_train_state, fit, lab_config, predict_logits

BOUND = (math.log(2) + math.log(1 + 1 / math.e)) / 2


class TutorialCNN(nn.Module):
    """The lab's network as the tutorial has it: its output, taken for a logit by the loss, is a probability already."""

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        """Probabilities of class 1."""
        return nn.sigmoid(CNN()(images, train=train))


def main(seed: int = 0) -> None:
    """Train both and print their losses.

    Args:
      seed: The PRNG key of the initial parameters, the same for both.
    """
    config, images = lab_config(seed), jax.device_put(lab_images())
    losses, right = {}, {}
    for name, model in {"as written": TutorialCNN(), "corrected": CNN()}.items():
        state = create_train_state(jax.random.key(seed), model, images.images, config.learning_rate)
        result = fit(state, images, None, config)
        outputs = predict_logits(result.state, images.images, batch_size=10)
        p = outputs[:, 0] if name == "as written" else probabilities(outputs)
        losses[name] = result.history["train_loss"]
        right[name] = float(jnp.mean((p >= 0.5) == (images.labels == 1)))
    rows = [
        [f"loss, epoch {epoch}", *(float(losses[name][epoch - 1]) for name in losses)] for epoch in range(20, 101, 20)
    ]
    rows += [["accuracy", *right.values()], ["lowest loss possible", f"{BOUND:.5f}", "0"]]
    print_table("The tutorial's lab, 10 images, 100 epochs", ["", *losses], rows)
    possible = [k / 10 for k in range(11)]
    print(f"Accuracies that ten images can have, nearest to 0.95: {sorted(possible, key=lambda a: abs(a - 0.95))[:2]}")


if __name__ == "__main__":
    tyro.cli(main)
