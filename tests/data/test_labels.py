import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.data.labels import balanced_labels


@given(n=st.sampled_from([1, 2, 7, 40]), num_classes=st.integers(2, 5), seed=st.integers(0, 2**32 - 1))
def test_no_class_is_ahead_by_more_than_one(n, num_classes, seed):
    labels = balanced_labels(jax.random.key(seed), n, num_classes)
    assert labels.dtype == np.int32
    counts = np.bincount(labels, minlength=num_classes)
    assert len(counts) == num_classes
    assert counts.max() - counts.min() <= 1


def test_the_first_label_is_any_class_equally_often():
    keys = jax.random.split(jax.random.key(0), 4000)
    first = jax.vmap(lambda key: balanced_labels(key, 8, 4)[0])(keys)
    # The standard deviation of a count is √(4000 · ¼ · ¾) = 27.4; four of them.
    np.testing.assert_allclose(np.bincount(first, minlength=4), 1000, atol=110)
