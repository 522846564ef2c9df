import contextlib
import warnings
from fractions import Fraction
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import numpy as jnp
from sklearn import metrics as oracle
from sklearn.exceptions import UndefinedMetricWarning

from jaxcnn import metrics

binary_metrics = jax.jit(metrics.binary_metrics)
multiclass_metrics = jax.jit(metrics.multiclass_metrics)
roc_auc = jax.jit(metrics.roc_auc)
roc_curve = jax.jit(metrics.roc_curve)
confusion_matrix = jax.jit(metrics.confusion_matrix, static_argnums=2)

SIZES = (8, 64, 512)
"""Random cases are padded to one of these, so that a thousand of them are three compilations."""

scores_of = st.floats(width=32, allow_nan=False)  # subnormal numbers, −0 and ±∞ among them
examples = st.lists(st.tuples(st.booleans(), scores_of), min_size=10, max_size=10)


@contextlib.contextmanager
def undefined_metrics():
    """scikit-learn too has 0 for a ratio and NaN for an area that does not exist, and warns of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        yield


def binary_oracle(y, scores):
    predicted = scores >= 0.5
    with undefined_metrics():
        ratios = oracle.precision_recall_fscore_support(y, predicted, average="binary")[:3]
        return [np.mean(y == predicted), *ratios, oracle.roc_auc_score(y, scores)]


def multiclass_oracle(y, scores):
    classes, predicted = range(scores.shape[1]), scores.argmax(axis=1)
    ratios = partial(oracle.precision_recall_fscore_support, y, predicted, labels=classes)
    with undefined_metrics():
        area = np.mean([oracle.roc_auc_score(y == c, scores[:, c]) for c in classes])
        return [np.mean(y == predicted), *ratios(average="macro")[:3], *ratios(average="weighted")[:3], area]


def random_scores(rng, shape):
    """Without ties, with some, or with little else."""
    scores = rng.random(shape).astype(np.float32)
    return scores if rng.random() < 0.4 else np.round(scores, rng.integers(0, 3))


def among_junk(rng, labels, scores):
    """The examples in the same order, spread over a larger array that is masked where it holds none."""
    n = len(labels)
    size = next(size for size in SIZES if size >= n)
    places = np.sort(rng.choice(size, n, replace=False))
    junk = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.5, 7], np.float32), (size, *scores.shape[1:]))
    all_labels, mask = rng.integers(-9, 9, size), np.zeros(size, bool)
    all_labels[places], junk[places], mask[places] = labels, scores, True
    return all_labels, junk, mask


@pytest.mark.parametrize("seed", range(10))
def test_binary_metrics_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        n = 1 + int(rng.integers(300) * rng.random() ** 2)
        labels, scores = (rng.random(n) < rng.random() ** 2).astype(int), random_scores(rng, n)
        found = binary_metrics(*among_junk(rng, labels, scores))
        np.testing.assert_allclose(found, binary_oracle(labels, scores), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_multiclass_metrics_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        n = 1 + int(rng.integers(300) * rng.random() ** 2)
        labels, scores = (4 * rng.random(n) ** (3 * rng.random())).astype(int), random_scores(rng, (n, 4))
        found = multiclass_metrics(*among_junk(rng, labels, scores))
        np.testing.assert_allclose(found, multiclass_oracle(labels, scores), rtol=1e-6, atol=1e-7)


def test_macro_area_is_scikit_learns_one_against_the_rest():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 4, 64), rng.dirichlet(np.ones(4), 64).astype(np.float32)
    expected = oracle.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    found = multiclass_metrics(*among_junk(rng, labels, scores))
    np.testing.assert_allclose(found.roc_auc, expected, rtol=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("positives", [0.5, 0.001])
def test_area_of_a_million_scores(ties, positives):
    rng = np.random.default_rng(1)
    labels = rng.random(10**6) < positives
    scores = (rng.random(10**6) + 0.3 * labels).astype(np.float32)
    scores = np.round(scores, 1) if ties else scores
    np.testing.assert_allclose(roc_auc(labels, scores), oracle.roc_auc_score(labels, scores), atol=1e-6)


def test_the_best_and_the_worst_of_a_million_are_exact():
    labels, scores = np.arange(10**6) >= 600_123, np.arange(10**6, dtype=np.float32)
    assert roc_auc(labels, scores) == 1
    assert roc_auc(~labels, scores) == 0
    assert roc_auc(labels, np.zeros_like(scores)) == 0.5


def pairs(examples):
    """The definition, pair by pair, in fractions."""
    positive = [score for label, score in examples if label]
    negative = [score for label, score in examples if not label]
    won = sum(Fraction((s > t) + (s >= t), 2) for s in positive for t in negative)
    return float(won / (len(positive) * len(negative))) if positive and negative else np.nan


def arrays(examples):
    labels, scores = zip(*examples, strict=True)
    return np.array(labels), np.array(scores, np.float32)


@given(examples)
def test_area_counts_pairs(examples):
    np.testing.assert_allclose(roc_auc(*arrays(examples)), pairs(examples), rtol=1e-6)


@given(examples, st.permutations(range(10)))
def test_order_of_the_examples_is_nothing(examples, order):
    labels, scores = arrays(examples)
    for metric in (binary_metrics, roc_curve):
        for found, expected in zip(metric(labels[order], scores[order]), metric(labels, scores), strict=True):
            np.testing.assert_array_equal(found, expected)


@given(examples)
def test_only_the_ranks_matter_to_the_area(examples):
    labels, scores = arrays(examples)
    ranks = np.unique(scores, return_inverse=True)[1]
    np.testing.assert_array_equal(roc_auc(labels, ranks.astype(np.float32) - 3), roc_auc(labels, scores))


@given(examples)
def test_area_of_the_other_class_is_the_rest(examples):
    labels, scores = arrays(examples)
    np.testing.assert_allclose(roc_auc(~labels, scores), 1 - roc_auc(labels, scores), atol=1e-6)


@given(examples, st.lists(st.booleans(), min_size=10, max_size=10))
def test_masked_is_the_subset(examples, mask):
    kept = [example for example, counts in zip(examples, mask, strict=True) if counts]
    found = binary_metrics(*arrays(examples), np.array(mask))
    np.testing.assert_allclose(found.roc_auc, pairs(kept), rtol=1e-6)
    right = sum(label == (score >= 0.5) for label, score in kept)
    np.testing.assert_allclose(found.accuracy, right / max(len(kept), 1), rtol=1e-6)


@given(examples, st.lists(st.booleans(), min_size=10, max_size=10))
def test_each_point_of_the_curve_is_what_its_threshold_gives(examples, mask):
    (labels, scores), mask = arrays(examples), np.array(mask)
    curve = roc_curve(labels, scores, mask)
    assert all(points.shape == (11,) for points in curve)
    thresholds = np.asarray(curve.thresholds)
    np.testing.assert_array_equal(thresholds[1:], -np.sort(-np.where(mask, scores, -np.inf)))
    for rate, own in ((curve.true_positive_rate, mask & labels), (curve.false_positive_rate, mask & ~labels)):
        reached = np.sum(scores[own] >= thresholds[1:, None], axis=1)
        expected = [0, *(reached / own.sum())] if own.any() else [np.nan] * 11
        np.testing.assert_allclose(rate, expected, rtol=1e-6)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    np.testing.assert_allclose(area, roc_auc(labels, scores, mask), atol=1e-6)


def test_curve_is_scikit_learns():
    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 2, 60), np.round(rng.normal(size=60), 1).astype(np.float32)
    found = list(dict.fromkeys(zip(*(points.tolist() for points in roc_curve(labels, scores)), strict=True)))
    expected = oracle.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-6)


def test_curve_by_hand():
    curve = roc_curve(np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.4, 0.4, -0.0, 5], np.float32), np.arange(5) < 4)
    np.testing.assert_array_equal(curve.true_positive_rate, [0, 0.5, 1, 1, 1, 1])
    np.testing.assert_array_equal(curve.false_positive_rate, [0, 0, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(curve.thresholds, np.array([np.inf, 0.9, 0.4, 0.4, 0, -np.inf], np.float32))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_scores_of_any_precision(dtype):
    with jax.enable_x64(dtype == "float64"):
        rng = np.random.default_rng(2)
        labels, scores = rng.integers(0, 2, 200), jnp.asarray(rng.normal(size=200), dtype)
        found = binary_metrics(labels, scores)
        assert {metric.dtype for metric in found} == {jnp.dtype("float32")}
        np.testing.assert_allclose(found, binary_oracle(labels, np.float64(scores)), rtol=1e-6)
        curve = roc_curve(labels, scores)
        assert curve.thresholds.dtype == dtype
        np.testing.assert_array_equal(curve.thresholds[1:], jnp.sort(scores)[::-1])


def test_neither_doubles_nor_subnormal_scores_are_rounded():
    assert roc_auc(np.array([0, 1]), np.array([0, 1e-45], np.float32)) == 1
    with jax.enable_x64(True):
        assert roc_auc(np.array([0, 1]), np.array([1, 1 + 1e-15])) == 1


def test_a_score_at_the_threshold_is_class_one():
    labels, scores = np.array([1, 0, 0]), np.array([0.7, 0.69999, 0.1], np.float32)
    assert binary_metrics(labels, scores, None, 0.7).accuracy == 1
    assert binary_metrics(labels, scores, None, np.float32(0.75)).recall == 0
    assert binary_metrics(labels, scores.astype(np.float16), None, jnp.float32(0.7)).precision == 0.5


def test_the_first_of_equal_scores_is_the_prediction():
    found = multiclass_metrics(np.array([0, 1, 1]), np.array([[1, 1, 0], [0, 2, 2], [3, 3, 3]], np.float32))
    np.testing.assert_allclose(found.accuracy, 2 / 3, rtol=1e-6)


def test_of_nothing():
    nothing = np.zeros(4, bool)
    for mask, labels in ((nothing, np.zeros(4, int)), (None, np.zeros(0, int))):
        scores = np.zeros((len(labels), 3), np.float32)
        np.testing.assert_array_equal(binary_metrics(labels, scores[:, 0], mask), [0, 0, 0, 0, np.nan])
        np.testing.assert_array_equal(multiclass_metrics(labels, scores, mask), [0] * 7 + [np.nan])
        assert confusion_matrix(labels, labels, 3, mask).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize(("label", "score"), [(2, 0.5), (-1, 0.5), (1, np.nan)])
def test_what_means_nothing_makes_binary_metrics_nan(label, score):
    labels, scores = np.array([0, 1, label]), np.array([0.2, 0.7, score], np.float32)
    assert np.isnan(binary_metrics(labels, scores)).all()
    assert np.isnan(roc_auc(labels, scores))
    assert np.isnan(roc_curve(labels, scores)).all()
    assert binary_metrics(labels, scores, np.array([True, True, False])) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize(("label", "score"), [(3, 0.5), (-1, 0.5), (2, np.nan)])
def test_what_means_nothing_makes_multiclass_metrics_nan(label, score):
    labels, scores = np.array([0, 1, 2, label]), np.eye(4, 3, dtype=np.float32)
    scores[3, 1] = score
    assert np.isnan(multiclass_metrics(labels, scores)).all()
    np.testing.assert_allclose(multiclass_metrics(labels, scores, np.arange(4) < 3), np.ones(8), rtol=1e-6)


def test_confusion_matrix_is_scikit_learns():
    rng = np.random.default_rng(3)
    labels, predictions, mask = rng.integers(0, 5, 500), rng.integers(0, 6, 500), rng.random(500) < 0.7
    found = confusion_matrix(labels, predictions, 6, mask)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, oracle.confusion_matrix(labels[mask], predictions[mask], labels=range(6)))


@pytest.mark.parametrize("outside", [-1, -2, 2, 100])
def test_what_is_no_class_is_in_no_cell(outside):
    assert confusion_matrix(np.array([0, outside]), np.array([1, 1]), 2).tolist() == [[0, 1], [0, 0]]
    assert confusion_matrix(np.array([1, 1]), np.array([outside, 0]), 2).tolist() == [[0, 0], [1, 0]]


def test_classes_of_any_width():
    assert confusion_matrix(np.array([200, 7], np.uint8), np.array([299, 7]), 300)[200, 299] == 1
    with jax.enable_x64(True):
        found = confusion_matrix(np.array([2**32, 1]), np.array([1, 1], np.int32), 2)
        assert found.tolist() == [[0, 0], [0, 1]]
    booleans = binary_metrics(np.array([False, True]), np.array([0, 1], np.float32))
    assert booleans == binary_metrics(np.array([0, 1], np.uint8), np.array([0, 1], np.float32))


def test_vmap_is_one_by_one():
    rng = np.random.default_rng(4)
    labels, scores, mask = rng.integers(0, 2, (5, 8)), random_scores(rng, (5, 8, 4)), rng.random((5, 8)) < 0.8
    for metric, given_scores in ((binary_metrics, scores[..., 0]), (multiclass_metrics, scores)):
        found = jax.vmap(metric)(labels, given_scores, mask)
        for i in range(5):
            for all_values, value in zip(found, metric(labels[i], given_scores[i], mask[i]), strict=True):
                np.testing.assert_allclose(all_values[i], value, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: metrics.binary_metrics(np.zeros(2, int), np.zeros((2, 1), np.float32)),
            ValueError,
            r"scores \(n,\): labels.shape=\(2,\), scores.shape=\(2, 1\), mask.shape=\(2,\)",
        ),
        (
            lambda: metrics.roc_auc(np.zeros(2, int), np.zeros(2, np.float32), np.ones(3, bool)),
            ValueError,
            r"scores.shape=\(2,\), mask.shape=\(3,\)",
        ),
        (lambda: metrics.roc_auc(np.zeros((), int), np.float32(0)), ValueError, r"labels.shape=\(\)"),
        (
            lambda: metrics.multiclass_metrics(np.zeros(2, int), np.zeros(2, np.float32)),
            ValueError,
            r"scores \(n, k\): labels.shape=\(2,\), scores.shape=\(2,\)",
        ),
        (
            lambda: metrics.confusion_matrix(np.zeros(2, int), np.zeros(3, int), 2),
            ValueError,
            r"must be \(n,\): labels.shape=\(2,\), predictions.shape=\(3,\), mask.shape=\(2,\)",
        ),
        (
            lambda: metrics.roc_auc(np.zeros(2, np.float32), np.zeros(2, np.float32)),
            TypeError,
            "labels must be integers, found float32",
        ),
        (
            lambda: metrics.confusion_matrix(np.zeros(2, int), np.zeros(2, np.float32), 2),
            TypeError,
            "predictions must be integers, found float32",
        ),
        (
            lambda: metrics.roc_curve(np.zeros(2, int), np.zeros(2, np.int32)),
            TypeError,
            "scores must be floating point, found int32",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
