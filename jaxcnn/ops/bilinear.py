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
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from jaxcnn.ops import direct, im2col
from jaxcnn.ops.geometry import ConvGeometry


def _bilinear(name: str, implementation, result_shape, *, of_images: bool, on_cpu=None) -> Primitive:
    """A primitive of two arrays with a geometry and a precision; its derivative rules are attached below.

    ``of_images`` says that the result has a batch axis, and so has the first argument and not the second.
    """
    primitive = Primitive(name)
    primitive.def_abstract_eval(functools.partial(_abstract_eval, result_shape, of_images))
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("geometry", "precision")))
    mlir.register_lowering(primitive, mlir.lower_fun(implementation, multiple_results=False))
    if on_cpu is not None:
        mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    rule = _batch_images if of_images else _batch_kernels
    batching.primitive_batchers[primitive] = functools.partial(rule, primitive, implementation)
    return primitive


def _abstract_eval(result_shape, of_images, a, b, *, geometry, precision):
    del precision
    if a.dtype != b.dtype:
        raise TypeError(f"a convolution's arrays must have one dtype, found {a.dtype} and {b.dtype}")
    spec = a.sharding.spec if of_images else P(*(None,) * a.ndim)
    return a.update(shape=result_shape(geometry), sharding=a.sharding.update(spec=spec), weak_type=False)


def _batch_images(primitive, implementation, args, dims, *, geometry, precision):
    """Batched images join the batch that is there; where kernels are batched too, it is another operation."""
    if dims[1] is not None:
        return _batch_kernels(primitive, implementation, args, dims, geometry=geometry, precision=precision)
    x, kernel = jnp.moveaxis(args[0], dims[0], 0), args[1]
    count, n = x.shape[:2]
    merged = geometry.with_batch(count * n)
    y = primitive.bind(x.reshape(count * n, *x.shape[2:]), kernel, geometry=merged, precision=precision)
    return y.reshape(count, n, *y.shape[1:]), 0


def _batch_kernels(_, implementation, args, dims, *, geometry, precision):
    """A kernel each: XLA's grouped convolutions, by JAX's own rule."""
    one = functools.partial(implementation, geometry=geometry, precision=precision)
    return jax.vmap(one, in_axes=dims)(*args), 0


def _convolve_on_cpu(x, kernel, geometry, *, precision=None):
    tiny = im2col.supports(geometry) and im2col.is_tiny(geometry, x.dtype.itemsize)
    return (im2col if tiny else direct).convolve(x, kernel, geometry, precision=precision)


def _kernel_gradient_on_cpu(x, g, geometry, *, precision=None):
    algorithm = im2col if im2col.supports(geometry) else direct
    rule = functools.partial(algorithm.kernel_gradient, geometry=geometry, precision=precision)
    if jax.typeof(x).sharding.mesh.explicit_axes:
        # The sum over the images is over a sharded axis: the compiler is left to place its all-reduce.
        rule = jax.sharding.auto_axes(out_sharding=P())(rule)
    return rule(x, g)


def bind(primitive: Primitive, a, b, *, geometry: ConvGeometry, precision: lax.PrecisionLike = None) -> Array:
    """The primitive's result for two arrays of one dtype, whose shapes are the geometry's; it is not checked again."""
    a, b = _vary_alike(a, b)
    return primitive.bind(a, b, geometry=geometry, precision=precision)


def _vary_alike(a, b):
    """Inside ``shard_map``: both vary over each mesh axis that one of them varies over, as lax sees to in its own."""
    a_axes, b_axes = (jax.typeof(array).mat.varying for array in (a, b))
    return (
        lax.pcast(a, tuple(b_axes - a_axes), to="varying"),
        lax.pcast(b, tuple(a_axes - b_axes), to="varying"),
    )


conv_p = _bilinear(
    "conv", direct.convolve, lambda geometry: geometry.output_shape, of_images=True, on_cpu=_convolve_on_cpu
)
input_gradient_p = _bilinear(
    "conv_input_gradient", direct.input_gradient, lambda geometry: geometry.input_shape, of_images=True
)
kernel_gradient_p = _bilinear(
    "conv_kernel_gradient",
    direct.kernel_gradient,
    lambda geometry: geometry.kernel_shape,
    of_images=False,
    on_cpu=_kernel_gradient_on_cpu,
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
