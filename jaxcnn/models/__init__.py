"""Flax linen modules over jaxcnn's operations."""

from jaxcnn.models.cnn import CNN as CNN
from jaxcnn.models.layers import Conv as Conv
from jaxcnn.models.layers import fast_convolutions as fast_convolutions
