"""A kept run at work: on other data sets, and on images of which nothing is known."""

from collections.abc import Sequence

import numpy as np
from jax import numpy as jnp
from jaxtyping import Float

from jaxcnn.data import Dataset, load
from jaxcnn.errors import InputError
from jaxcnn.losses import probabilities
from jaxcnn.train.evaluate import predict_logits, score, score_parts
from jaxcnn.train.run import Run, named_parts, run_keys
from jaxcnn.train.step import predicted_classes


def evaluate_run(run: Run, data: str | None = None, batch_size: int | None = None) -> dict[str, dict[str, float]]:
    """Scores on the run's own parts of its data, or on all of another data set.

    Args:
      run: the trained network.
      data: a name or an .npz file, as in :func:`jaxcnn.data.load`.
      batch_size: images at a time; the run's if not given.

    Raises:
      InputError: the data do not fit the network.
      FileNotFoundError: there is no such file.
    """
    size = run.config.batch_size if batch_size is None else batch_size
    if size < 1:
        raise InputError(f"batch_size: expected a positive integer, found {size}")
    if data is None:
        return score_parts(run.state, named_parts(run.splits()), batch_size=size)
    dataset = load(data, key=run_keys(run.config.seed).evaluation)
    check_images(run, data, dataset.image_shape)
    check_classes(run, data, dataset)
    return {data: score(run.state, dataset, batch_size=size)}


def classify(
    run: Run, names: Sequence[str], images: Sequence[Float[np.ndarray, "h w c"]]
) -> list[tuple[str, str, float]]:
    """(name, class, probability of that class) of each image.

    Raises:
      InputError: an image has not the shape that the network takes.
    """
    for name, image in zip(names, images, strict=True):
        check_images(run, name, image.shape)
    logits = predict_logits(run.state, jnp.asarray(np.stack(images)), batch_size=run.config.batch_size)
    classes = np.asarray(predicted_classes(logits))
    scores = np.asarray(probabilities(logits))
    if scores.ndim == 1:
        scores = np.stack([1 - scores, scores], axis=1)
    return [(name, run.class_names[k], float(p[k])) for name, k, p in zip(names, classes, scores, strict=True)]


def check_images(run: Run, name: str, shape: Sequence[int]) -> None:
    """Raise an InputError unless images of ``shape`` fit the network."""
    if tuple(shape) != run.image_shape:
        expected, found = ("×".join(map(str, s)) for s in (run.image_shape, shape))
        raise InputError(f"{name}: expected images of {expected} (height × width × channels), found {found}")


def check_classes(run: Run, name: str, dataset: Dataset) -> None:
    """Raise an InputError unless the classes are those of the network's outputs."""
    if dataset.class_names != run.class_names:
        raise InputError(
            f"{name}: expected the {len(run.class_names)} classes {', '.join(run.class_names)}, "
            f"found {dataset.num_classes}: {', '.join(dataset.class_names)}"
        )
