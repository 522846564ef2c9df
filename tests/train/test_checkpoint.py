from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn import InputError
from jaxcnn.train.checkpoint import SUMS, restore_checkpoint, save_checkpoint

TREE = {"params": {"Conv_0": {"kernel": np.arange(36.0, dtype=np.float32).reshape(3, 3, 1, 4), "bias": np.ones(4)}}}


@pytest.fixture
def tree():
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), TREE)


@pytest.fixture
def checkpoint(tmp_path, tree):
    save_checkpoint(tmp_path / "checkpoint", tree)
    return tmp_path / "checkpoint"


def restore(directory, like):
    return restore_checkpoint(directory, like, jax.sharding.SingleDeviceSharding(jax.devices()[0]))


def test_what_is_saved_comes_back_bit_for_bit(checkpoint, tree):
    restored = restore(checkpoint, tree)
    jax.tree.map(np.testing.assert_array_equal, restored, tree)
    assert all(leaf.devices() == {jax.devices()[0]} for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("damage", ["a changed byte", "cut short", "emptied", "removed"])
def test_no_damaged_file_is_read(checkpoint, tree, damage):
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != SUMS):
        content = path.read_bytes()
        if not content:
            continue
        middle = len(content) // 2
        if damage == "removed":
            path.unlink()
        else:
            changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            path.write_bytes({"a changed byte": changed, "cut short": content[:middle], "emptied": b""}[damage])
        with pytest.raises(InputError, match=f"damaged: {path.relative_to(checkpoint)}: expected SHA-256 .*, found "):
            restore(checkpoint, tree)
        path.write_bytes(content)
    restore(checkpoint, tree)


def test_brackets_in_a_path_are_no_glob(tmp_path, tree):
    directory = tmp_path / "a [b] (c) {d} é" / "checkpoints"
    directory.parent.mkdir()
    save_checkpoint(directory, tree)
    jax.tree.map(np.testing.assert_array_equal, restore(directory, tree), tree)


def test_a_checkpoint_with_nothing_in_it_is_refused(tmp_path, tree):
    (tmp_path / SUMS).touch()
    with pytest.raises(InputError, match=r"expected the arrays .* found \{\}"):
        restore(tmp_path, tree)


def test_without_its_sums_nothing_is_read(checkpoint, tree):
    (checkpoint / SUMS).unlink()
    with pytest.raises(InputError, match="expected a file SHA256SUMS in it, found none"):
        restore(checkpoint, tree)


@pytest.mark.parametrize("sums", ["", "not a sum\n", "\x00\xff"])
def test_broken_sums_are_refused(checkpoint, tree, sums):
    (checkpoint / SUMS).write_text(sums)
    with pytest.raises(InputError, match="damaged"):
        restore(checkpoint, tree)


@pytest.mark.parametrize(
    "change",
    [
        lambda params: {"Conv_0": params["Conv_0"], "Dense_0": params["Conv_0"]},
        lambda params: {"Conv_0": {"kernel": params["Conv_0"]["kernel"]}},
        lambda params: jax.tree.map(partial(jnp.expand_dims, axis=0), params),
    ],
    ids=["one layer more", "one array less", "other shapes"],
)
def test_the_parameters_of_another_model_are_refused(checkpoint, tree, change):
    with pytest.raises(
        InputError, match=r"expected the arrays .* of the run's model, found .*Conv_0.kernel.: .float32\[3, 3, 1, 4\]"
    ):
        restore(checkpoint, {"params": change(tree["params"])})


def test_an_existing_checkpoint_is_not_overwritten(checkpoint, tree):
    with pytest.raises(ValueError, match="already exists"):
        save_checkpoint(checkpoint, tree)
