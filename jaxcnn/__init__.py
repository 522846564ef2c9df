"""A convolution lab for JAX: networks as pure functions, gradients that are checked, runs that can be believed."""

from jaxcnn import bench as bench
from jaxcnn import data as data
from jaxcnn import losses as losses
from jaxcnn import metrics as metrics
from jaxcnn import models as models
from jaxcnn import ops as ops
from jaxcnn import reference as reference
from jaxcnn import train as train
from jaxcnn import tuning as tuning
from jaxcnn import verify as verify
from jaxcnn import xla as xla
from jaxcnn.errors import InputError as InputError
from jaxcnn.ops import avg_pool as avg_pool
from jaxcnn.ops import conv2d as conv2d
from jaxcnn.ops import conv_general_dilated as conv_general_dilated
from jaxcnn.ops import max_pool as max_pool
from jaxcnn.tuning import tune as tune
from jaxcnn.verify import assert_gradients as assert_gradients
from jaxcnn.verify import check_gradients as check_gradients
from jaxcnn.verify import compare_gradients as compare_gradients
