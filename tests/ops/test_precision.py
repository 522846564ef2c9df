"""What sums are kept in, and which precisions leave no rounding to the machine."""

import jax
import pytest
from jax import lax

from jaxcnn.ops.precision import accumulator, is_highest, of_cpu

HIGHEST = ["highest", "float32", lax.Precision.HIGHEST, ("highest", "highest"), (lax.Precision.HIGHEST,) * 2]
RELAXED = [
    "default",
    "fastest",
    "bfloat16",
    "high",
    "bfloat16_3x",
    "tensorfloat32",
    lax.Precision.DEFAULT,
    lax.Precision.HIGH,
    ("default", "high"),
    (lax.Precision.DEFAULT,) * 2,
]


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        ("bfloat16", "float32"),
        ("float16", "float32"),
        ("float8_e4m3fn", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("complex64", "complex64"),
        ("int8", "int8"),
    ],
)
def test_sums_are_kept_in_float32_or_better_or_as_integers(dtype, kept):
    assert accumulator(dtype) == kept


@pytest.mark.parametrize("precision", HIGHEST)
def test_the_highest_precision_has_many_names(precision):
    assert is_highest(precision)


@pytest.mark.parametrize("precision", RELAXED)
def test_all_others_leave_some_rounding(precision):
    assert not is_highest(precision)


@pytest.mark.parametrize("precision", [("default", "highest"), (lax.Precision.HIGHEST, lax.Precision.DEFAULT)])
def test_one_operand_of_the_highest_is_enough(precision):
    assert is_highest(precision)


def test_nothing_said_is_not_the_highest():
    assert not is_highest(None)


@pytest.mark.parametrize(("default", "highest"), [("highest", True), ("float32", True), ("bfloat16", False)])
def test_where_nothing_is_said_the_process_default_holds(default, highest):
    with jax.default_matmul_precision(default):
        assert is_highest(None) == highest


def test_what_is_said_outweighs_the_default():
    with jax.default_matmul_precision("highest"):
        assert not is_highest("high")
    with jax.default_matmul_precision("bfloat16"):
        assert is_highest("highest")


@pytest.mark.parametrize("precision", ["TF32_TF32_F32", lax.DotAlgorithmPreset.BF16_BF16_F32, "highest"])
def test_a_cpu_knows_no_algorithms_of_products(precision):
    assert of_cpu(precision) == lax.Precision.HIGHEST
    assert of_cpu(None) == of_cpu("high") == lax.Precision.DEFAULT
