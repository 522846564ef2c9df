"""What every test runs under: dtype promotion is never implicit, and random cases are repeatable."""

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("jaxcnn", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("jaxcnn")
jax.config.update("jax_num_cpu_devices", 2)  # so that sharding is tested on any machine


@pytest.fixture(autouse=True)
def strict_dtype_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield
