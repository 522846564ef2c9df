"""Labelled images, as every other part of jaxcnn takes them."""

import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int


class Dataset(struct.PyTreeNode):
    """n labelled images: a pytree, so it passes through ``jit``, ``vmap`` and ``device_put``.

    What comes from a file stays in NumPy arrays, on the host, until somebody puts it on a device.

    Attributes:
      images: pixels, NHWC.
      labels: the class of each image, an index into ``class_names``.
      class_names: one name a class; static under ``jit``.
    """

    images: Float[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, " n"]
    class_names: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, h, w, c = self.images.shape
        return h, w, c

    @property
    def num_classes(self) -> int:
        """How many classes there are, also those that this selection has no image of."""
        return len(self.class_names)

    def __len__(self) -> int:
        return self.images.shape[0]

    def select(self, indices) -> "Dataset":
        """The images and labels at ``indices``, in that order."""
        return self.replace(images=self.images[indices], labels=self.labels[indices])
