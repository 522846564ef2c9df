"""Images in blocks give what all images at once give."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxcnn.ops.blocks import images_per_block, map_blocks, sum_blocks

SIZES = [(0, 1), (1, 1), (1, 4), (6, 1), (6, 2), (6, 6), (6, 9), (7, 2), (7, 3), (7, 5), (7, 6)]


def images(n):
    return np.random.default_rng(0).integers(-9, 9, (n, 3, 2)).astype(np.float32)  # whole numbers: sums are exact


def treated(x):
    return 2 * x[:, 1:] + x[:, :1]


def sums(x, y):
    return [jnp.sum(x * y, 0), jnp.sum(y.astype(jnp.int32))]


@given(n=st.integers(1, 300), image_bytes=st.integers(0, 2000), block_bytes=st.integers(0, 200_000))
def test_a_block_divides_the_images_or_is_all_that_fits(n, image_bytes, block_bytes):
    block = images_per_block(n, image_bytes, block_bytes)
    fitting = min(max(block_bytes // max(image_bytes, 1), 1), n)
    assert 1 <= block <= fitting
    assert n % block == 0 or block == fitting
    assert 2 * block >= fitting


@given(n=st.integers(1, 300), image_bytes=st.integers(1, 2000), blocks=st.integers(1, 300))
def test_more_memory_makes_no_more_blocks(n, image_bytes, blocks):
    smaller, larger = (images_per_block(n, image_bytes, count * image_bytes) for count in (blocks, 2 * blocks))
    assert smaller <= larger


@pytest.mark.parametrize(
    ("n", "fitting", "block"), [(12, 5, 4), (12, 12, 12), (12, 100, 12), (13, 5, 5), (14, 6, 6), (14, 5, 5), (5, 0, 1)]
)
def test_blocks_by_example(n, fitting, block):
    assert images_per_block(n, 10, fitting * 10) == block


def test_no_images_make_a_block_that_a_loop_can_step_by():
    assert images_per_block(0, 10, 100) >= 1


def test_images_of_unknown_number_are_one_block():
    (b,) = jax.export.symbolic_shape("b")
    assert images_per_block(b, 10, 100) is b
    spec = jax.ShapeDtypeStruct((b, 3, 2), jnp.float32)
    program = jax.export.export(jax.jit(lambda x: (map_blocks(treated, b, x), sum_blocks(sums, b, x, x))))(spec)
    actual = program.call(images(5))
    jax.tree.map(np.testing.assert_array_equal, actual, (treated(images(5)), sums(images(5), images(5))))


@pytest.mark.parametrize(("n", "block"), SIZES)
def test_what_is_treated_block_by_block_is_what_is_treated_whole(n, block):
    np.testing.assert_array_equal(map_blocks(treated, block, jnp.asarray(images(n))), treated(images(n)))


@pytest.mark.parametrize(("n", "block"), SIZES)
def test_sums_of_blocks_are_the_sums(n, block):
    x, y = images(n), images(n)[:, ::-1]
    actual, expected = sum_blocks(sums, block, jnp.asarray(x), jnp.asarray(y)), sums(x, y)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert [a.dtype for a in actual] == [jnp.float32, jnp.int32]


@settings(max_examples=6)
@given(n=st.integers(0, 20), block=st.integers(1, 25))
def test_any_number_of_images_in_any_blocks(n, block):
    x = jnp.asarray(images(n))
    np.testing.assert_array_equal(map_blocks(treated, block, x), treated(x))
    jax.tree.map(np.testing.assert_array_equal, sum_blocks(sums, block, x, x), sums(x, x))


def test_the_result_has_the_type_and_shape_that_f_gives():
    y = map_blocks(lambda x: x.sum((1, 2)).astype(jnp.bfloat16), 2, jnp.asarray(images(5)))
    assert (y.dtype, y.shape) == (jnp.bfloat16, (5,))


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_have_derivatives_and_batches(block):
    x = jnp.asarray(images(6))

    def total(x):
        return sum_blocks(lambda x: [jnp.sum(map_blocks(jnp.square, 2, x))], block, x)[0]

    np.testing.assert_array_equal(jax.jvp(total, (x,), (x,))[1], 2 * jnp.sum(x**2))
    np.testing.assert_array_equal(jax.grad(total)(x), 2 * x)
    np.testing.assert_array_equal(jax.vmap(total)(jnp.stack([x, 2 * x])), jnp.stack([total(x), 4 * total(x)]))


@pytest.mark.parametrize(("n", "block"), [(8, 8), (8, 4), (8, 2), (12, 4), (8, 1), (10, 4)])
def test_a_batch_on_two_devices_gives_the_same_and_stays_there(n, block):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = images(n)
    sharded = jax.device_put(x, jax.NamedSharding(mesh, P("data")))
    mapped = jax.jit(lambda x: map_blocks(treated, block, x))(sharded)
    summed = jax.jit(lambda x: sum_blocks(sums, block, x, x))(sharded)
    np.testing.assert_array_equal(mapped, treated(x))
    jax.tree.map(np.testing.assert_array_equal, summed, sums(x, x))
    if n % block == 0 and block % 2 == 0:
        assert mapped.sharding.spec[0] == "data"


@pytest.mark.parametrize(("n", "block"), [(8, 4), (8, 2), (12, 4)])
def test_no_image_leaves_its_device(n, block):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(images(n), jax.NamedSharding(mesh, P("data")))
    text = jax.jit(lambda x: map_blocks(treated, block, x)).lower(sharded).compile().as_text()
    for communication in ("all-gather", "all-to-all", "collective-permute"):
        assert communication not in str(text)


def temporary_bytes(f, *shapes) -> int:
    return (
        jax.jit(f)
        .lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
    )


def test_more_loops_in_a_row_take_no_more_memory():
    """Their first arrays are made when they are needed: none waits for its turn from the program's start."""

    def loops(x, count):
        for number in range(count):
            x = map_blocks(lambda block, scale=number + 1: jnp.sin(block) * scale, 2, x)
            (total,) = sum_blocks(lambda block: [jnp.exp(block).sum(0)], 2, x)
            x = x / total
        return x

    shape = (8, 50, 50)
    few, many = (temporary_bytes(lambda x, count=count: loops(x, count), shape) for count in (2, 8))
    assert many <= few + 4 * np.prod(shape)
