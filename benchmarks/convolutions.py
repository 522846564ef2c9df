"""How fast are the convolutions of real networks, forward and in both gradients, beside XLA's and PyTorch's?

    python benchmarks/convolutions.py [--json FILE] [--figure FILE] [--visits N] [--only TEXT] [--further]
                                      [--algorithms im2col …]
                                                    (needs the extra: pip install '.[bench]')

Layers of MNIST and CIFAR networks, VGG, ResNet-50 and DeepBench (Baidu's conv_problems.h), and depthwise ones, in
float32; with --further others instead: along sequences, along one axis of images, large windows with strides, groups
of channels, and volumes, as audio networks, Inception, DCGAN, ConvNeXt, ResNeXt, RegNet and V-Net have them. Of each
the convolution, its kernel gradient and its input gradient, each alone in a compiled program:
jaxcnn.conv_general_dilated and its transposes, lax's (NHWC, HWIO) and its own, PyTorch's convolution and
convolution_backward in its default memory format (NCHW) and in channels last, and what --algorithms asks for where it
can do the layer. What is in one row was sampled in turn in one process, on one device.

Before anything of a row is timed, each result is compared with PyTorch's in float64: the error is ‖y − ȳ‖ / ‖ȳ‖.
PyTorch has only symmetric pads: where "SAME" is not, in strided layers, it pads by k // 2 on all sides, which gives an
output of the same size, and its result is compared with that convolution in float64.

A product counts as two operations, also where it is one with the padding. The peak is that of a product of two
matrices of 2048×2048 in the same process. A speed is jaxcnn's over another's: above 1 jaxcnn is quicker.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import torch
import tyro
from jax import lax
from jax import numpy as jnp
from roofline import Point, draw

import jaxcnn
from jaxcnn.bench import Case, Timing, measure, measure_alternately, record, write
from jaxcnn.ops import ConvGeometry
from jaxcnn.ops.algorithms import IMPLEMENTATIONS
from jaxcnn.ops.choose import ALGORITHMS
from jaxcnn.report.console import print_table

PASSES = ("forward", "kernel gradient", "input gradient")
JAXCNN, XLA, TORCH, TORCH_LAST = "jaxcnn", "XLA", "PyTorch", "PyTorch channels last"

PRECISE = 1e-5
"""The largest error of jaxcnn's choice and of XLA, but for the longest sums (see :meth:`Layer.limit`)."""

RIGHT = 1e-3
"""The largest error of anything else, which may round more; what is wrong is wrong by more than that."""

PRECISE_TF32 = 2e-3
"""The largest error where a GPU rounds each factor to the 10 bits of TF32."""


class Layer(NamedTuple):
    """A convolution of NHWC images, or NDHWC volumes, with an HWIO kernel; as many groups as the two make."""

    name: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: int = 1
    padding: str = "SAME"

    @property
    def groups(self) -> int:
        """As many as the two shapes make."""
        return self.x[-1] // self.kernel[-2]

    @property
    def geometry(self) -> ConvGeometry:
        """Its pads and its output's size."""
        return ConvGeometry.resolve(
            self.x,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            feature_group_count=self.groups,
        )

    @property
    def flops(self) -> int:
        """Operations of each of the passes."""
        return 2 * math.prod(self.geometry.output_shape) * math.prod(self.kernel[:-1])

    @property
    def bytes(self) -> int:
        """Of x, w and y in float32, each once: what each pass must move at least."""
        return 4 * sum(map(math.prod, (self.x, self.kernel, self.geometry.output_shape)))

    def limit(self, which: str) -> float:
        """The largest error of a pass: 1e-5, or √n half units in the last place of 1 for sums of n > 28 000 products.

        Added up one by one, n numbers of any sign have about a third of that: XLA's kernel gradients do.
        """
        positions, taps = math.prod(self.geometry.output_shape[:-1]), math.prod(self.kernel[:-2])
        products = {
            "forward": taps * self.kernel[-2],
            "kernel gradient": positions,
            "input gradient": taps * self.kernel[-1] // self.groups,
        }
        return max(PRECISE, 2**-24 * math.sqrt(products[which]))

    def __str__(self) -> str:
        """Its name and its shapes."""
        stride = f" /{self.strides}" if self.strides > 1 else ""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        (*images, c), (*window, _, features) = self.x, self.kernel
        return f"{self.name} {'×'.join(map(str, images))}, {c}→{features} {'×'.join(map(str, window))}{stride}{groups}"


