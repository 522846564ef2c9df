"""XLA at its best for convolutions: the options that measurements justified."""

from jaxcnn.xla.options import compiler_options as compiler_options
from jaxcnn.xla.options import jit as jit
