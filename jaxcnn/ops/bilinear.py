"""The three bilinear operations of a convolution as JAX primitives, each the derivative of the others.

Convolution is bilinear and so are its two gradients; the three are closed under transposition:

                          transposed in the 1st argument     transposed in the 2nd argument
    y  = conv(x, w)       x̄ = input_gradient(ȳ, w)           w̄ = kernel_gradient(x, ȳ)
    x̄  = input_gradient(g, w)    ḡ = conv(x̄̄, w)              w̄ = kernel_gradient(x̄̄, g)
    w̄  = kernel_gradient(x, g)   x̄ = input_gradient(g, w̄̄)    ḡ = conv(x, w̄̄)

So each is a JAX primitive, and that table is all their derivative rules, forward and reverse, of any order.
"""

import functools

import jax
from jax import lax
from jax import numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxcnn.ops import choose, winograd
from jaxcnn.ops.calls import not_inlined
from jaxcnn.ops.geometry import ConvGeometry, Operation
from jaxcnn.ops.precision import of_cpu, resolved

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""Those that a choice of algorithm is made for; any other compiles XLA's own convolution."""


def _bilinear(operation: Operation, name: str, result_shape, *, of_images: bool) -> Primitive:
    """A primitive of two arrays with a geometry, an algorithm's name and a precision; its derivative rules come below.

    ``of_images`` says that the result has a batch axis, and so has the first argument and not the second.
    """
    primitive = Primitive(name)
    primitive.def_abstract_eval(functools.partial(_abstract_eval, result_shape, of_images))
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    for platform in (None, *PLATFORMS):
        rule = functools.partial(_on_platform, operation, platform, of_images)
        mlir.register_lowering(primitive, mlir.lower_fun(rule, multiple_results=False), platform=platform)
    rule = _batch_images if of_images else _batch_kernels
    batching.primitive_batchers[primitive] = functools.partial(rule, operation, primitive)
    return primitive


def _abstract_eval(result_shape, of_images, a, b, *, geometry, algorithm, precision):
    del algorithm, precision
    if a.dtype != b.dtype:
        raise TypeError(f"a convolution's arrays must have one dtype, found {a.dtype} and {b.dtype}")
    weak_type = a.weak_type and b.weak_type
    spec = a.sharding.spec if of_images else P(*(None,) * a.ndim)
    return a.update(shape=result_shape(geometry), sharding=a.sharding.update(spec=spec), weak_type=weak_type)


def _on_platform(operation, platform, of_images, a, b, *, geometry, algorithm, precision):
    """The operation by the algorithm named, or by the one chosen for the platform."""
    if algorithm == "auto":
        algorithm = choose.algorithm(operation, geometry, a.dtype, precision, platform)
    if platform == "cpu" and algorithm != "xla":
        precision = of_cpu(precision)
    run = _as_function if platform == "cpu" and _stands_alone(operation, algorithm, geometry) else _convolution
    f = functools.partial(run, operation, algorithm, geometry, precision)
    sharding = jax.typeof(a).sharding
    explicit = sharding.mesh.explicit_axes
    if explicit and (algorithm != "xla" or not of_images):
        # Loops over blocks and sums over a sharded axis: the compiler is left to place its communication.
        f = jax.sharding.auto_axes(axes=explicit, out_sharding=sharding.spec if of_images else P())(f)
    return f(a, b)


def _stands_alone(operation, algorithm, geometry) -> bool:
    """Whether it is many operations, and what XLA could fuse with what comes before or after is little: Winograd's.

    Not of a few images: then a bias and a ReLU are part of its last loop.
    """
    if algorithm != "winograd":
        return False
    if operation == "kernel_gradient":
        return True
    return winograd.is_large(geometry.transposed if operation == "input_gradient" else geometry)


def _convolution(operation, algorithm, geometry, precision, a, b):
    return choose.implementation(operation, algorithm)(a, b, geometry=geometry, precision=precision)