LAYERS = (
    Layer("MNIST", (128, 28, 28, 1), (3, 3, 1, 32)),
    Layer("MNIST", (128, 14, 14, 32), (3, 3, 32, 64)),
    Layer("MNIST", (32, 28, 28, 32), (5, 5, 32, 64)),
    Layer("CIFAR", (64, 32, 32, 3), (3, 3, 3, 32)),
    Layer("CIFAR", (64, 32, 32, 64), (3, 3, 64, 64)),
    Layer("CIFAR", (64, 32, 32, 16), (3, 3, 16, 16)),
    Layer("VGG", (16, 224, 224, 3), (3, 3, 3, 64)),
    Layer("VGG", (4, 224, 224, 64), (3, 3, 64, 64)),
    Layer("VGG", (8, 112, 112, 64), (3, 3, 64, 128)),
    Layer("ResNet", (8, 224, 224, 3), (7, 7, 3, 64), strides=2),
    Layer("ResNet", (32, 56, 56, 64), (3, 3, 64, 64)),
    Layer("ResNet", (16, 56, 56, 64), (1, 1, 64, 256)),
    Layer("ResNet", (16, 56, 56, 256), (1, 1, 256, 64)),
    Layer("ResNet", (16, 56, 56, 256), (1, 1, 256, 512), strides=2),
    Layer("ResNet", (16, 28, 28, 128), (3, 3, 128, 128)),
    Layer("ResNet", (16, 28, 28, 128), (3, 3, 128, 256), strides=2),
    Layer("ResNet", (16, 14, 14, 256), (3, 3, 256, 256)),
    Layer("ResNet", (16, 7, 7, 512), (3, 3, 512, 512)),
    Layer("DeepBench speech", (8, 161, 700, 1), (5, 20, 1, 32), strides=2, padding="VALID"),
    Layer("DeepBench speech", (4, 79, 341, 32), (5, 10, 32, 32), strides=2, padding="VALID"),
    Layer("DeepBench", (16, 28, 28, 192), (5, 5, 192, 32)),
    Layer("depthwise", (16, 28, 28, 128), (3, 3, 1, 128)),
    Layer("depthwise", (32, 112, 112, 32), (3, 3, 1, 32)),
)

FURTHER_LAYERS = (
    Layer("sequence", (16, 1, 1000, 64), (1, 5, 64, 64)),
    Layer("sequence", (16, 1, 1000, 128), (1, 3, 128, 128)),
    Layer("sequence", (16, 1, 1000, 128), (1, 7, 128, 128)),
    Layer("sequence", (16, 1, 400, 256), (1, 5, 256, 256)),
    Layer("sequence", (2, 1, 1500, 512), (1, 3, 512, 512)),
    Layer("sequence", (16, 1, 800, 128), (1, 4, 128, 256), strides=2),
    Layer("Inception", (16, 17, 17, 128), (1, 7, 128, 192)),
    Layer("Inception", (16, 8, 8, 384), (3, 1, 384, 384)),
    Layer("DCGAN", (32, 32, 32, 64), (4, 4, 64, 128), strides=2),
    Layer("DCGAN", (32, 16, 16, 128), (4, 4, 128, 256), strides=2),
    Layer("stem", (8, 64, 64, 64), (7, 7, 64, 64), strides=2),
    Layer("ConvNeXt", (8, 28, 28, 192), (7, 7, 1, 192)),
    Layer("EfficientNet", (16, 28, 28, 240), (5, 5, 1, 240), strides=2),
    Layer("RepLKNet", (4, 28, 28, 64), (31, 31, 1, 64)),
    Layer("ResNeXt", (16, 28, 28, 128), (3, 3, 4, 128)),
    Layer("ResNeXt", (16, 14, 14, 512), (3, 3, 16, 512)),
    Layer("RegNet", (16, 14, 14, 432), (3, 3, 48, 432)),
    Layer("multiplier", (16, 28, 28, 64), (3, 3, 1, 128)),
    Layer("V-Net", (2, 32, 32, 32, 16), (5, 5, 5, 16, 16)),
    Layer("3-D U-Net", (2, 16, 16, 16, 64), (3, 3, 3, 64, 64)),
    Layer("3-D U-Net", (2, 8, 8, 8, 256), (3, 3, 3, 256, 256)),
)
"""Outside of the list that jaxcnn's means are of."""


