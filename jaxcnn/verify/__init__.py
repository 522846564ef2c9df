"""Gradient checking: derivatives of any JAX function against differences of its values."""

from jaxcnn.verify.check import assert_gradients as assert_gradients
from jaxcnn.verify.check import check_gradients as check_gradients
from jaxcnn.verify.compare import compare_gradients as compare_gradients
from jaxcnn.verify.report import Element as Element
from jaxcnn.verify.report import GradientReport as GradientReport
from jaxcnn.verify.report import LeafEntry as LeafEntry
