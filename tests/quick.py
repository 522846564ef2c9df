"""Programs without LLVM's optimisations: compiled more quickly, for what is computed and not how fast."""

from functools import partial

import jax

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