class Row(NamedTuple):
    """A layer's pass, with the timing and the error of each who can do it."""

    layer: Layer
    which: str
    timings: dict[str, Timing]
    errors: dict[str, float]

    def after(self, earlier: "Row | None") -> "Row":
        """With the samples of an earlier visit, its time to compile, and the larger of both errors."""
        if earlier is None:
            return self
        timings = {
            name: Timing(timing.compile, timing.times + self.timings[name].times)
            for name, timing in earlier.timings.items()
        }
        return self._replace(timings=timings, errors={n: max(e, earlier.errors[n]) for n, e in self.errors.items()})

    def gflops(self, name: str) -> float:
        """10^9 operations a second."""
        return self.layer.flops / self.timings[name].median / 1e9

    def speed(self, *others: str) -> float:
        """jaxcnn's over that of the quickest of the others."""
        return min(self.timings[name].median for name in others) / self.timings[JAXCNN].median

    @property
    def speeds(self) -> tuple[float, float, float]:
        """jaxcnn's over XLA's, PyTorch's, and PyTorch's in its better format."""
        return self.speed(XLA), self.speed(TORCH), self.speed(TORCH, TORCH_LAST)


class Machine(NamedTuple):
    """What the device can do at best: 10^9 operations a second of a matrix product, 10^9 bytes a second of a copy."""

    gflops: float
    gbytes: float


def main(
    rounds: int = 10,
    visits: int = 1,
    only: str = "",
    further: bool = False,
    algorithms: tuple[str, ...] = (),
    tf32: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    figure: Path | None = None,
) -> None:
    """Check, measure, and print who is how fast.

    Args:
      rounds: Samples of each, a visit.
      visits: How often each row is measured, after all the others in between: now and then the memory that a program
        got keeps it slow for as long as its row is measured.
      only: Rows with this in their name, such as VGG or "kernel gradient".
      further: The other list of layers.
      algorithms: Further algorithms of jaxcnn.conv2d to measure, where they can do the layer.
      tf32: On a GPU, round factors to TF32; without it all compute in float32.
      json_file: Where the result is kept; what is measured so far stands there during the run.
      figure: A PNG file for the roofline.
    """
    unknown = set(algorithms) - set(ALGORITHMS)
    layers = FURTHER_LAYERS if further else LAYERS
    wanted = [(layer, which) for layer in layers for which in PASSES if only.lower() in f"{layer}, {which}".lower()]
    if unknown or not visits * wanted:
        print(
            f"expected algorithms of {ALGORITHMS}, some rows and visits, "
            f"found {algorithms}, {len(wanted)} rows and {visits} visits",
            file=sys.stderr,
        )
        sys.exit(2)
    torch.backends.cudnn.allow_tf32 = tf32
    with jax.default_matmul_precision("default" if tf32 or jax.default_backend() == "cpu" else "highest"):
        machine = measure_machine()
        rows = {}
        for row in measured(visits * wanted, algorithms, rounds, PRECISE_TF32 if tf32 else 0.0):
            rows[title(row)] = row.after(rows.get(title(row)))
            if json_file:
                write(json_file, result(machine, list(rows.values()), rounds=rounds, visits=visits, tf32=tf32))
    show(machine, sorted(rows.values(), key=lambda row: min(row.speeds)))
    if figure:
        draw(figure, *machine, points(list(rows.values())))


