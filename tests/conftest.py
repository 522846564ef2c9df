"""What every test runs under: dtype promotion is never implicit, random cases are repeatable, no table is followed."""

import tempfile

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("jaxcnn", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("jaxcnn")
jax.config.update("jax_num_cpu_devices", 2)  # so that sharding is tested on any machine


def pytest_configure(config):
    """An empty cache, for doctests and subprocesses too: the user's may hold a table of `jaxcnn tune`."""
    folder, environment = tempfile.TemporaryDirectory(), pytest.MonkeyPatch()
    environment.setenv("XDG_CACHE_HOME", folder.name)
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(environment.undo)


@pytest.fixture(autouse=True)
def strict_dtype_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield
