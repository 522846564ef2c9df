"""XLA's compiler options for a program, where a measurement justified them (``benchmarks/README.md``).

They belong to one compiled function, not to the process as ``XLA_FLAGS`` do.
"""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

import jax
from jax import numpy as jnp
from jax.extend.core import find_top_trace

MEASURED: dict[str, dict[str, str]] = {
    "cpu": {
        # LLVM uses half the width of AVX-512 unless told: a step takes 1 to 6 % less. No other CPU has wider vectors.
        "xla_cpu_prefer_vector_width": "512",
    },
}
"""By platform; none is set for a platform that nothing was measured on."""


@functools.cache
def _known(platform: str, name: str, value: str) -> bool:
    """Whether this jaxlib takes the option: a later one may have lost it."""
    device = jax.local_devices(backend=platform)[0]
    with jax.default_device(device):
        try:
            jax.jit(lambda: jnp.zeros(()), compiler_options={name: value}).lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
            return False
    return True


def compiler_options(platform: str | None = None) -> dict[str, str]:
    """The options that programs of convolutions run faster with on a platform, of those that this jaxlib knows.

    Args:
      platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.

    Returns:
      A new dictionary for the ``compiler_options`` of :func:`jax.jit` or of a lowered program's ``compile``.

    Raises:
      RuntimeError: there are options for that platform, and no such device.

    >>> import jax
    >>> double = jax.jit(lambda x: 2 * x, compiler_options=compiler_options())
    >>> double(1.0)
    Array(2., dtype=float32, weak_type=True)
    """
    platform = jax.default_backend() if platform is None else platform
    return {name: value for name, value in MEASURED.get(platform, {}).items() if _known(platform, name, value)}


def jit(f: Callable, **options: Any) -> jax.stages.Wrapped:
    """:func:`jax.jit` with :func:`compiler_options` for the platform that JAX runs on.

    JAX allows such options to the outermost program only. Inside of another, and under ``grad`` or ``vmap``, the
    function is jitted without, your own ``compiler_options`` included: the outer program's options count.

    Args:
      f: the function, or a method.
      options: ``jax.jit``'s own arguments. Of its ``compiler_options``, those given go before the measured ones.

    Returns:
      What ``jax.jit`` returns: a function with ``lower``, ``trace``, ``eval_shape`` and ``clear_cache``.
    """
    return _Jitted(f, options)


class _Jitted(jax.stages.Wrapped):
    """Nothing is asked of the device before the first call, trace or lowering; never for the shape of the result."""

    def __init__(self, f: Callable, options: dict[str, Any]):
        functools.update_wrapper(self, f)
        self._given = dict(options.pop("compiler_options", None) or {})
        self._f, self._options = f, options
        self._inner: Any = jax.jit(f, **options)  # jax.stages.Wrapped has no clear_cache; what jax.jit returns has

    @functools.cached_property
    def _outermost(self) -> Any:
        return jax.jit(self._f, compiler_options=compiler_options() | self._given, **self._options)

    def __get__(self, instance: Any, owner: type | None = None):
        """A method where it is looked up on an instance, as any function and ``jax.jit``'s."""
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args, **kwargs):
        evaluates = type(find_top_trace(())).__name__ == "EvalTrace"
        return (self._outermost if evaluates else self._inner)(*args, **kwargs)

    def trace(self, *args, **kwargs):
        return self._outermost.trace(*args, **kwargs)

    def lower(self, *args, **kwargs):
        return self._outermost.lower(*args, **kwargs)

    def eval_shape(self, *args, **kwargs):
        return self._inner.eval_shape(*args, **kwargs)

    def clear_cache(self) -> None:
        self._inner.clear_cache()
        if "_outermost" in vars(self):
            self._outermost.clear_cache()
