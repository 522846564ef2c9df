"""How good a classifier is: exact, jittable, and blind to what a mask leaves out.

Every function takes whole arrays, so that no result depends on how examples were batched. Counts are
integers, divided once, at the end, in float32; 64-bit mode is not needed, and fewer than 2³⁰ examples are
expected. What is masked out never matters, whatever it holds: arrays may be padded to one size, and compiled
for once.

Where nothing can be said, the number says so: every metric is NaN if an example that counts has a NaN among
its scores or a label that is no class. A ratio whose denominator is 0, such as the precision of a class that
is never predicted, is 0, as with scikit-learn's ``zero_division=0``.
"""

from typing import NamedTuple, TypeVar

import jax
from jax import lax
from jax import numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Shaped, UInt32

Scalar = Float32[Array, ""]
Metrics = TypeVar("Metrics")


class BinaryMetrics(NamedTuple):
    """What :func:`binary_metrics` found."""

    accuracy: Scalar
    precision: Scalar
    recall: Scalar
    f1: Scalar
    roc_auc: Scalar


class MulticlassMetrics(NamedTuple):
    """What :func:`multiclass_metrics` found.

    A macro average is the plain mean over the classes; a weighted one counts a class as often as it occurs.
    """

    accuracy: Scalar
    macro_precision: Scalar
    macro_recall: Scalar
    macro_f1: Scalar
    weighted_precision: Scalar
    weighted_recall: Scalar
    weighted_f1: Scalar
    roc_auc: Scalar


class RocCurve(NamedTuple):
    """What :func:`roc_curve` found: the points of the curve from (0, 0) to (1, 1)."""

    false_positive_rate: Float32[Array, " points"]
    true_positive_rate: Float32[Array, " points"]
    thresholds: Float[Array, " points"]


def binary_metrics(
    labels: Int[ArrayLike, " n"],
    scores: Float[ArrayLike, " n"],
    mask: Bool[ArrayLike, " n"] | None = None,
    threshold: float = 0.5,
) -> BinaryMetrics:
    """Metrics of a prediction of two classes: class 1 where score >= threshold.

        accuracy = (tp + tn) / n            precision = tp / (tp + fp)
        recall   = tp / (tp + fn)           f1        = 2 tp / (2 tp + fp + fn)

    Args:
      labels: 0 or 1, integer or boolean.
      scores: probabilities of class 1, or any other score with a ``threshold`` of its own.
      mask: True for the examples that count; None for all.
      threshold: the lowest score that is a prediction of class 1.

    Returns:
      0-d float32 arrays; ``roc_auc`` is that of :func:`roc_auc`.

    Raises:
      ValueError: the shapes are not all (n,).
      TypeError: the labels are not integers, or the scores not floating point.

    >>> import jax.numpy as jnp
    >>> metrics = binary_metrics(jnp.array([0, 0, 1, 1]), jnp.array([0.1, 0.6, 0.4, 0.8]))
    >>> metrics.accuracy, metrics.roc_auc
    (Array(0.5, dtype=float32), Array(0.75, dtype=float32))
    """
    y, scores, counts = _checked(labels, scores, mask, scores_ndim=1)
    predicted = scores >= jnp.asarray(threshold, scores.dtype)
    tp = _count(counts & (y == 1) & predicted)
    fp = _count(counts & (y == 0) & predicted)
    fn = _count(counts & (y == 1) & ~predicted)
    metrics = BinaryMetrics(
        accuracy=_ratio(_count(counts) - fp - fn, _count(counts)),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        roc_auc=roc_auc(y, scores, counts),
    )
    return _nan_unless(_usable(y, scores[:, None], counts, num_classes=2), metrics)


