"""The textbook, executable: sums in NumPy float64, loop by loop; slow on purpose, an oracle for jaxcnn.ops."""

from jaxcnn.reference.adam import AdamState as AdamState
from jaxcnn.reference.adam import adam_init as adam_init
from jaxcnn.reference.adam import adam_step as adam_step
from jaxcnn.reference.convolution import conv2d as conv2d
from jaxcnn.reference.convolution import conv2d_bias_gradient as conv2d_bias_gradient
from jaxcnn.reference.convolution import conv2d_input_gradient as conv2d_input_gradient
from jaxcnn.reference.convolution import conv2d_kernel_gradient as conv2d_kernel_gradient
from jaxcnn.reference.dense import dense as dense
from jaxcnn.reference.dense import dense_gradients as dense_gradients
from jaxcnn.reference.dense import relu as relu
from jaxcnn.reference.dense import relu_gradient as relu_gradient
from jaxcnn.reference.lab import lab_loss as lab_loss
from jaxcnn.reference.lab import lab_loss_and_gradients as lab_loss_and_gradients
from jaxcnn.reference.lab import lab_train as lab_train
from jaxcnn.reference.losses import sigmoid as sigmoid
from jaxcnn.reference.losses import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from jaxcnn.reference.losses import sigmoid_binary_cross_entropy_gradient as sigmoid_binary_cross_entropy_gradient
from jaxcnn.reference.losses import softmax as softmax
from jaxcnn.reference.losses import softmax_cross_entropy as softmax_cross_entropy
from jaxcnn.reference.losses import softmax_cross_entropy_gradient as softmax_cross_entropy_gradient
from jaxcnn.reference.pooling import avg_pool as avg_pool
from jaxcnn.reference.pooling import avg_pool_gradient as avg_pool_gradient
from jaxcnn.reference.pooling import max_pool as max_pool
from jaxcnn.reference.pooling import max_pool_gradient as max_pool_gradient