def measured(wanted: list[tuple[Layer, str]], algorithms: Sequence[str], rounds: int, least: float) -> Iterator[Row]:
    """Row by row, each announced on stderr; an error up to ``least`` is none."""
    for number, (layer, which) in enumerate(wanted):
        print(f"{number + 1}/{len(wanted)} {layer}, {which}", file=sys.stderr)
        problem = Problem(layer, which)
        cases = contenders(problem, algorithms)
        errors = checked(problem, cases, max(least, layer.limit(which)))
        yield Row(layer, which, measure_alternately(cases, rounds=rounds), errors)


class Problem:
    """A pass of a layer, with numbers."""

    def __init__(self, layer: Layer, which: str):
        rng = np.random.default_rng(0)
        shapes = (layer.x, layer.kernel, layer.geometry.output_shape)
        self.layer, self.which = layer, which
        self.x, self.kernel, self.g = (rng.standard_normal(shape, np.float32) for shape in shapes)

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray]:
        """What goes into the pass."""
        if self.which == "forward":
            return self.x, self.kernel
        return (self.g, self.x) if self.which == "kernel gradient" else (self.g, self.kernel)

    @cached_property
    def right(self) -> np.ndarray:
        """The result in float64."""
        return self.with_pads(self.layer.geometry.padding)

    @cached_property
    def right_in_torch(self) -> np.ndarray:
        """The result in float64, for the pads that PyTorch can have."""
        pads = tuple((pad, pad) for pad in torch_pads(self.layer))
        return self.right if pads == self.layer.geometry.padding else self.with_pads(pads)

    def with_pads(self, pads: Sequence[tuple[int, int]]) -> np.ndarray:
        """The result in float64, by PyTorch's automatic differentiation of a convolution that is padded before."""
        x, kernel, g = to_torch(self.x), to_torch_kernel(self.kernel), to_torch(self.g)
        x, kernel, g = (tensor.to(torch.float64).requires_grad_() for tensor in (x, kernel, g))
        padded = torch.nn.functional.pad(x, tuple(itertools.chain(*reversed(pads))))
        y = torch_convolution(self.layer, padded, kernel, (0,) * len(pads))
        if self.which == "forward":
            return from_torch(y.detach(), self.which)
        argument = kernel if self.which == "kernel gradient" else x
        return from_torch(torch.autograd.grad(y, argument, g.detach())[0], self.which)


def contenders(problem: Problem, algorithms: Sequence[str]) -> dict[str, Case]:
    """What is timed, by name; of the algorithms, those that can do the layer."""
    able = [name for name in algorithms if name == "auto" or not IMPLEMENTATIONS[name].limit(problem.layer.geometry)]
    in_jax = {JAXCNN: jaxcnn.conv_general_dilated, XLA: lax.conv_general_dilated}
    in_jax |= {f"{JAXCNN} {name}": partial(jaxcnn.conv_general_dilated, algorithm=name) for name in able}
    last = torch.channels_last if len(problem.layer.geometry.axes) == 2 else torch.channels_last_3d
    in_torch = {TORCH: torch.contiguous_format, TORCH_LAST: last}
    return {name: jax_case(partial(convolution, problem.layer, f), problem) for name, f in in_jax.items()} | {
        name: torch_case(memory_format, problem) for name, memory_format in in_torch.items()
    }


def convolution(layer: Layer, conv_general_dilated: Callable, x, kernel):
    """In the layout of JAX's users."""
    axes = len(layer.geometry.axes)
    letters = "DHW"[-axes:]
    return conv_general_dilated(
        x,
        kernel,
        (layer.strides,) * axes,
        layer.padding,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=layer.groups,
    )