def _as_function(operation, algorithm, geometry, precision, a, b):
    """The operation as a function of the compiled program, which equal layers share."""
    return not_inlined(_jitted(operation, algorithm, geometry, precision, a, b))


_jitted = jax.jit(_convolution, static_argnums=(0, 1, 2, 3))


def _batch_images(operation, primitive, args, dims, **static):
    """Batched images join the batch that is there; where kernels are batched too, it is another operation."""
    if dims[1] is not None:
        return _batch_kernels(operation, primitive, args, dims, **static)
    x, kernel = jnp.moveaxis(args[0], dims[0], 0), args[1]
    count, n = x.shape[:2]
    static["geometry"] = static["geometry"].with_batch(count * n)
    y = primitive.bind(x.reshape(count * n, *x.shape[2:]), kernel, **static)
    return y.reshape(count, n, *y.shape[1:]), 0


def _batch_kernels(operation, primitive, args, dims, *, geometry, algorithm, precision):
    """A kernel each: on the CPU one after the other, each is work enough; elsewhere by XLA's grouped convolution."""

    def grouped(algorithm):
        f = choose.implementation(operation, algorithm)
        return jax.vmap(functools.partial(f, geometry=geometry, precision=precision), in_axes=dims)

    if algorithm != "auto":
        return grouped(algorithm)(*args), 0
    one = functools.partial(primitive.bind, geometry=geometry, algorithm=algorithm, precision=precision)
    return lax.platform_dependent(*args, cpu=functools.partial(_one_by_one, one, dims), default=grouped("xla")), 0


def _one_by_one(f, dims, *args):
    """``jax.vmap`` of f as a loop."""
    batched = [jnp.moveaxis(a, d, 0) for a, d in zip(args, dims, strict=True) if d is not None]

    def one(slices):
        rest = iter(slices)
        return f(*(a if d is None else next(rest) for a, d in zip(args, dims, strict=True)))

    return lax.map(one, batched)


def bind(
    primitive: Primitive,
    a,
    b,
    *,
    geometry: ConvGeometry,
    algorithm: str = "auto",
    precision: lax.PrecisionLike = None,
) -> Array:
    """The primitive's result for two arrays of one dtype, whose shapes are the geometry's; it is not checked again."""
    a, b = _vary_alike(a, b)
    return primitive.bind(a, b, geometry=geometry, algorithm=algorithm, precision=resolved(precision))


def _vary_alike(a, b):
    """Inside ``shard_map``: both vary over each mesh axis that one of them varies over, as lax sees to in its own."""
    a_axes, b_axes = (jax.typeof(array).mat.varying for array in (a, b))
    return (
        lax.pcast(a, tuple(b_axes - a_axes), to="varying"),
        lax.pcast(b, tuple(a_axes - b_axes), to="varying"),
    )


conv_p = _bilinear("convolve", "conv", lambda geometry: geometry.output_shape, of_images=True)
input_gradient_p = _bilinear(
    "input_gradient", "conv_input_gradient", lambda geometry: geometry.input_shape, of_images=True
)
kernel_gradient_p = _bilinear(
    "kernel_gradient", "conv_kernel_gradient", lambda geometry: geometry.kernel_shape, of_images=False
)

# Each rule gets the cotangent and both arguments, of which the one that it is transposed in has no value.
ad.defbilinear(
    conv_p,
    lambda y, x, w, **static: bind(input_gradient_p, y, w, **static),
    lambda y, x, w, **static: bind(kernel_gradient_p, x, y, **static),
)
ad.defbilinear(
    input_gradient_p,
    lambda x, g, w, **static: bind(conv_p, x, w, **static),
    lambda x, g, w, **static: bind(kernel_gradient_p, x, g, **static),
)
ad.defbilinear(
    kernel_gradient_p,
    lambda w, x, g, **static: bind(input_gradient_p, g, w, **static),
    lambda w, x, g, **static: bind(conv_p, x, w, **static),
)
