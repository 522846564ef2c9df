"""The device that a run asks for, or a clear answer that it is not there."""

import jax
from jax.sharding import SingleDeviceSharding

from jaxcnn.errors import InputError


def select_device(platform: str | None) -> SingleDeviceSharding:
    """Where to put arrays: the first device of ``platform``, or of the one that JAX prefers for None.

    Raises:
      InputError: no such device is present.
    """
    try:
        if platform == "":
            raise RuntimeError("JAX takes it for None")
        return SingleDeviceSharding(jax.devices(platform)[0])
    except (RuntimeError, AssertionError) as error:  # JAX's answers to a platform that it does not know or cannot start
        raise InputError(f"device: expected one that is present ({_present()}), found {platform!r}") from error


def _present() -> str:
    try:
        return ", ".join(sorted({device.platform for device in jax.devices()}))
    except (RuntimeError, AssertionError):  # not even the one that JAX_PLATFORMS asks for
        return "none"