def roc_auc(
    labels: Int[ArrayLike, " n"], scores: Float[ArrayLike, " n"], mask: Bool[ArrayLike, " n"] | None = None
) -> Scalar:
    """The area under the ROC curve: how likely a positive scores above a negative, a tie counting half.

        AUC = Σ_{j ∈ N} (#{i ∈ P: s_i > s_j} + ½ #{i ∈ P: s_i = s_j}) / (|P| · |N|)

    The Mann-Whitney statistic (Hanley & McNeil 1982, "The meaning and use of the area under a receiver
    operating characteristic curve"). Pairs are counted in integers, and only their sum is rounded: the error
    stays below 10⁻⁶ for millions of examples.

    Args:
      labels: 0 or 1, integer or boolean.
      scores: the higher, the more of class 1; ±∞ are scores like any other, and −0 equals 0.
      mask: True for the examples that count; None for all.

    Returns:
      The area, in [0, 1]; NaN where one of the classes has no example.

    Raises:
      ValueError: the shapes are not all (n,).
      TypeError: the labels are not integers, or the scores not floating point.
    """
    y, scores, counts = _checked(labels, scores, mask, scores_ndim=1)
    keys, positive, negative = _ranked(y, scores, counts)
    above, at_least = _counts_above(positive, keys)
    twice_pairs = jnp.where(negative, (above + at_least).astype(jnp.uint32), 0)
    # The most that it can be, with the same roundings: a perfect ranking is exactly 1, and none is more.
    most = jnp.where(negative, 2 * _count(positive).astype(jnp.uint32), 0)
    area = jnp.minimum(_float_sum(twice_pairs) / _float_sum(most), 1)
    return _nan_unless(_usable(y, scores[:, None], counts, num_classes=2), area)


def roc_curve(
    labels: Int[ArrayLike, " n"], scores: Float[ArrayLike, " n"], mask: Bool[ArrayLike, " n"] | None = None
) -> RocCurve:
    """The true against the false positive rate, for each score as the threshold, from high to low.

    There are n + 1 points whatever the scores, so that it can be compiled: tied examples repeat the point
    that they share, masked ones the last point, with threshold −∞. Repeated points change neither the curve
    nor the area under it, which by the trapezoidal rule is :func:`roc_auc`.

    Args:
      labels: 0 or 1, integer or boolean.
      scores: the higher, the more of class 1.
      mask: True for the examples that count; None for all.

    Returns:
      float32 rates, and thresholds in the scores' dtype; the first point is (0, 0), with threshold ∞. The
      rates of a class without examples are NaN.

    Raises:
      ValueError: the shapes are not all (n,).
      TypeError: the labels are not integers, or the scores not floating point.
    """
    y, scores, counts = _checked(labels, scores, mask, scores_ndim=1)
    keys, positive, negative = _ranked(y, scores, counts)

    def rate(flags):
        _, at_least = _counts_above(flags, keys)
        return jnp.pad(at_least, (1, 0)).astype(jnp.float32) / _count(flags).astype(jnp.float32)

    thresholds = jnp.pad(_scores_of_keys(keys, scores.dtype), (1, 0), constant_values=jnp.inf)
    curve = RocCurve(rate(negative), rate(positive), thresholds)
    return _nan_unless(_usable(y, scores[:, None], counts, num_classes=2), curve)


def multiclass_metrics(
    labels: Int[ArrayLike, " n"], scores: Float[ArrayLike, "n k"], mask: Bool[ArrayLike, " n"] | None = None
) -> MulticlassMetrics:
    """Metrics of a prediction of k classes: the class of the highest score, the first of equals.

    Precision, recall and F1 are those of :func:`binary_metrics` for each class against the rest, averaged.

    Args:
      labels: from 0 to k − 1.
      scores: probabilities or logits, one column a class.
      mask: True for the examples that count; None for all.

    Returns:
      0-d float32 arrays. ``roc_auc`` is the macro average of :func:`roc_auc` of each class against the rest,
      by that class's scores; NaN where one has no example, or all of them.

    Raises:
      ValueError: the shapes are not (n,), (n, k) and (n,).
      TypeError: the labels are not integers, or the scores not floating point.
    """
    y, scores, counts = _checked(labels, scores, mask, scores_ndim=2)
    k = scores.shape[1]
    matrix = confusion_matrix(y, lax.argmax(scores, 1, jnp.int32), k, counts)
    tp, actual, predicted = jnp.diagonal(matrix), _count(matrix, axis=1), _count(matrix, axis=0)
    precision, recall, f1 = _ratio(tp, predicted), _ratio(tp, actual), _ratio(2 * tp, predicted + actual)
    weights = _ratio(actual, _count(actual))
    # One class after the other: sorting all at once would take k times the memory, and no less time.
    areas = lax.map(lambda c: roc_auc(y == c[0], c[1], counts), (jnp.arange(k, dtype=y.dtype), scores.T))
    metrics = MulticlassMetrics(
        accuracy=_ratio(_count(tp), _count(actual)),
        macro_precision=jnp.mean(precision),
        macro_recall=jnp.mean(recall),
        macro_f1=jnp.mean(f1),
        weighted_precision=jnp.sum(weights * precision),
        weighted_recall=jnp.sum(weights * recall),
        weighted_f1=jnp.sum(weights * f1),
        roc_auc=jnp.mean(areas),
    )
    return _nan_unless(_usable(y, scores, counts, num_classes=k), metrics)


def confusion_matrix(
    labels: Int[ArrayLike, " n"],
    predictions: Int[ArrayLike, " n"],
    num_classes: int,
    mask: Bool[ArrayLike, " n"] | None = None,
) -> Int32[Array, "k k"]:
    """How often each class was taken for each: row i, column j counts what is of class i and predicted as j.

    Args:
      labels: true classes.
      predictions: predicted classes.
      num_classes: k; static under ``jit``.
      mask: True for the examples that count; None for all.

    Returns:
      The counts. An example whose label or prediction is not in 0 … k − 1 has no cell and is in none: the sum
      of the matrix then falls short of the number of examples.

    Raises:
      ValueError: the shapes are not all (n,).
      TypeError: the labels or the predictions are not integers.
    """
    y, p = _indices("labels", labels), _indices("predictions", predictions)
    counts = _mask_of(y, mask)
    if y.ndim != 1 or not y.shape == p.shape == counts.shape:
        raise ValueError(
            f"labels, predictions and mask must be (n,): "
            f"labels.shape={y.shape}, predictions.shape={p.shape}, mask.shape={counts.shape}"
        )
    counted = counts & _is_class(y, num_classes) & _is_class(p, num_classes)
    matrix = jnp.zeros((num_classes, num_classes), jnp.int32)
    # What is no class points anywhere, and adds 0 there.
    return matrix.at[y, p].add(counted.astype(jnp.int32), mode="drop")


def _ranked(y, scores, counts) -> tuple[Int[Array, " n"], Bool[Array, " n"], Bool[Array, " n"]]:
    """Keys by falling score, who is positive, who negative. What does not count is neither, and at the end."""
    keys = _keys_of_scores(jnp.where(counts, scores, -jnp.inf))
    keys, positive, negative = lax.sort((keys, counts & (y == 1), counts & (y == 0)), num_keys=1)
    return keys, positive, negative


def _keys_of_scores(scores: Float[Array, " n"]) -> Int[Array, " n"]:
    """Integers that fall where the scores rise, and are equal where they are equal.

    Floats will not do: XLA takes subnormal ones for 0 on some devices, the CPU among them.
    """
    bits = lax.bitcast_convert_type(scores, jnp.dtype(f"int{8 * scores.dtype.itemsize}"))
    minus_zero = jnp.iinfo(bits.dtype).min
    return ~_ascending(jnp.where(bits == minus_zero, 0, bits))


def _scores_of_keys(keys: Int[Array, " n"], dtype) -> Float[Array, " n"]:
    """The inverse of :func:`_keys_of_scores`, but for the sign of 0."""
    return lax.bitcast_convert_type(_ascending(~keys), dtype)


