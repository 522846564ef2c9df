"""The rules of the house: imports flow one way, and importing jaxcnn does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcnn

PACKAGE = Path(jaxcnn.__file__).parent

# What each part may import of the others; every part may import jaxcnn.errors.
MAY_IMPORT = {
    "errors": set(),
    "ops": set(),
    "reference": set(),
    "bench": {"ops"},
    "xla": set(),
    "verify": set(),
    "models": {"ops"},
    "losses": set(),
    "metrics": set(),
    "data": set(),
    "train": {"models", "losses", "metrics", "data", "bench", "xla"},
    "report": {"train", "models", "losses", "metrics", "data", "bench"},
    "selfcheck": {"ops", "models", "losses", "verify", "bench"},
    "usercode": {"verify"},
    "tuning": {"ops", "bench", "train", "usercode"},
    "cli": {"train", "data", "report", "selfcheck", "usercode", "tuning", "ops"},
    "__main__": {"cli"},
}
NOT_EVEN_ERRORS = {"ops", "reference"}


def sources():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxcnn":
            parts |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxcnn."):
            parts.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            parts |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("jaxcnn.")}
    return parts


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_flow_one_way(path):
    part = part_of(path)
    allowed = MAY_IMPORT[part] | {part} | (set() if part in NOT_EVEN_ERRORS else {"errors"})
    assert imported_parts(path) <= allowed


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_set_for_the_whole_process(path):
    assert "jax.config.update" not in path.read_text()
    assert "os.environ[" not in path.read_text()


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_report_draws_and_only_timing_reads_a_clock(path):
    text = path.read_text()
    assert part_of(path) == "report" or "matplotlib" not in text
    assert path == PACKAGE / "bench" / "timing.py" or "perf_counter" not in text


def test_importing_starts_no_backend_and_loads_nothing_slow():
    """Each of these takes a tenth of a second or more to import, and not every user needs it."""
    code = """
import sys, warnings
warnings.simplefilter("error")
import jax
flags = {name: jax.config.values[name] for name in jax.config.values}
import jaxcnn
assert flags == {name: jax.config.values[name] for name in flags}
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
slow = {"matplotlib", "sklearn", "orbax", "scipy.stats", "tyro", "torch"} & sys.modules.keys()
assert not slow, slow
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
