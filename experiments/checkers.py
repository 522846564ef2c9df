"""Which gradient checker sees which wrong gradient, and which calls a right one wrong?

    python experiments/checkers.py

The same functions, in JAX and in PyTorch, go through each checker with its default tolerances, as people call it:
jax.test_util.check_grads, Chex's assert_numerical_grads, PyTorch's gradcheck in full and in fast mode (the last three
where they are installed: pip install '.[bench]'), and jaxcnn's check_gradients. A wrong gradient is a right one that
was changed: it is caught or missed. A right one passes, or the checker gives a false alarm; at a kink any value between
the one-sided derivatives is right. Points are drawn at random: "caught 3 of 5" where they decide. "cannot" is a checker
that stopped for another reason, told below the table. The last column is what jaxcnn names as wrong.

PyTorch warns that its gradcheck is made for float64. In float32 it calls most of the right ones wrong too: that it
catches the others says nothing.

Expected: jaxcnn catches all and calls no right one wrong, in float64 and in float32; each of the others misses some
and gives false alarms in both. 4 minutes on 2 cores.
"""

import json
import warnings
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jax.custom_derivatives import linear_call
from jax.test_util import check_grads

from jaxcnn.report.console import print_table
from jaxcnn.verify import check_gradients

torch: Any = import_module("torch") if find_spec("torch") else None
chex: Any = import_module("chex") if find_spec("chex") else None


class Row(NamedTuple):
    """A function and its gradient, right or wrong.

    Attributes:
      f: from a library, jax.numpy or torch, to the function in it.
      draw: its arguments.
      change: (library, right gradient, g, *arguments) → the wrong gradient; None changes nothing.
      number: of the argument whose gradient is changed.
      order: 2 checks the gradient's gradient too.
    """

    f: Callable[[Any], Callable]
    draw: Callable[[np.random.Generator], tuple]
    change: Callable | None = None
    number: int = 0
    order: int = 1


class Outcome(NamedTuple):
    """Whether f passed; what was named as wrong; why it could not be checked."""

    passed: bool
    named: str = ""
    reason: str = ""


