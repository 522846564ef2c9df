"""Flax linen modules over jaxcnn's operations."""

from jaxcnn.models.cnn import CNN as CNN
from jaxcnn.models.layers import Conv as Conv
