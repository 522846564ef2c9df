from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.data import dark_vs_bright, digits, lab_images, load, oriented_bars, shifted_blobs
from jaxcnn.errors import InputError


def assert_same(dataset, expected):
    np.testing.assert_array_equal(dataset.images, expected.images)
    np.testing.assert_array_equal(dataset.labels, expected.labels)
    assert dataset.class_names == expected.class_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lab", lab_images),
        ("digits", digits),
        ("digits:3,8", partial(digits, (3, 8))),
        ("digits:8,3,0", partial(digits, (8, 3, 0))),
    ],
)
def test_datasets_without_chance(name, expected):
    assert_same(load(name), expected())
    assert_same(load(name, key=jax.random.key(0)), expected())


@pytest.mark.parametrize("generate", [dark_vs_bright, oriented_bars, shifted_blobs])
def test_datasets_drawn_from_a_key(generate):
    assert_same(load(generate.__name__, key=jax.random.key(3)), generate(jax.random.key(3), 2000))


def test_the_documented_defaults():
    key = jax.random.key(0)
    assert_same(load("dark_vs_bright", key=key), dark_vs_bright(key, 2000, noise=1.0))
    assert_same(load("oriented_bars", key=key), oriented_bars(key, 2000, size=16, noise=0.25))
    assert_same(load("shifted_blobs", key=key), shifted_blobs(key, 2000, size=16, max_shift=4, noise=0.25))


@pytest.mark.parametrize("name", ["dark_vs_bright", "oriented_bars", "shifted_blobs"])
def test_a_missing_key(name):
    with pytest.raises(InputError, match=f"^{name} is drawn at random: expected a key, .* found None$"):
        load(name)


def test_paths(tmp_path, monkeypatch):
    expected = lab_images()
    for name in ("pets.npz", "pets", "digits"):
        with open(tmp_path / name, "wb") as file:
            np.savez(file, images=expected.images, labels=expected.labels, class_names=expected.class_names)
    monkeypatch.chdir(tmp_path)
    for path in (
        tmp_path / "pets.npz",
        str(tmp_path / "pets.npz"),
        "pets.npz",
        Path("pets.npz"),
        "pets",
        "./digits",
    ):
        assert_same(load(path), expected)
    assert len(load("digits")) == 1797


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("pets.npz", "no such file"),
        ("./pets", "no such file"),
        ("nowhere/pets.npz", "no directory nowhere"),
        ("nowhere/pets", "no directory nowhere"),
    ],
)
def test_a_path_without_a_file(tmp_path, monkeypatch, path, found):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"^{Path(path)}: expected an .npz archive, found {found}$"):
        load(path)


def test_a_directory(tmp_path):
    with pytest.raises(InputError, match=r": expected an .npz archive, found a directory$"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["mnist", "", "Lab", "digit", "lab "])
def test_an_unknown_name_lists_the_known_ones(name):
    message = (
        rf"^expected a dataset \(lab, dark_vs_bright, oriented_bars, shifted_blobs, digits, digits:3,8\) "
        rf"or the path of an \.npz archive, found '{name}'$"
    )
    with pytest.raises(InputError, match=message):
        load(name)


@pytest.mark.parametrize("name", ["digits:", "digits:three", "digits:3;8", "digits:3,", "digits:3.0,8"])
def test_digits_that_cannot_be_read(name):
    with pytest.raises(InputError, match=f"^expected digits separated by commas, as in digits:3,8, found '{name}'$"):
        load(name)


@pytest.mark.parametrize("name", ["digits:3", "digits:3,3", "digits:3,10"])
def test_digits_that_are_no_task(name):
    with pytest.raises(InputError, match=r"^classes must be two or more different digits of 0…9, found "):
        load(name)
