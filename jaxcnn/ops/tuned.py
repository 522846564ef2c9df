"""The algorithms that were measured to be fastest on this machine: a table in the user's cache.

``jaxcnn tune`` writes it, ``algorithm="auto"`` follows it. Each device has a file of its own, JSON such as

    {"device": {"platform": "cpu", "kind": "cpu", "processor": "AMD EPYC, family 25, model 1", "cores": 2},
     "versions": {"jax": "0.10.2", "jaxlib": "0.10.2"},
     "algorithms": {"convolve float32 1x8x8x3 3x3x3x4 strides 1,1 pads 1:1,1:1 dilation 1,1 groups 1": "im2col"}}

A table that cannot be used costs a warning and some speed, never a program.
"""

import functools
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp
from platformdirs import user_cache_path

from jaxcnn.ops.algorithms import IMPLEMENTATIONS
from jaxcnn.ops.geometry import ConvGeometry, Operation
from jaxcnn.ops.processor import processor


def lookup(operation: Operation, geometry: ConvGeometry, dtype, platform: str | None) -> str | None:
    """The algorithm that the table of this process' device has for a convolution; None where it has none.

    For a rule that is lowered: JAX has its backends by then, and asking for a platform's device starts none. A program
    that is compiled ahead of time for a platform that is not here has no table, nor has one of several processes.
    """
    if platform is None or not all(isinstance(size, int) for size in geometry.input_shape):
        return None
    try:
        device = jax.devices(platform)[0]
    except RuntimeError:
        return None
    if jax.process_count() > 1:  # all compile the same program, and each machine has a table of its own
        return None
    file = path(device)
    table = _table(file, device)
    if table.problem:
        _warn(file, table.problem)
    name = table.algorithms.get(text := key(operation, geometry, dtype))
    if name is not None and (limit := IMPLEMENTATIONS[name].limit(geometry)):
        _warn(file, f"{limit}, but the table says {name!r} for {text}")
        return None
    return name


def key(operation: Operation, geometry: ConvGeometry, dtype) -> str:
    """All that tells one convolution from another, as text."""
    strides, dilation = (",".join(map(str, sizes)) for sizes in (geometry.strides, geometry.kernel_dilation))
    pads = ",".join(f"{lo}:{hi}" for lo, hi in geometry.padding)
    shapes = " ".join("x".join(map(str, shape)) for shape in (geometry.input_shape, geometry.kernel_shape))
    options = f"strides {strides} pads {pads} dilation {dilation} groups {geometry.groups}"
    return f"{operation} {jnp.dtype(dtype).name} {shapes} {options}"


def path(device) -> Path:
    """The file of a JAX device; another kind of device, or another machine on the same disk, has another."""
    identity = json.dumps(_describe(device.platform, device.device_kind))
    name = f"tuned-{device.platform}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}.json"
    return user_cache_path("jaxcnn") / name


def write(device, algorithms: Mapping[str, str]) -> Path:
    """Add algorithms, by :func:`key`, to a device's table, at once or not at all; a file that is no use is replaced.

    Raises:
      OSError: the file cannot be written.
    """
    file = path(device)
    content = {
        "device": _describe(device.platform, device.device_kind),
        "versions": _versions(),
        "algorithms": _table(file, device).algorithms | dict(algorithms),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(json.dumps(content, indent=2) + "\n")
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return file


class _Table(NamedTuple):
    """What a file says, and why that cannot be used."""

    algorithms: dict[str, str]
    problem: str | None = None


def _table(file: Path, device) -> _Table:
    """A file's table; one that is not there is empty."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return _Table({})
    except OSError as error:
        return _Table({}, str(error))
    stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
    return _read(file, stamp, device.platform, device.device_kind)


@functools.lru_cache(maxsize=8)
def _read(file: Path, stamp: tuple[int, ...], platform: str, kind: str) -> _Table:
    """The table of a file that was last written as the stamp says."""
    del stamp
    try:
        content = json.loads(file.read_text())
        return _Table(_checked(content, _describe(platform, kind)))
    except (OSError, ValueError, RecursionError) as error:
        return _Table({}, str(error))


def _checked(content: Any, device: dict[str, Any]) -> dict[str, str]:
    """The algorithms of a file's content, if it was measured on that device with these versions."""
    if not isinstance(content, dict) or not isinstance(algorithms := content.get("algorithms"), dict):
        raise ValueError("it has no object with a member named algorithms")
    for name, expected in (("device", device), ("versions", _versions())):
        if (found := content.get(name)) != expected:
            raise ValueError(f"it was measured with {name} {found}, this is {expected}")
    for text, name in algorithms.items():
        if not isinstance(name, str) or name not in IMPLEMENTATIONS:
            raise ValueError(f"there is no algorithm {name!r}, found for {text}")
    return algorithms


@functools.cache
def _describe(platform: str, kind: str) -> dict[str, Any]:
    """What a measurement is valid for; all CPUs are of one kind to JAX."""
    here = {"platform": platform, "kind": kind}
    return here | {"processor": processor(), "cores": os.cpu_count()} if platform == "cpu" else here


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("jax", "jaxlib")}


_WARNED: set[Path] = set()


def _warn(file: Path, problem: str) -> None:
    """Once a file."""
    if file not in _WARNED:
        _WARNED.add(file)
        message = f"{file}: not followed: {problem}. To measure anew: jaxcnn tune"
        warnings.warn(message, UserWarning, stacklevel=2)
