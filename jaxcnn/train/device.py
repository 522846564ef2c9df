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
        return SingleDeviceSharding(jax.devices(platform)[0])
    except RuntimeError:  # JAX's answer to a platform that it does not know or cannot start
        present = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise InputError(f"device: expected one that is present ({present}), found {platform!r}") from None
