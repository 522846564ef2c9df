"""Arrays in, arrays out: convolution and pooling in pure JAX."""

from jaxcnn.ops.conv import conv2d as conv2d
from jaxcnn.ops.general import conv_general_dilated as conv_general_dilated
from jaxcnn.ops.geometry import ConvGeometry as ConvGeometry
from jaxcnn.ops.geometry import PoolGeometry as PoolGeometry
from jaxcnn.ops.gradients import conv2d_bias_gradient as conv2d_bias_gradient
from jaxcnn.ops.gradients import conv2d_input_gradient as conv2d_input_gradient
from jaxcnn.ops.gradients import conv2d_kernel_gradient as conv2d_kernel_gradient
from jaxcnn.ops.pool import avg_pool as avg_pool
from jaxcnn.ops.pool import max_pool as max_pool
