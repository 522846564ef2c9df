from functools import partial

import jax
import numpy as np
import pytest
from conv_cases import CASES, conv_cases
from hypothesis import given, settings
from jax import lax
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P
from quick import quick_jit
from tolerances import assert_close

from jaxcnn import reference
from jaxcnn.ops import conv2d, direct, im2col

all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@all_cases
@pytest.mark.parametrize("algorithm", ["auto", "xla"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_forward_is_the_sum(case, algorithm, dtype):
    with jax.enable_x64(dtype == "float64"):
        x, kernel, _ = case.arrays(dtype)
        y = quick_jit(partial(conv2d, algorithm=algorithm, **case.options))(x, kernel)
        assert y.dtype == dtype
        assert_close(y, reference.conv2d(x, kernel, **case.options))


@all_cases
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_gradients_are_those_of_xlas_convolution(case, dtype):
    with jax.enable_x64(True):
        x, kernel, g = case.arrays(dtype)
        for actual, expected in zip(gradients(case, x, kernel, g), xla_gradients(case, x, kernel, g), strict=True):
            assert actual.dtype == dtype
            assert_close(actual, expected)


@pytest.mark.slow
@settings(max_examples=40)
@given(conv_cases())
def test_gradients_are_those_of_xlas_convolution_for_any_case(case):
    with jax.enable_x64(True):
        arrays = case.arrays()
        for actual, expected in zip(gradients(case, *arrays), xla_gradients(case, *arrays), strict=True):
            assert_close(actual, expected)


def gradients(case, x, kernel, g):
    return quick_jit(vjp_of(partial(conv2d, **case.options)))(x, kernel, g)


def xla_gradients(case, x, kernel, g):
    """JAX's own transposition of lax's convolution, in float64."""
    to64 = [a.astype("float64") for a in (x, kernel, g)]
    return quick_jit(vjp_of(partial(direct.convolve, geometry=case.geometry)))(*to64)


def vjp_of(f):
    return lambda *args: jax.vjp(f, *args[:-1])[1](args[-1])


@all_cases
def test_the_closed_forms_are_jaxs_transpositions(case):
    with jax.enable_x64(True):
        x, kernel, g = case.arrays()
        expected_x, expected_kernel = xla_gradients(case, x, kernel, g)
        static = {"static_argnames": "geometry"}
        assert_close(jax.jit(direct.input_gradient, **static)(g, kernel, geometry=case.geometry), expected_x)
        assert_close(jax.jit(direct.kernel_gradient, **static)(x, g, geometry=case.geometry), expected_kernel)


TRANSFORMATIONS = {
    "jit": lambda f: jax.jit(f),
    "grad of both": lambda f: jax.grad(loss(f), (0, 1)),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1)),
    "jacrev": lambda f: jax.jacrev(f, (0, 1)),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(loss(f)), (0, 1)),
    "linearize": lambda f: lambda x, w: jax.linearize(f, x, w)[1](w_like(x), w_like(w)),
    "linear_transpose": lambda f: lambda x, w: jax.linear_transpose(partial(f, x), w)(f(x, w)),
    "hessian in the kernel": lambda f: jax.hessian(loss(f), 1),
    "mixed second derivative": lambda f: jax.jacfwd(jax.grad(loss(f), 0), 1),
    "third derivative": lambda f: lambda x, w: third_derivative(loss(f), x, w),
    "scan": lambda f: lambda x, w: lax.scan(lambda c, _: (c + jax.grad(loss(f), 1)(x, c), f(x, c)), w, None, 3),
}


def loss(f):
    return lambda x, w: jnp.sum(jnp.sin(f(x, w)))


def w_like(a):
    return jnp.cos(a)


