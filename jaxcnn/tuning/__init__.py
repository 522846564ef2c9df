"""Which algorithm is fastest here: the convolutions of a function, measured, and the table that "auto" follows."""

from jaxcnn.tuning.find import Convolution as Convolution
from jaxcnn.tuning.find import convolution_and_gradients as convolution_and_gradients
from jaxcnn.tuning.find import find_convolutions as find_convolutions
from jaxcnn.tuning.measure import Tuned as Tuned
from jaxcnn.tuning.measure import tune as tune
from jaxcnn.tuning.measure import tune_convolutions as tune_convolutions