def jax_case(convolution: Callable, problem: Problem) -> Case:
    """The pass alone: a gradient is the transpose of the convolution in one argument."""
    x, kernel = problem.x, problem.kernel

    def kernel_gradient(g, x):
        return jax.linear_transpose(lambda kernel: convolution(x, kernel), kernel)(g)[0]

    def input_gradient(g, kernel):
        return jax.linear_transpose(lambda x: convolution(x, kernel), x)(g)[0]

    functions = (convolution, kernel_gradient, input_gradient)
    f = functions[PASSES.index(problem.which)]
    return Case(jax.jit(f), tuple(map(jnp.asarray, problem.arguments)))


def torch_case(memory_format: Any, problem: Problem) -> Case:
    """PyTorch's operator for the pass, on the device that JAX computes on."""
    layer, device = problem.layer, "cuda" if on_cuda() else "cpu"
    axes = len(layer.geometry.axes)
    tensors = to_torch(problem.x), to_torch_kernel(problem.kernel), to_torch(problem.g)
    x, kernel, g = (tensor.to(device).contiguous(memory_format=memory_format) for tensor in tensors)
    pads = torch_pads(layer)
    wanted = [problem.which == "input gradient", problem.which == "kernel gradient", False]

    def forward():
        return synchronized(torch_convolution(layer, x, kernel, pads))

    def gradient():
        strides, ones, zeros = (layer.strides,) * axes, (1,) * axes, (0,) * axes
        gradients = torch.ops.aten.convolution_backward(
            g, x, kernel, None, strides, pads, ones, False, zeros, layer.groups, wanted
        )
        return synchronized(gradients[wanted.index(True)])

    return Case(forward if problem.which == "forward" else gradient, jit=False)


def torch_convolution(layer: Layer, x: torch.Tensor, kernel: torch.Tensor, pads: tuple[int, ...]) -> torch.Tensor:
    """PyTorch's, along any number of axes."""
    strides, ones, zeros = ((number,) * len(pads) for number in (layer.strides, 1, 0))
    return torch.convolution(x, kernel, None, strides, pads, ones, False, zeros, layer.groups)


def torch_pads(layer: Layer) -> tuple[int, ...]:
    """The same on both sides of an axis; the output is as large as with JAX's."""
    pads = tuple(
        lo if lo == hi else window // 2
        for (lo, hi), window in zip(layer.geometry.padding, layer.kernel[:-2], strict=True)
    )
    symmetric = ConvGeometry.resolve(
        layer.x, layer.kernel, strides=layer.strides, padding=pads, feature_group_count=layer.groups
    )
    assert symmetric.output_shape == layer.geometry.output_shape
    return pads


def on_cuda() -> bool:
    """Whether both JAX and PyTorch have a GPU."""
    return jax.default_backend() == "gpu" and torch.cuda.is_available()


def synchronized(tensor: torch.Tensor) -> torch.Tensor:
    """When it is there."""
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return tensor


def to_torch(x: np.ndarray) -> torch.Tensor:
    """NHWC to NCHW."""
    return torch.tensor(np.moveaxis(x, -1, 1).copy())


def to_torch_kernel(kernel: np.ndarray) -> torch.Tensor:
    """HWIO to OIHW."""
    return torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy())


def from_torch(tensor: torch.Tensor, which: str) -> np.ndarray:
    """A pass' result in JAX's layout."""
    array = tensor.cpu().numpy()
    return np.moveaxis(array, (0, 1), (-1, -2)) if which == "kernel gradient" else np.moveaxis(array, 1, -1)


def checked(problem: Problem, cases: dict[str, Case], precise: float) -> dict[str, float]:
    """The error of each."""
    errors = {}
    for name, case in cases.items():
        errors[name] = error_of(case.f(*case.args), problem)
        limit = precise if name in (JAXCNN, XLA) else max(RIGHT, precise)
        if not errors[name] < limit:
            where = f"{problem.layer}, {problem.which}: {name}"
            sys.exit(f"{where}: expected a relative error below {limit:g}, found {errors[name]:g}")
    return errors