def _ascending(bits: Int[Array, " n"]) -> Int[Array, " n"]:
    """A float's bits, in the float's order also where it is negative. Its own inverse."""
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)


def _counts_above(flags: Bool[Array, " n"], keys: Int[Array, " n"]) -> tuple[Int32[Array, " n"], Int32[Array, " n"]]:
    """For each of the sorted examples, how many flags are above it, and how many above or tied with it."""
    changes = keys[1:] != keys[:-1]
    first = jnp.ones(keys.shape, bool).at[1:].set(changes)
    last = jnp.ones(keys.shape, bool).at[:-1].set(changes)
    count = jnp.cumsum(flags, dtype=jnp.int32)
    # Counts only grow: that before a tie is the largest so far, that at its end the smallest yet to come.
    above = lax.cummax(jnp.where(first, count - flags.astype(jnp.int32), 0))
    at_least = lax.cummin(jnp.where(last, count, flags.size), reverse=True)
    return above, at_least


def _float_sum(v: UInt32[Array, " n"]) -> Scalar:
    """Σ v, exact within blocks, whose 16-bit halves add up to no more than 32 bits, and in float32 across."""
    block = min(max(v.size, 1), 2**16)
    blocks = jnp.pad(v, (0, -v.size % block)).reshape(-1, block)
    high, low = (jnp.sum(half, axis=1, dtype=jnp.uint32) for half in (blocks >> 16, blocks & 0xFFFF))
    return jnp.sum(high.astype(jnp.float32) * 2**16 + low.astype(jnp.float32))


def _count(flags_or_counts: Shaped[Array, "..."], axis: int | None = None) -> Int32[Array, "..."]:
    return jnp.sum(flags_or_counts, axis=axis, dtype=jnp.int32)


def _ratio(part: Int32[Array, "..."], whole: Int32[Array, "..."]) -> Float32[Array, "..."]:
    """0 where the whole is 0, for then so is the part."""
    return part.astype(jnp.float32) / jnp.maximum(whole, 1).astype(jnp.float32)


def _nan_unless(usable: Bool[Array, ""], metrics: Metrics) -> Metrics:
    return jax.tree.map(lambda metric: jnp.where(usable, metric, jnp.nan), metrics)


def _usable(y, scores: Float[Array, "n k"], counts, *, num_classes: int) -> Bool[Array, ""]:
    usable = _is_class(y, num_classes) & ~jnp.any(jnp.isnan(scores), axis=1)
    return jnp.all(usable | ~counts)


def _is_class(y: Int[Array, " n"], num_classes: int) -> Bool[Array, " n"]:
    return (y >= 0) & (y < num_classes)


def _checked(labels, scores, mask, *, scores_ndim: int) -> tuple[Array, Array, Array]:
    y, scores = _indices("labels", labels), jnp.asarray(scores)
    counts = _mask_of(y, mask)
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        raise TypeError(f"scores must be floating point, found {scores.dtype}")
    if y.ndim != 1 or scores.ndim != scores_ndim or not y.shape == scores.shape[:1] == counts.shape:
        raise ValueError(
            f"labels and mask must be (n,), scores {'(n,)' if scores_ndim == 1 else '(n, k)'}: "
            f"labels.shape={y.shape}, scores.shape={scores.shape}, mask.shape={counts.shape}"
        )
    return y, scores, counts


def _mask_of(y, mask) -> Bool[Array, " n"]:
    return jnp.ones(y.shape, bool) if mask is None else jnp.asarray(mask).astype(bool)


def _indices(name: str, labels) -> Int[Array, " n"]:
    """Labels in a dtype that holds the number of classes too, as the uint8 of stored labels may not."""
    y = jnp.asarray(labels)
    if jnp.issubdtype(y.dtype, jnp.inexact):
        raise TypeError(f"{name} must be integers, found {y.dtype}")
    return y if y.dtype.itemsize > 4 else y.astype(jnp.int32)
