"""What a trained network is worth: its metrics on a data set, and what a prediction costs."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

from jaxcnn.bench.timing import Timing, measure
from jaxcnn.data import Dataset
from jaxcnn.losses import classification_loss, log_odds
from jaxcnn.metrics import binary_metrics, multiclass_metrics
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import masked_mean

BATCH_SIZES = (1, 32, 512)
"""The batches that inference is timed at."""


@partial(jax.jit, static_argnames="batch_size")
def predict_logits(state: TrainState, images: Float[Array, "n h w c"], *, batch_size: int) -> Float[Array, "n outputs"]:
    """Logits of any number of images, ``batch_size`` at a time; the last batch is padded with zeros."""
    n = images.shape[0]
    batch_size = min(batch_size, n)
    padded = jnp.pad(images, ((0, -n % batch_size), (0, 0), (0, 0), (0, 0)))
    batches = padded.reshape(-1, batch_size, *images.shape[1:])
    logits = lax.map(lambda batch: state.apply_fn({"params": state.params}, batch), batches)
    return logits.reshape(-1, logits.shape[-1])[:n]


def score(state: TrainState, dataset: Dataset, *, batch_size: int) -> dict[str, float]:
    """Mean loss and metrics: :func:`binary_metrics` for two classes, :func:`multiclass_metrics` for more."""
    (scores,) = score_parts(state, {"all": dataset}, batch_size=batch_size).values()
    return scores


def score_parts(state: TrainState, parts: Mapping[str, Dataset], *, batch_size: int) -> dict[str, dict[str, float]]:
    """:func:`score` of each part that has images."""
    parts = {name: part for name, part in parts.items() if len(part)}
    logits = [predict_logits(state, part.images, batch_size=batch_size) for part in parts.values()]
    losses, metrics = jax.device_get(_scores(logits, [part.labels for part in parts.values()]))
    columns = {"loss": losses, **metrics._asdict()}
    return {name: {metric: float(values[i]) for metric, values in columns.items()} for i, name in enumerate(parts)}


@jax.jit
def _scores(logits: list[Array], labels: list[Array]) -> tuple[Float[Array, " parts"], NamedTuple]:
    """Loss and metrics, each with a value for each part: one program for parts of different sizes."""
    part_of = np.repeat(np.arange(len(logits)), [len(z) for z in logits])
    z, y = jnp.concatenate(logits), jnp.concatenate(labels)
    metrics = partial(binary_metrics, threshold=0.0) if z.shape[-1] == 1 else multiclass_metrics
    losses, scores = classification_loss(z, y), log_odds(z)

    def of_part(part):
        mask = part_of == part
        return masked_mean(losses, mask), metrics(y, scores, mask)

    return lax.map(of_part, np.arange(len(logits)))


def inference_timings(state: TrainState, image_shape: tuple[int, int, int]) -> dict[int, Timing]:
    """The time of one compiled prediction at each of ``BATCH_SIZES``."""
    (device,) = jax.tree.leaves(state.params)[0].devices()
    predict = jax.jit(lambda params, images: state.apply_fn({"params": params}, images))
    images = {n: jax.device_put(jnp.zeros((n, *image_shape)), device) for n in BATCH_SIZES}
    return {n: measure(predict, state.params, batch, min_time=0.05) for n, batch in images.items()}


def summarize_inference(timings: dict[int, Timing]) -> dict[str, float]:
    """Latency at batch 1 and throughput at the best batch, in seconds and images a second."""
    best = max(timings, key=lambda n: n / timings[n].median)
    return {
        "latency_median": timings[1].median,
        "latency_p95": timings[1].p95,
        "throughput_batch_size": best,
        "throughput_median": best / timings[best].median,
        "throughput_p95": best / timings[best].p95,
        "compile": timings[1].compile,
    }