def error_of(result: Any, problem: Problem) -> float:
    """‖y − ȳ‖ / ‖ȳ‖."""
    in_torch = isinstance(result, torch.Tensor)
    right = problem.right_in_torch if in_torch else problem.right
    found = from_torch(result, problem.which) if in_torch else np.asarray(result)
    assert found.shape == right.shape
    return float(np.linalg.norm((found - right).ravel()) / np.linalg.norm(right.ravel()))


def measure_machine() -> Machine:
    """The fastest samples: of 2·2048³ operations, and of 256 MB that are read and written in place."""
    matrix = jnp.ones((2048, 2048), jnp.float32)
    product = measure(jnp.matmul, matrix, matrix)
    array = jnp.zeros(256 * 10**6 // 4, jnp.float32)
    copy = measure(jax.jit(lambda x: x + 1, donate_argnums=0), array)
    return Machine(2 * 2048**3 / product.fastest / 1e9, 2 * array.nbytes / copy.fastest / 1e9)


def show(machine: Machine, rows: list[Row]) -> None:
    """Who is how fast, then the ratios, then their means."""
    names = list(dict.fromkeys(name for row in rows for name in row.timings))
    print_table(
        f"GFLOP/s, of a measured peak of {machine.gflops:.4g} ({machine.gbytes:.3g} GB/s)",
        ["", *names],
        [[title(row), *(f"{row.gflops(name):.4g}" if name in row.timings else "" for name in names)] for row in rows],
    )
    print_table(
        "Relative errors",
        ["", *names],
        [[title(row), *(f"{row.errors[name]:.1e}" if name in row.errors else "" for name in names)] for row in rows],
    )
    columns = [f"over {XLA}'s", f"over {TORCH}'s", f"over {TORCH}'s better format's"]
    print_table(
        "jaxcnn's speed",
        ["", "ms", "± %", "of the peak", *columns],
        [
            [title(row), 1e3 * time.median, 100 * time.spread, row.gflops(JAXCNN) / machine.gflops, *row.speeds]
            for row in rows
            for time in [row.timings[JAXCNN]]
        ],
    )
    print_table("jaxcnn's speed, geometric means", ["", "rows", *columns], means(rows))


def means(rows: list[Row]) -> list[list]:
    """The geometric means of the speeds, a pass a row, and over all."""
    groups = {which: [row for row in rows if row.which == which] for which in PASSES} | {"all": rows}
    return [
        [name, len(group), *(float(mean) for mean in np.exp(np.log([row.speeds for row in group]).mean(axis=0)))]
        for name, group in groups.items()
        if group
    ]


def title(row: Row) -> str:
    """The layer and the pass."""
    return f"{row.layer}, {row.which}"


def points(rows: list[Row]) -> dict[str, list[Point]]:
    """The roofline's, by contender."""
    names = dict.fromkeys(name for row in rows for name in row.timings)
    return {
        name: [
            Point(row.layer.flops / row.layer.bytes, row.gflops(name), row.which) for row in rows if name in row.timings
        ]
        for name in names
    }


def result(machine: Machine, rows: list[Row], **settings: Any) -> dict[str, Any]:
    """The file's content: beside the samples, what a row's numbers are computed from."""
    timings = {f"{title(row)}: {name}": timing for row in rows for name, timing in row.timings.items()}
    facts = {
        title(row): {"flops": row.layer.flops, "bytes": row.layer.bytes, "errors": row.errors, "speeds": row.speeds}
        for row in rows
    }
    return record(
        "convolutions",
        timings,
        **settings,
        torch_device="cuda" if on_cuda() else "cpu",
        torch_threads=torch.get_num_threads(),
        peak_gflops=machine.gflops,
        copy_gbytes=machine.gbytes,
        geometric_means={name: mean for name, _, *mean in means(rows)},
        rows=facts,
    )


if __name__ == "__main__":
    tyro.cli(main)
