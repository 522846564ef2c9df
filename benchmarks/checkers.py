"""How long does it take to check the gradients of one convolution?

    python benchmarks/checkers.py [--json FILE]          (needs the extra: pip install '.[bench]')

A jitted convolution of 4×14×14×8 with 3×3×8→16, padding "SAME": jaxcnn's check_gradients, jax.test_util.check_grads
and PyTorch's gradcheck, in full and in fast mode, forward and reverse mode where a checker knows both. Programs are
compiled already, but for "a new function", one that JAX has not seen yet, as each test of a suite is. "not jitted" is
traced anew each time, so that what its Python reads may change. All are sampled in turn in one process; PyTorch's full
mode, which takes half a minute, beside jaxcnn in turns of its own.

Before anything is timed, each must find the right gradient right, and one whose kernel gradient is doubled wrong. In
float32 check_grads calls the right one wrong now and then: it is timed with tolerances that let it go on.
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import torch.nn.grad
import tyro
from jax import lax
from jax import numpy as jnp
from jax.test_util import check_grads

from jaxcnn.bench import Case, Timing, measure_alternately, record, write
from jaxcnn.report.console import print_table
from jaxcnn.verify import check_gradients

SHAPES = (4, 14, 14, 8), (3, 3, 8, 16)
SMALL = (1, 4, 4, 2), (3, 3, 2, 2)
NUMBERS = count()


def main(
    rounds: int = 15,
    full_rounds: int = 3,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Check, measure, and print the ratios.

    Args:
      rounds: Samples of each checker.
      full_rounds: Samples of PyTorch's full mode.
      json_file: Where the result is kept.
    """
    check_verdicts()
    arrays = {dtype: drawn(dtype) for dtype in ("float64", "float32")}
    fast = measure_alternately({name: Case(f, jit=False) for name, f in checkers(arrays).items()}, rounds=rounds)
    slow = measure_alternately(
        {
            "gradcheck, full mode": Case(in_torch, (arrays["float64"], False), jit=False),
            "jaxcnn": Case(in_float64, (jaxcnn_check, convolution, arrays["float64"]), jit=False),
        },
        rounds=full_rounds,
    )
    for base in ("check_grads, float64", "check_grads, float32", "check_grads, order 2, float64"):
        show(base, fast, base.removeprefix("check_grads"))
    show("gradcheck, full mode", slow, "")
    if json_file:
        write(json_file, record("checkers", fast | {f"beside full mode: {name}": t for name, t in slow.items()}))


def checkers(arrays: dict[str, tuple]) -> dict[str, Callable]:
    """What is timed, by name; the end of the name tells what it is compared with."""
    wide, short = arrays["float64"], arrays["float32"]
    loose = {"atol": 1e6, "rtol": 1e6}
    return {
        "check_grads, float64": partial(in_float64, jax_check, convolution, wide),
        "jaxcnn, float64": partial(in_float64, jaxcnn_check, convolution, wide),
        "gradcheck, fast mode, reverse only, float64": partial(in_torch, wide, True),
        "check_grads, float32": partial(jax_check, convolution, short, **loose),
        "jaxcnn, float32": partial(jaxcnn_check, convolution, short),
        "jaxcnn, reverse only, float32": partial(jaxcnn_check, convolution, short, modes=["reverse"]),
        "jaxcnn, not jitted, float32": partial(jaxcnn_check, not_jitted, short),
        "jaxcnn, a new function, float32": lambda: jaxcnn_check(jax.jit(new_function()), short),
        "check_grads, order 2, float64": partial(in_float64, jax_check, convolution, wide, order=2),
        "jaxcnn, order 2, float64": partial(in_float64, jaxcnn_check, convolution, wide, order=2),
    }


