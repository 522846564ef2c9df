"""Which CPU this is: JAX calls every one "cpu"."""

import functools
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def processor(cpuinfo: Path = CPUINFO) -> str:
    """Such as "AMD EPYC, family 25, model 1": virtual machines leave all but the maker out of the name."""
    try:
        first = cpuinfo.read_text().partition("\n\n")[0]
    except OSError:  # not on Linux
        first = ""
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = {"family": fields.get("cpu family"), "model": fields.get("model")}
    return ", ".join([name, *(f"{key} {number}" for key, number in numbers.items() if number)])