def third_derivative(f, x, w):
    along = partial(jax.jvp, lambda t: f(x, w + t * jnp.cos(w)))
    for _ in range(2):
        along = partial(lambda inner, t, dt: jax.jvp(lambda s: inner((s,), (jnp.ones_like(s),))[1], t, dt), along)
    return along((jnp.zeros(()),), (jnp.ones(()),))[1]


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("options", [{}, {"strides": 2, "padding": ((1, 0), (2, 1))}, {"feature_group_count": 2}])
def test_each_transformation_gives_what_it_gives_for_xlas_convolution(name, options):
    with jax.enable_x64(True):
        groups = options.get("feature_group_count", 1)
        x, kernel = random((2, 4, 4, 2), 0), random((3, 3, 2 // groups, 2), 1)
        transformed = [jax.jit(TRANSFORMATIONS[name](partial(conv2d, algorithm=a, **options))) for a in ("auto", "xla")]
        jax.tree.map(assert_close, *(f(x, kernel) for f in transformed))


@pytest.mark.parametrize("in_axes", [(0, None), (1, None), (None, 0), (0, 4), (2, 0)])
@pytest.mark.parametrize("transform", [lambda f: f, lambda f: jax.grad(loss(f), (0, 1))], ids=["value", "grad"])
def test_vmap_over_images_kernels_and_both(in_axes, transform):
    with jax.enable_x64(True):
        args = [
            jnp.moveaxis(random((3, *shape), seed), 0, axis) if axis is not None else random(shape, seed)
            for seed, (shape, axis) in enumerate(zip([(2, 5, 5, 2), (3, 3, 2, 4)], in_axes, strict=True))
        ]
        both = [
            jax.jit(jax.vmap(transform(partial(conv2d, algorithm=a, strides=2)), in_axes))(*args)
            for a in ("auto", "xla")
        ]
        jax.tree.map(assert_close, *both)


def random(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def mesh_of(axis_type):
    return jax.make_mesh((2,), ("data",), axis_types=(axis_type,))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
@pytest.mark.parametrize(
    ("x", "kernel", "groups"),
    [
        ((1, 8, 8, 3), (3, 3, 1, 3), 3),
        ((4, 128, 128, 3), (3, 3, 3, 3), 1),
        ((1, 14, 14, 2), (13, 13, 1, 2), 2),
        ((1, 6, 6, 8), (3, 3, 2, 8), 4),
        ((4, 20, 20, 16), (3, 3, 8, 16), 2),
    ],
)
def test_integers_wrap_around_as_xlas_do(x, kernel, groups, algorithm, dtype):
    x, kernel = (jnp.full(shape, 10, dtype) for shape in (x, kernel))
    y, xlas = (conv2d(x, kernel, feature_group_count=groups, algorithm=a) for a in (algorithm, "xla"))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, xlas)


@pytest.mark.parametrize(
    ("x", "kernel", "groups"),
    [((1, 14, 14, 2), (13, 13, 1, 2), 2), ((1, 6, 6, 8), (3, 3, 2, 8), 4), ((4, 20, 20, 16), (3, 3, 8, 16), 2)],
)
def test_groups_of_complex_numbers(x, kernel, groups):
    x, kernel = (lax.complex(random(shape, i), random(shape, i + 2)) for i, shape in enumerate((x, kernel)))
    y, xlas = (conv2d(x, kernel, feature_group_count=groups, algorithm=a) for a in ("auto", "xla"))
    np.testing.assert_allclose(y, xlas, rtol=1e-4, atol=1e-4)


def test_it_runs_where_jit_is_disabled():
    x, kernel, _ = CASES["lab"].arrays("float32")
    gradient = jax.grad(loss(conv2d), (0, 1))
    with jax.disable_jit():
        actual = gradient(x, kernel)
    jax.tree.map(assert_close, actual, gradient(x, kernel))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_a_nan_is_found_where_nans_are_looked_for(transform):
    x, kernel, _ = CASES["lab"].arrays("float32")
    x = jnp.asarray(x).at[0, 0, 0, 0].set(jnp.nan)
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="nan"):
        transform(conv2d)(x, kernel)


@pytest.mark.parametrize("algorithm", ["auto", "xla"])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_gradients_of_explicitly_sharded_images_are_lowered_for_all_platforms(algorithm, platform):
    x, kernel, _ = CASES["strides"].arrays("float32")
    gradient = jax.grad(loss(partial(conv2d, algorithm=algorithm, strides=2)), (0, 1))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, jax.NamedSharding(mesh, P("data")))
        lowered = jax.jit(gradient).trace(sharded, kernel).lower(lowering_platforms=(platform,))
    assert [a.shape for a in lowered.out_info] == [x.shape, kernel.shape]