def not_jitted(x, kernel):
    """A convolution of NHWC and HWIO."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


convolution = jax.jit(not_jitted)


def new_function() -> Callable:
    """Another, that has no program yet: its text has a number of its own."""
    number = next(NUMBERS)
    return lambda x, kernel: not_jitted(x, kernel) + number


@jax.custom_vjp
def wrong_convolution(x, kernel):
    """Whose kernel gradient is doubled."""
    return convolution(x, kernel)


def _wrong_backward(arguments, g):
    x_bar, kernel_bar = jax.vjp(convolution, *arguments)[1](g)
    return x_bar, 2 * kernel_bar


wrong_convolution.defvjp(lambda *arguments: (convolution(*arguments), arguments), _wrong_backward)


class TorchConvolution(torch.autograd.Function):
    """NCHW and OIHW, with the kernel gradient times a factor."""

    @staticmethod
    def forward(ctx, x, kernel, factor):
        """The convolution."""
        ctx.save_for_backward(x, kernel)
        ctx.factor = factor
        return torch.nn.functional.conv2d(x, kernel, padding="same")

    @staticmethod
    def backward(ctx, *g):
        """PyTorch's own gradients, and the factor."""
        x, kernel = ctx.saved_tensors
        return (
            torch.nn.grad.conv2d_input(x.shape, kernel, g[0], padding=1),
            ctx.factor * torch.nn.grad.conv2d_weight(x, kernel.shape, g[0], padding=1),
            None,
        )


def drawn(dtype: str, shapes: tuple = SHAPES) -> tuple[np.ndarray, ...]:
    """x and kernel."""
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def jaxcnn_check(f: Callable, arrays: tuple, **options: Any) -> bool:
    """Whether check_gradients passes f."""
    return check_gradients(f, *map(jnp.asarray, arrays), **options).ok


def jax_check(f: Callable, arrays: tuple, order: int = 1, **options: Any) -> bool:
    """Whether check_grads does."""
    try:
        check_grads(f, tuple(map(jnp.asarray, arrays)), order=order, **options)
    except AssertionError:
        return False
    return True


def in_torch(arrays: tuple, fast: bool, factor: float | None = None) -> bool:
    """Whether gradcheck does; a factor spoils the kernel gradient."""
    x, kernel = (torch.tensor(np.moveaxis(arrays[0], 3, 1)), torch.tensor(arrays[1].transpose(3, 2, 0, 1)))
    x, kernel = (tensor.contiguous().requires_grad_() for tensor in (x, kernel))

    def f(x, kernel):
        if factor is None:
            return torch.nn.functional.conv2d(x, kernel, padding="same")
        return TorchConvolution.apply(x, kernel, factor)

    return torch.autograd.gradcheck(f, (x, kernel), fast_mode=fast, raise_exception=False)


def in_float64(check: Callable, *arguments: Any, **options: Any) -> bool:
    """A JAX checker with 64-bit types."""
    with jax.enable_x64(True):
        return check(*arguments, **options)


def check_verdicts() -> None:
    """What is fast and wrong would not count. The wrong one is small: gradcheck's fast mode ends in its full mode."""
    arrays, small = drawn("float64"), drawn("float64", SMALL)
    for check, options in ((jax_check, {"modes": ("rev",)}), (jaxcnn_check, {})):
        assert in_float64(check, convolution, arrays)
        assert not in_float64(check, wrong_convolution, small, **options)
    assert in_torch(arrays, fast=True)
    assert not in_torch(small, fast=True, factor=2.0)
    assert not in_torch(small, fast=False, factor=2.0)


def show(base: str, timings: dict[str, Timing], ending: str) -> None:
    """Those whose names end so, with the ratio to the base."""
    rows = [
        [name, 1e3 * timing.median, 100 * timing.spread, timing.median / timings[base].median]
        for name, timing in timings.items()
        if name.endswith(ending)
    ]
    print_table("Milliseconds a check", ["", "median", "± %", f"of {base}"], rows)


if __name__ == "__main__":
    tyro.cli(main)
