"""The command line: one small function a command, which parses, calls the library and prints."""

import functools
import importlib
import io
import json
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from jaxcnn import selfcheck, tuning
from jaxcnn import train as training
from jaxcnn.data import read_images
from jaxcnn.errors import InputError
from jaxcnn.ops import tuned
from jaxcnn.report import console, summary, write_report
from jaxcnn.train.device import select_device
from jaxcnn.tuning.targets import requested
from jaxcnn.usercode import check_function

RUNS = Path("runs")

Shapes = Annotated[
    tuple[str, ...], tyro.conf.arg(metavar="SHAPE [SHAPE ...]", help_behavior_hint="(one for each argument)")
]
Target = Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TARGET]")]
FloatType = Literal["float32", "float64", "float16", "bfloat16"]


def lab(run_dir: Path | None = None, overwrite: bool = False, seed: int = 0, device: str | None = None) -> None:
    """Train the tutorial's network on its ten images and show what came of it.

    Args:
      run_dir: Where the run is kept; runs/lab-1, or the next number, if not given.
      overwrite: Replace the run that is there.
      seed: The PRNG key that everything random comes from.
      device: cpu, gpu or tpu; the platform that JAX prefers if not given.
    """

    def print_epoch(epoch: training.Epoch) -> None:
        if epoch.epoch % 20 == 0:
            print(f"Epoch: {epoch.epoch}, Loss: {epoch.train_loss:.6f}")

    _import_while_compiling()
    run = _run(training.lab_config(seed, device), run_dir, "lab", overwrite, print_epoch)
    print(f"Accuracy: {run.metrics()['train']['accuracy']}")
    _show(run)


