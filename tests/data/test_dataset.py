import jax
import numpy as np

from jaxcnn.data import Dataset, lab_images


def test_describes_its_images():
    dataset = lab_images()
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.num_classes == 2
    assert len(dataset) == 10


def test_select_keeps_the_order_asked_for():
    chosen = lab_images().select(np.array([9, 0, 5]))
    assert chosen.labels.tolist() == [1, 0, 1]
    assert chosen.images.shape == (3, 8, 8, 1)
    assert chosen.class_names == ("dark", "bright")


def test_is_a_pytree_with_static_class_names():
    doubled = jax.jit(lambda dataset: jax.tree.map(lambda leaf: leaf + leaf, dataset))(lab_images())
    assert isinstance(doubled, Dataset)
    assert doubled.class_names == ("dark", "bright")
    np.testing.assert_array_equal(doubled.images, 2 * np.asarray(lab_images().images))