def test_shard_map_over_one_of_two_explicit_axes():
    x, kernel, _ = CASES["lab"].arrays("float32")
    x = x[:4]
    mesh = jax.make_mesh((2, 1), ("data", "rest"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    f = jax.shard_map(conv2d, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"), axis_names={"data"})
    with jax.set_mesh(mesh):
        sharded = [jax.device_put(a, jax.NamedSharding(mesh, s)) for a, s in ((x, P("data")), (kernel, P()))]
        actual = jax.jit(jax.grad(loss(f), (0, 1)))(*sharded)
    jax.tree.map(assert_close, actual, jax.grad(loss(conv2d), (0, 1))(x, kernel))


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_sharded_images_give_the_same_gradients(axis_type):
    x, kernel, _ = CASES["lab"].arrays("float32")
    expected = jax.grad(loss(conv2d), (0, 1))(x, kernel)
    mesh = mesh_of(axis_type)
    with jax.set_mesh(mesh):
        sharded = [jax.device_put(a, jax.NamedSharding(mesh, s)) for a, s in ((x, P("data")), (kernel, P()))]
        actual = jax.jit(jax.grad(loss(conv2d), (0, 1)))(*sharded)
    assert actual[0].sharding.spec[0] == "data"
    assert actual[1].sharding.is_fully_replicated
    jax.tree.map(assert_close, actual, expected)


def test_shard_map_sums_the_kernel_gradient_over_the_devices():
    x, kernel, _ = CASES["lab"].arrays("float32")

    @partial(jax.shard_map, mesh=mesh_of(jax.sharding.AxisType.Auto), in_specs=(P("data"), P()), out_specs=P())
    def total(x, kernel):
        return lax.psum(loss(conv2d)(x, kernel), "data")

    jax.tree.map(assert_close, jax.grad(total, (0, 1))(x, kernel), jax.grad(loss(conv2d), (0, 1))(x, kernel))


def test_one_program_for_all_platforms_and_batch_sizes():
    x, kernel, _ = CASES["lab"].arrays("float32")
    (b,) = jax.export.symbolic_shape("b")
    spec = jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype)
    program = jax.export.export(jax.jit(jax.grad(loss(conv2d), 1)), platforms=["cpu", "cuda", "tpu"])(spec, kernel)
    assert_close(program.call(x, kernel), jax.grad(loss(conv2d), 1)(x, kernel))


def test_on_the_cpu_the_kernel_gradient_is_a_matrix_product_and_elsewhere_xlas_convolution():
    x, kernel = np.ones((16, 8, 8, 3), np.float32), np.ones((3, 3, 3, 16), np.float32)
    lowered = {
        platform: jax.export.export(jax.jit(jax.grad(loss(conv2d), 1)), platforms=[platform])(x, kernel).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    convolutions = {platform: text.count("stablehlo.convolution") for platform, text in lowered.items()}
    assert convolutions == {"cpu": 0, "cuda": 2, "tpu": 2}
    assert lowered["cpu"].count("stablehlo.dot_general") == 2  # the forward pass of so small arrays is another


def test_a_tiny_convolution_is_a_matrix_product_on_the_cpu():
    x, kernel = np.ones((2, 4, 4, 8), np.float32), np.ones((3, 3, 8, 16), np.float32)
    text = jax.jit(conv2d).lower(x, kernel).as_text()
    assert (text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")) == (0, 1)


@pytest.mark.parametrize("images", [1, 2, 3, 5, 100])
def test_blocks_of_any_size_give_the_same_kernel_gradient(monkeypatch, images):
    x, _, g = CASES["lab"].arrays("float32")
    whole = im2col.kernel_gradient(x, g, CASES["lab"].geometry)
    patch_bytes = 8 * 8 * 9 * 4
    monkeypatch.setattr(im2col, "BLOCK_BYTES", images * patch_bytes)
    assert_close(im2col.kernel_gradient(x, g, CASES["lab"].geometry), whole)


def test_a_jitted_gradient_is_traced_once():
    x, kernel, _ = CASES["lab"].arrays("float32")
    traces = []

    @jax.jit
    def gradient(x, kernel):
        traces.append(None)
        return jax.grad(loss(conv2d), 1)(x, kernel)

    for _ in range(3):
        gradient(x, kernel)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("x", "kernel", "options", "error", "message"),
    [
        (
            (2, 8, 8, 3),
            (3, 3, 3, 4),
            {"algorithm": "fastest"},
            ValueError,
            "auto, xla, eigen, im2col, winograd, fft, polyphase, planes, groupwise, found 'fastest'",
        ),
        ((2, 8, 3), (3, 3, 4), {}, ValueError, r"x must be NHWC and kernel HWIO.*\(2, 8, 3\)"),
        ((2, 8, 8, 2), (3, 3, 3, 4), {}, ValueError, "kernel has 3 input channels, x has 2"),
    ],
)
def test_what_does_not_fit_is_refused(x, kernel, options, error, message):
    with pytest.raises(error, match=message):
        conv2d(jnp.ones(x), jnp.ones(kernel), **options)


def test_two_dtypes_are_refused_as_lax_refuses_them():
    with pytest.raises(TypeError, match="one dtype, found float32 and bfloat16"):
        conv2d(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1), jnp.bfloat16))


def lax_conv2d(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        ((32, 16, 16, 64), (3, 3, 64, 64)),
        ((64, 4, 4, 256), (3, 3, 256, 256)),
        ((8, 32, 32, 16), (3, 3, 16, 16)),
    ],
    ids=["winograd in blocks", "winograd at once", "im2col at once"],
)
@pytest.mark.slow
def test_more_layers_take_no_more_memory_than_on_xlas_convolutions(x, kernel):
    """Nothing is made before its turn: no transformed kernels, no patches or tiles of the backward pass, no zeros."""

    def temporary_bytes(convolution, layers):
        def loss(kernels, x):
            for kernel in kernels:
                x = jax.nn.relu(convolution(x, kernel))
            return x.sum()

        args = [jax.ShapeDtypeStruct(kernel, jnp.float32)] * layers, jax.ShapeDtypeStruct(x, jnp.float32)
        return jax.jit(jax.grad(loss)).lower(*args).compile().memory_analysis().temp_size_in_bytes

    mine, xlas = ([temporary_bytes(f, layers) for layers in (4, 8)] for f in (conv2d, lax_conv2d))
    assert mine[1] - mine[0] <= xlas[1] - xlas[0]
