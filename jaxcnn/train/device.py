"""The device that a run asks for, or a clear answer that it is not there."""

import jax

from jaxcnn.errors import InputError


def select_device(platform: str | None) -> jax.Device:
    """The first device of ``platform``; JAX's own preference for None.

    Raises:
      InputError: no such device is present.
    """
    try:
        return jax.devices(platform)[0]
    except RuntimeError:  # JAX's answer to a platform that it does not know or cannot start
        present = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise InputError(f"device: expected one that is present ({present}), found {platform!r}") from None
