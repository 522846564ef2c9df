"""What happens when a network sees few images: where does learning end and memorising begin?

    python experiments/overfitting.py

The same network, without dropout and shifts, learns the digits from 50 images, and from more and more of them.
The training loss goes to zero every time; what the network knows is in the validation loss, and the gap between the two
closes as images are added.

Expected: training loss ≈ 0 everywhere; the gap falls from about 1 with 50 images to about 0.1 with 1,200. 1 minute on
2 cores.
"""

from dataclasses import replace

import jax
import tyro

from jaxcnn import InputError
from jaxcnn.data import digits, split
from jaxcnn.report.console import print_table
from jaxcnn.train import TrainConfig, fit, initial_state, score_parts


def main(images: tuple[int, ...] = (50, 100, 200, 400, 800, 1200), steps: int = 800, seed: int = 0) -> None:
    """Train on each number of images and print losses and gap.

    Args:
      images: Numbers of training images.
      steps: Steps of each training.
      seed: The PRNG key.
    """
    config = TrainConfig(data="digits", dropout=0.0, shift=0, batch_size=50, schedule="constant", seed=seed)
    splits = jax.device_put(split(jax.random.key(seed), digits(), validation=0.15, test=0.15))
    rows = []
    for n in images:
        if n > len(splits.train):
            raise InputError(f"images: expected at most {len(splits.train)}, found {n}")
        few = splits.train.select(slice(n))  # the split is in random order
        run = replace(config, epochs=max(steps // -(-n // config.batch_size), 1))
        # Without validation images nothing stops the training early: overfitting is what is looked for.
        result = fit(initial_state(run, few), few, None, run)
        parts = {"train": few, "val": splits.validation, "test": splits.test}
        scores = score_parts(result.state, parts, batch_size=256)
        train, val = scores["train"]["loss"], scores["val"]["loss"]
        rows.append([n, train, val, val - train, scores["train"]["accuracy"], scores["test"]["accuracy"]])
    columns = ["images", "train loss", "val loss", "gap", "train accuracy", "test accuracy"]
    print_table(f"Digits, {steps} steps", columns, rows)


if __name__ == "__main__":
    tyro.cli(main)
