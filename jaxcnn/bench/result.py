"""What a benchmark leaves behind: every sample, with the device and the versions that it was taken with."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from jaxcnn.bench.timing import Timing
from jaxcnn.ops import tuned
from jaxcnn.ops.processor import processor


def record(benchmark: str, timings: Mapping[str, Timing], **settings: Any) -> dict[str, Any]:
    """A result file's content.

    ``tuned`` says whether "auto" had a table of measured algorithms to follow.

    Args:
      benchmark: its name.
      timings: by what was timed; the samples are kept in seconds, in the order they were taken.
      **settings: whatever else the numbers depend on.
    """
    device = jax.devices()[0]
    return {
        "benchmark": benchmark,
        "device": {"platform": device.platform, "kind": device.device_kind},
        "processor": processor(),
        "tuned": tuned.path(device).exists(),
        "versions": {name: found for name in ("jaxcnn", "jax", "jaxlib", "torch") if (found := _version(name))},
        **({"settings": settings} if settings else {}),
        "seconds": {name: list(timing.times) for name, timing in timings.items()},
    }


def write(path: Path, result: dict[str, Any]) -> None:
    """Keep a result as JSON."""
    path.write_text(json.dumps(result, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