def train(
    config: Annotated[training.TrainConfig, tyro.conf.arg(name="")],
    run_dir: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Train a network and keep the run.

    Args:
      run_dir: Where the run is kept; runs/DATA-1, or the next number, if not given.
      overwrite: Replace the run that is there.
    """
    name = Path(config.data.replace(":", "-").replace(",", "")).stem
    _import_while_compiling()
    with console.progress(config.epochs) as on_epoch:
        run = _run(config, run_dir, name, overwrite, on_epoch)
    _show(run)


def evaluate(
    directory: tyro.conf.Positional[Path],
    data: str | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Score a run's network on its test images, or on other data.

    Args:
      directory: The run.
      data: A data set's name or an .npz file, all of which is scored; the run's own parts if not given.
      batch_size: Images at a time; the run's if not given. It changes the speed, not the scores.
      device: cpu, gpu or tpu; the platform that JAX prefers if not given.
      as_json: Print JSON instead of a table.
    """
    scores = training.evaluate_run(training.load_run(directory, device), data, batch_size)
    if as_json:
        print(json.dumps(scores, indent=2))
    else:
        console.print_scores(str(directory), scores)


def predict(
    directory: tyro.conf.Positional[Path],
    images: tyro.conf.Positional[tuple[Path, ...]],
    device: str | None = None,
) -> None:
    """Name the class of images.

    Args:
      directory: The run.
      images: Pictures (PNG, JPEG, …) or .npz files with a member named images.
      device: cpu, gpu or tpu; the platform that JAX prefers if not given.
    """
    run = training.load_run(directory, device)
    rows = training.classify(run, *read_images(images))
    console.print_table(str(directory), ["image", "class", "probability"], rows)


def check(
    target: Target = None,
    shapes: Shapes = (),
    dtype: FloatType = "float32",
    order: Literal[1, 2] = 1,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Check gradients against differences of values: those of a function of yours, or jaxcnn's own.

    jaxcnn check mine.ops:norm --shapes 4,8,8,1 scalar calls norm in mine/ops.py with two standard normal arrays.
    The exit status is 1 where a gradient is wrong.

    Args:
      target: package.module:function, looked for in the current directory first; jaxcnn's own if not given.
      shapes: Shapes of the target's arguments: 4,8,8,1 or scalar.
      dtype: Type of the target's arguments.
      order: 2 checks the derivatives of the target's gradient as well.
      seed: What arguments and directions are drawn from; the same seed repeats the check.
      device: cpu, gpu or tpu; the platform that JAX prefers if not given.
    """
    if target is None and (shapes or (dtype, order) != ("float32", 1)):
        raise InputError("target: expected package.module:function before --shapes, --dtype and --order, found none")
    if seed not in range(2**32):
        raise InputError(f"seed: expected an integer from 0 to 4294967295, found {seed}")
    with jax.default_device(*select_device(device).device_set):
        if target is None:
            right = _check_own(seed)
        else:
            report = check_function(target, shapes, dtype, order, seed)
            print(report)
            right = report.ok
    if not right:
        sys.exit(1)


def tune(
    target: Target = None,
    shapes: Shapes = (),
    dtype: FloatType = "float32",
    model: str | None = None,
    data: str | None = None,
    batch_size: int | None = None,
    features: tuple[int, ...] = (),
    convolutions: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar='"IMAGES KERNEL [STRIDES]" ...', help_behavior_hint="(quoted, one each)")
    ] = (),
    rounds: int = 10,
    device: str | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Measure the algorithms for convolutions and their gradients; programs compiled from then on use the fastest.

    jaxcnn tune mine.ops:norm --shapes 64,32,32,64 measures the convolutions in norm,
    jaxcnn tune --model cnn --data digits those of jaxcnn train, and
    jaxcnn tune --convolutions "64,32,32,64 3,3,64,64" that of 64 images with a 3×3 kernel.
    The table is kept in the user's cache, one file a device, and is followed wherever algorithm is "auto".

    Args:
      target: package.module:function, looked for in the current directory first.
      shapes: Shapes of the target's arguments: 4,8,8,1 or scalar.
      dtype: Type of the target's arguments and of --convolutions.
      model: A network (cnn), whose training step is measured.
      data: What the model is trained on: a data set's name or an .npz file; digits if not given.
      batch_size: Images a step of the model's training; as in jaxcnn train if not given.
      features: Channels of the model's stages; as in jaxcnn train if not given.
      convolutions: Convolutions with SAME padding, such as "64,32,32,64 3,3,64,64 2" for strides of 2.
      rounds: Samples of each algorithm.
      device: cpu, gpu or tpu; the platform that JAX prefers if not given.
      as_json: Print JSON instead of a table.
    """
    if rounds < 1:
        raise InputError(f"rounds: expected a positive integer, found {rounds}")
    (selected,) = select_device(device).device_set
    with jax.default_device(selected), jax.enable_x64(True) if dtype == "float64" else nullcontext():
        config = {"data": data, "batch_size": batch_size, "features": features or None}
        found = requested(target, shapes, model, config, convolutions, dtype)
        _show_tuned(list(tuning.tune_convolutions(found, rounds=rounds)), selected, as_json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    The exit status is 0 on success, 1 when training diverged or a gradient is wrong, and 2 on bad input, told in one
    line on stderr.
    """
    try:
        _parse(arguments)()
    except (InputError, OSError) as error:
        _exit(2, error)
    except training.DivergedError as error:
        _exit(1, f"{error} in {error.directory}")
    except jax.errors.JaxRuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        _exit(2, f"expected images, batch and features that fit in memory, found {str(error).splitlines()[0]}")
    except KeyboardInterrupt:
        _exit(130, "interrupted")


def _parse(arguments: Sequence[str] | None) -> Callable[[], None]:
    """The command with its arguments; what tyro draws in a box about wrong ones becomes one line."""
    functions = (lab, train, evaluate, predict, check, tune)
    commands: dict[str, Callable[..., Any]] = {f.__name__: _deferred(f) for f in functions}
    drawn = io.StringIO()
    try:
        with redirect_stderr(drawn):
            return tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="jaxcnn",
                description="A convolution lab for JAX.",
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code == 2:
            raise InputError(_unboxed(drawn.getvalue())) from None
        raise


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The same command line, parsed without being run."""
    return functools.wraps(command)(lambda *args, **kwargs: functools.partial(command, *args, **kwargs))


def _unboxed(box: str) -> str:
    """The words in a box, without its borders and rules, which are of ASCII where the terminal knows no better."""
    lines = (line.strip("╭╮╰╯│─ ") for line in box.splitlines())
    title, *rest = [line for line in lines if line.strip("-")] or [box]
    return f"{title}: {' '.join(rest)}"


def _run(config: training.TrainConfig, run_dir: Path | None, name: str, overwrite: bool, on_epoch) -> training.Run:
    """Train; a run that diverges gets its page too."""
    try:
        return training.train_run(
            config, run_dir or RUNS / name, numbered=run_dir is None, overwrite=overwrite, on_epoch=on_epoch
        )
    except training.DivergedError as error:
        if error.directory is not None:
            write_report(training.load_run(error.directory, config.device))
        raise


def _import_while_compiling() -> None:
    """Let a second core import what is needed at the end, a second's work, while XLA compiles on the first."""
    for name in ("orbax.checkpoint", "jaxcnn.report.pictures"):
        threading.Thread(target=importlib.import_module, args=(name,), daemon=True).start()


def _show(run: training.Run) -> None:
    metrics = run.metrics()
    parts = {name: metrics[name] for name in ("train", "val", "test") if name in metrics}
    console.print_scores(str(run.directory), parts)
    print(summary(metrics))
    print(f"Pictures: {write_report(run)}")


def _check_own(seed: int) -> bool:
    """A table of jaxcnn's own gradients, and below it the report of each that is wrong."""
    results = list(selfcheck.run(seed))
    columns = ["case", "arguments", "verdict", "resolution, notes", "seconds"]
    console.print_table(f"jaxcnn's gradients, seed {seed}", columns, [result.row() for result in results])
    wrong = [result for result in results if not result.report.ok]
    for result in wrong:
        print(f"{result.case.name}: {result.report}\n")
    print(f"{len(results) - len(wrong)} of {len(results)} are right")
    return not wrong


def _show_tuned(results: Sequence[tuning.Tuned], device, as_json: bool) -> None:
    """What was found, and the file that it was added to."""
    file = tuned.path(device)
    if as_json:
        print(json.dumps({"file": str(file), "convolutions": [result.record() for result in results]}, indent=2))
        return
    algorithms = list(dict.fromkeys(name for result in results for name in result.timings))
    columns = ["operation", "images", "kernel", "strides", "type", *(f"{name}, ms" for name in algorithms)]
    rows = [result.row(algorithms) for result in results]
    console.print_table(f"Algorithms on {device.device_kind}", [*columns, "rule of thumb", "chosen"], rows)
    for result in results:
        for name, reason in result.left_out.items():
            print(f"{result.convolution.operation} by {name} was left out: {reason}")
    print(f"Table: {file}")


def _exit(status: int, message: object) -> None:
    print("jaxcnn:", " ".join(str(message).split()), file=sys.stderr)
    sys.exit(status)
