"""The figures of a run, with what they show and how to read them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxcnn.data import Dataset
from jaxcnn.losses import probabilities
from jaxcnn.metrics import confusion_matrix
from jaxcnn.report import figures, panels
from jaxcnn.report.page import PARTS, Picture
from jaxcnn.report.style import to_png
from jaxcnn.train import Run, predict_logits
from jaxcnn.train.step import predicted_classes


class Predictions(NamedTuple):
    """What a network says about n images.

    Attributes:
      scores: probabilities of class 1, or of each class.
      classes: the most probable ones.
      confidences: their probabilities.
    """

    scores: Float[np.ndarray, " n"] | Float[np.ndarray, "n k"]
    classes: Int[np.ndarray, " n"]
    confidences: Float[np.ndarray, " n"]


def draw_pictures(
    run: Run, parts: Mapping[str, Dataset], history: Mapping[str, np.ndarray], best_epoch: int | None
) -> Iterator[Picture]:
    """All figures for which there is something to show.

    Args:
      run: the trained network.
      parts: its data under the names of metrics.json; the test images are shown, or else those for training.
      history: an array for each field of :class:`jaxcnn.train.Epoch`.
      best_epoch: the epoch whose parameters were kept, if one was chosen.
    """
    name = "test" if len(parts["test"]) else "train"
    dataset = jax.device_get(parts[name])
    predictions = predict(run, dataset)
    kernel = first_kernel(run.state.params, channels=run.image_shape[-1])
    if len(history["epoch"]):
        yield draw_learning_curves(history, best_epoch)
    yield draw_roc(dataset, predictions, PARTS[name])
    yield draw_confusion(dataset, predictions, PARTS[name])
    if kernel is not None:
        yield draw_filters(np.asarray(kernel))
    yield draw_wrong(dataset, predictions, PARTS[name])


def predict(run: Run, dataset: Dataset) -> Predictions:
    """What the run's network says about a data set."""
    logits = predict_logits(run.state, dataset.images, batch_size=run.config.batch_size)
    scores, classes = jax.device_get((probabilities(logits), predicted_classes(logits)))
    confidences = scores.max(axis=1) if scores.ndim == 2 else np.maximum(scores, 1 - scores)
    return Predictions(scores, classes, confidences)


def first_kernel(params: Mapping, channels: int) -> Float[Array, "h w c n"] | None:
    """The kernel of the convolution that takes images of so many channels; None where there is no convolution."""
    return next((leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4 and leaf.shape[2] == channels), None)


def draw_learning_curves(history: Mapping[str, np.ndarray], best_epoch: int | None) -> Picture:
    """Losses and accuracy over the epochs."""
    epochs = len(history["epoch"])
    best = "" if best_epoch is None else f"; the best is epoch {best_epoch}"
    return Picture(
        "learning_curves",
        to_png(figures.learning_curves(history, best_epoch)),
        f"Training loss, and where there is one validation loss and accuracy, over {epochs} epochs{best}.",
        "Both losses should fall and stay low; the gap grows when training images are learned by heart. Unlike in the "
        "table, the training loss is the mean over an epoch’s steps, with dropout and shifts.",
    )


def draw_roc(dataset: Dataset, predictions: Predictions, part: str) -> Picture:
    """Rates at every threshold."""
    return Picture(
        "roc",
        to_png(figures.roc(np.asarray(dataset.labels), predictions.scores, dataset.class_names)),
        f"ROC curves of {len(dataset)} {part} images, with the area under each.",
        f"How many images of a class are found (up) at what share of false alarms (right), on the {part} images: "
        "the nearer to the upper left corner, the better; the dotted diagonal is guessing.",
    )


def draw_confusion(dataset: Dataset, predictions: Predictions, part: str) -> Picture:
    """Which classes are taken for which."""
    matrix = np.asarray(confusion_matrix(dataset.labels, predictions.classes, dataset.num_classes))
    return Picture(
        "confusion",
        to_png(figures.confusion(matrix, dataset.class_names)),
        f"Confusion matrix: {matrix.trace()} of {len(dataset)} {part} images are on its diagonal.",
        f"Each {part} image, in the row of its class and the column of its prediction: what is off the diagonal is "
        "wrong.",
    )


def draw_filters(kernel: Float[np.ndarray, "h w c n"]) -> Picture:
    """What the first layer looks at."""
    h, w, _, n = kernel.shape
    return Picture(
        "filters",
        to_png(panels.filters(kernel)),
        f"The {n} kernels of the first convolution, {h}×{w} weights each.",
        "The first convolution’s kernels: a filter answers most where the image is bright under its positive "
        "weights and dark under its negative ones.",
    )


def draw_wrong(dataset: Dataset, predictions: Predictions, part: str) -> Picture:
    """The images that are taken for another class."""
    labels, classes = np.asarray(dataset.labels), predictions.classes
    figure = panels.wrong(np.asarray(dataset.images), labels, classes, predictions.confidences, dataset.class_names)
    return Picture(
        "wrong",
        to_png(figure),
        f"{np.count_nonzero(labels != classes)} of {len(dataset)} {part} images are wrong.",
        f"True class → predicted class (its probability), of the {part} images that are wrong: confident mistakes "
        "first.",
    )
