"""Programs without LLVM's optimisations: compiled in half the time, and they compute the same."""

from functools import partial

import jax

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