def main(seeds: int = 5, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Run all checks and print a table for each type.

    Args:
      seeds: Points at which each function is checked.
      json_file: Where the tables are kept.
    """
    columns, tables = ["", *TOOLS, "jaxcnn names"], {}
    for dtype in ("float64", "float32"):
        found = {name: outcomes(row, dtype, seeds) for name, row in (WRONG | RIGHT).items()}
        rows = [
            [name, *(cell(o, name in WRONG) for o in by_tool.values()), by_tool["jaxcnn"][0].named]
            for name, by_tool in found.items()
        ]
        for title, names in {f"{CAUGHT}, of": WRONG, f"{ALARM}, of": RIGHT}.items():
            rows.append([f"{title} {len(names) * seeds}", *(alarms(found, names, tool) for tool in TOOLS), ""])
        print_table(f"{dtype}: wrong gradients, then right ones", columns, rows)
        reasons = [(tool, name, o.reason) for name in found for tool in TOOLS for o in found[name][tool] if o.reason]
        print(*(f"{tool} cannot check {name}: {reason}" for tool, name, reason in dict.fromkeys(reasons)), sep="\n")
        tables[dtype] = [dict(zip(columns, row, strict=True)) for row in rows]
    if json_file:
        json_file.write_text(json.dumps({"experiment": "checkers", "seeds": seeds, **tables}, indent=2) + "\n")


CAUGHT, MISSED, ALARM, PASSES = "caught", "missed", "false alarm", "passes"


def cell(found: list[Outcome], wrong: bool) -> str:
    """One word for all points, or how often it was so."""
    if not found:
        return "not installed"
    if any(outcome.reason for outcome in found):
        return "cannot"
    failed, passed = (CAUGHT, MISSED) if wrong else (ALARM, PASSES)
    number = sum(not outcome.passed for outcome in found)
    return {0: passed, len(found): failed}.get(number, f"{failed} {number} of {len(found)}")


def alarms(found: dict[str, dict[str, list[Outcome]]], names, tool: str) -> str:
    """How many points of all these functions did not pass."""
    points = [outcome for name in names for outcome in found[name][tool]]
    return str(sum(not (outcome.passed or outcome.reason) for outcome in points)) if points else "not installed"


# The checkers


def outcomes(row: Row, dtype: str, seeds: int) -> dict[str, list[Outcome]]:
    """What each checker says, point by point; nothing where it is not installed."""
    functions = {lib: changed(lib, row) for lib in (jnp, torch) if lib}
    found = {tool: [] for tool in TOOLS}
    for tool, (lib, check) in TOOLS.items():
        if check is None:
            continue
        for seed in range(seeds):
            arguments = [np.asarray(a, dtype) for a in row.draw(np.random.default_rng(seed))]
            with jax.enable_x64(dtype == "float64"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's, of float32
                try:
                    found[tool].append(check(functions[lib], arguments, row, seed))
                except Exception as error:  # it is the answer
                    found[tool].append(Outcome(False, reason=f"{type(error).__name__}: {error}".splitlines()[0]))
    return found


def by_assertion(check: Callable, f: Callable, arguments: list, row: Row, _) -> Outcome:
    """check_grads, and what has its signature; a function with a reverse rule of its own has no forward mode."""
    modes = {"modes": ("rev",)} if row.change else {}
    try:
        check(f, tuple(map(jnp.asarray, arguments)), order=row.order, **modes)
    except AssertionError:
        return Outcome(False)
    return Outcome(True)


def by_torch(fast: bool, f: Callable, arguments: list, row: Row, seed: int) -> Outcome:
    """Gradcheck, which looks at forward mode only when told to, and for second derivatives gradgradcheck."""
    torch.manual_seed(seed)
    tensors = tuple(torch.tensor(a, requires_grad=True) for a in arguments)
    options = {"fast_mode": fast, "raise_exception": False}
    if row.order == 2:
        return Outcome(torch.autograd.gradgradcheck(f, tensors, **options))
    return Outcome(torch.autograd.gradcheck(f, tensors, check_forward_ad=row.f is two_modes, **options))


def by_jaxcnn(f: Callable, arguments: list, row: Row, seed: int) -> Outcome:
    """And the worst element that it names."""
    report = check_gradients(f, *map(jnp.asarray, arguments), order=row.order, seed=seed)
    named = [f"{entry.leaf} {list(entry.worst[0].index) if entry.worst else entry.reason}" for entry in report.wrong]
    return Outcome(report.ok, ", ".join(named))


TOOLS: dict[str, tuple[Any, Callable | None]] = {
    "check_grads": (jnp, partial(by_assertion, check_grads)),
    "chex": (jnp, partial(by_assertion, chex.assert_numerical_grads) if chex else None),
    "gradcheck": (torch, partial(by_torch, False) if torch else None),
    "gradcheck, fast": (torch, partial(by_torch, True) if torch else None),
    "jaxcnn": (jnp, by_jaxcnn),
}


# A function whose gradient is changed


def changed(lib, row: Row) -> Callable:
    """In that library."""
    f = row.f(lib)
    return with_change(lib, f, row.number, row.change) if row.change else f


def with_change(lib, f: Callable, number: int, change: Callable) -> Callable:
    """The function f, with the gradient of one argument changed."""
    return in_torch(f, number, change) if lib is torch else in_jax(f, number, change)


def in_jax(f: Callable, number: int, change: Callable) -> Callable:
    """By a custom_vjp."""

    def backward(arguments, g):
        gradients = list(jax.vjp(f, *arguments)[1](g))
        gradients[number] = change(jnp, gradients[number], g, *arguments)
        return tuple(gradients)

    rule = jax.custom_vjp(lambda *arguments: f(*arguments))
    rule.defvjp(lambda *arguments: (f(*arguments), arguments), backward)
    return wraps(f)(lambda *arguments: rule(*arguments))


def in_torch(f: Callable, number: int, change: Callable) -> Callable:
    """By an autograd.Function."""

    class Changed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arguments):
            ctx.save_for_backward(*arguments)
            return f(*arguments)

        @staticmethod
        def backward(ctx, g):
            again = torch.is_grad_enabled()
            with torch.enable_grad():
                y = f(*ctx.saved_tensors)
            gradients = list(torch.autograd.grad(y, ctx.saved_tensors, g, create_graph=again))
            gradients[number] = change(torch, gradients[number], g, *ctx.saved_tensors)
            return tuple(gradients)

    return Changed.apply


def at(index, factor) -> Callable:
    """Elements of the gradient times a factor."""

    def change(lib, gradient, *_):
        factors = np.ones(gradient.shape)
        factors[index] = factor
        return gradient * lib.asarray(factors, dtype=gradient.dtype)

    return change


def noisy(lib, gradient, *_):
    """Right on average, each element 10 % off."""
    noise = np.random.default_rng(0).normal(size=gradient.shape)
    return gradient * lib.asarray(1 + 0.1 * noise, dtype=gradient.dtype)


def rounded(lib, gradient, *_):
    """To bfloat16."""
    return lib.asarray(lib.asarray(gradient, dtype=lib.bfloat16), dtype=gradient.dtype)


def slope_wrong(lib, _, g, x):
    """The gradient of x³, right itself, by a slope whose own gradient is 1 % off."""
    return g * with_change(lib, lambda x: 3 * x**2, 0, at(..., 1.01))(x)


# The functions


def convolution(lib) -> Callable:
    """NHWC and HWIO, padding "SAME"."""

    def with_lax(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def with_torch(x, kernel):
        x, kernel = x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(x, kernel, padding="same").permute(0, 2, 3, 1)

    return with_torch if lib is torch else with_lax


def max_pool(lib) -> Callable:
    """Windows of 2×2, side by side."""
    if lib is torch:
        return lambda x: torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return lambda x: nn.max_pool(x, (2, 2), (2, 2))


def two_modes(lib) -> Callable:
    """Of 3 x, with a forward mode that is 1 % off."""
    if lib is torch:

        class Triple(torch.autograd.Function):
            forward = staticmethod(lambda x: 3 * x)
            setup_context = staticmethod(lambda ctx, inputs, output: None)
            backward = staticmethod(lambda ctx, g: 3 * g)
            jvp = staticmethod(lambda ctx, v: 3.03 * v)

        return Triple.apply
    triple = jax.custom_jvp(lambda x: 3 * x)
    triple.defjvp(lambda x, v: (3 * x[0], linear_call(lambda _, v: 3.03 * v, lambda _, g: 3 * g, (), *v)))
    return lambda x: triple(x)


def relu(lib) -> Callable:
    """max(x, 0), with the derivative 0 at 0."""
    return torch.relu if lib is torch else jax.nn.relu


def normal(*shapes: tuple[int, ...]) -> Callable:
    """Draws arrays of these shapes."""
    return lambda rng: tuple(rng.normal(size=shape) for shape in shapes)


def with_zeros(rng) -> tuple[np.ndarray]:
    """Every third number is 0."""
    return (np.where(np.arange(12) % 3 == 0, 0.0, rng.normal(size=12)),)


def wrong_at_0(slope: float) -> Callable:
    """Another slope at 0."""
    return lambda lib, gradient, g, x: lib.where(x == 0, slope * g, gradient)


CONV = convolution, normal((2, 5, 5, 3), (3, 3, 3, 4))
VECTOR = normal((12,))
LARGE = normal((10_000,))

WRONG = {
    "conv: kernel gradient rotated by 180°": Row(*CONV, lambda lib, w, *_: lib.flip(w, (0, 1)), 1),
    "conv: kernel gradient 1 % too large": Row(*CONV, at(..., 1.01), 1),
    "conv: kernel gradient 0.1 % too large": Row(*CONV, at(..., 1.001), 1),
    "conv: one tap 1 % off": Row(*CONV, at((0, 2), 1.01), 1),
    "conv: one kernel element 0.1 % off": Row(*CONV, at((2, 0, 1, 1), 1.001), 1),
    "conv: kernel gradient rounded to bfloat16": Row(*CONV, rounded, 1),
    "conv: kernel gradient right on average": Row(*CONV, noisy, 1),
    "conv: last row of the image lost": Row(*CONV, at((slice(None), -1), 0)),
    "conv: last example dropped": Row(*CONV, at(-1, 0)),
    "10,000 sines: one slope of the other sign": Row(lambda lib: lambda x: lib.sin(x).sum(), LARGE, at(4321, -1)),
    "10,000 sines: one slope 0.1 % off": Row(lambda lib: lambda x: lib.sin(x).sum(), LARGE, at(4321, 1.001)),
    "10⁻⁶ sin x: gradient 0": Row(lambda lib: lambda x: 1e-6 * lib.sin(x), VECTOR, at(..., 0)),
    "x / ‖x‖: norm held constant": Row(
        lambda lib: lambda x: x / lib.sqrt((x**2).sum()), VECTOR, lambda lib, _, g, x: g / lib.sqrt((x**2).sum())
    ),
    "relu: 2 at 0": Row(relu, with_zeros, wrong_at_0(2)),
    "|x|: 1.5 at 0": Row(lambda lib: lambda x: lib.abs(x), with_zeros, wrong_at_0(1.5)),
    "3 x: forward mode 1 % off": Row(two_modes, VECTOR),
    "x³: second derivative 1 % off": Row(lambda lib: lambda x: x**3, VECTOR, slope_wrong, order=2),
}
RIGHT = {
    "convolution": Row(*CONV),
    "relu at 0": Row(relu, with_zeros),
    "|x| at 0": Row(lambda lib: lambda x: lib.abs(x), with_zeros),
    "max-pool of equal numbers": Row(max_pool, lambda rng: (np.ones((1, 4, 4, 2)),)),
    "log Σ exp of logits near 1,000": Row(
        lambda lib: (lambda x: torch.logsumexp(x, 0)) if lib is torch else lambda x: jax.nn.logsumexp(x),
        lambda rng: (1000 + rng.normal(size=12),),
    ),
    "log x near 10⁻⁵": Row(lambda lib: lambda x: lib.log(x), lambda rng: (1e-5 * rng.uniform(0.5, 2, 12),)),
    "sum of 10,000 squares": Row(lambda lib: lambda x: (x**2).sum(), LARGE),
    "x³, with its second derivative": Row(lambda lib: lambda x: x**3, VECTOR, order=2),
}


if __name__ == "__main__":
    tyro.cli(main)
