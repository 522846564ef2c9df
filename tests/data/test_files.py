import io
import pickle
import zipfile

import numpy as np
import pytest

from jaxcnn.data import load_npz, validate
from jaxcnn.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0])
NAMES = np.array(["cat", "dog", "κότα"])


class Pickled:
    """Unpickling it leaves a trace."""

    unpickled = False

    def __setstate__(self, state):
        Pickled.unpickled = True


def save(path, **changes):
    """An archive of three classes; a member of None is left out."""
    members = {"images": IMAGES, "labels": LABELS, "class_names": NAMES} | changes
    np.savez(path, allow_pickle=True, **{name: a for name, a in members.items() if a is not None})
    return path


def archive_bytes(write):
    buffer = io.BytesIO()
    write(buffer, images=IMAGES, labels=LABELS, class_names=NAMES)
    return buffer.getvalue()


def npy(header, content=b""):
    """A member with a header of one's own choice."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def dataset_or_error(path):
    try:
        return load_npz(path)
    except InputError as error:
        return error


def one_line_error(path, expected: type[Exception] = InputError):
    with pytest.raises(expected) as caught:
        load_npz(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_reads_what_numpy_wrote(tmp_path, write):
    path = tmp_path / "pets.npz"
    path.write_bytes(archive_bytes(write))
    dataset = load_npz(path)
    validate(dataset, "pets")
    np.testing.assert_array_equal(dataset.images, IMAGES.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert (dataset.images.dtype, dataset.labels.dtype) == (np.float32, np.int32)
    assert dataset.class_names == ("cat", "dog", "κότα")


@pytest.mark.parametrize(
    ("stored", "scale"),
    [(IMAGES, 255), (IMAGES.astype(np.uint16) * 257, 65535), (IMAGES > 99, 1), (IMAGES / 7 - 3, 1)],
)
def test_pixels_of_each_dtype(tmp_path, stored, scale):
    dataset = load_npz(save(tmp_path / "pets.npz", images=stored))
    np.testing.assert_allclose(dataset.images, stored / scale, rtol=1e-6)


def test_one_channel_may_be_left_out(tmp_path):
    dataset = load_npz(save(tmp_path / "pets.npz", images=IMAGES[..., 0]))
    assert dataset.images.shape == (6, 5, 4, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i8", np.uint64])
def test_labels_of_each_integer_dtype(tmp_path, dtype):
    dataset = load_npz(save(tmp_path / "pets.npz", labels=LABELS.astype(dtype)))
    assert dataset.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.labels, LABELS)


def test_without_names_classes_are_called_by_their_numbers(tmp_path):
    assert load_npz(save(tmp_path / "pets.npz", class_names=None)).class_names == ("0", "1", "2")


def test_other_members_are_not_looked_at(tmp_path):
    dataset = load_npz(save(tmp_path / "pets.npz", notes=np.array([Pickled()])))
    assert len(dataset) == 6
    assert not Pickled.unpickled


def test_a_path_may_be_a_string(tmp_path):
    assert len(load_npz(str(save(tmp_path / "pets.npz")))) == 6


def test_absent_file(tmp_path):
    message = one_line_error(tmp_path / "pets.npz", FileNotFoundError)
    assert message.endswith("pets.npz: expected an .npz archive, found no such file")


def test_absent_directory(tmp_path):
    message = one_line_error(tmp_path / "nowhere" / "pets.npz", FileNotFoundError)
    assert message.endswith(f"expected an .npz archive, found no directory {tmp_path / 'nowhere'}")


def test_a_directory(tmp_path):
    assert one_line_error(tmp_path).endswith("expected an .npz archive, found a directory")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY\x01\x00", pickle.dumps([1, 2])])
def test_not_an_archive(tmp_path, content):
    path = tmp_path / "pets.npz"
    path.write_bytes(content)
    message = one_line_error(path)
    assert "expected an intact .npz archive as numpy.savez writes it" in message
    assert f"found {len(content)} bytes that cannot be read" in message


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_truncated_anywhere(tmp_path, write):
    path, whole = tmp_path / "pets.npz", archive_bytes(write)
    for length in range(0, len(whole), 23):
        path.write_bytes(whole[:length])
        assert "expected an intact .npz archive" in one_line_error(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_changed_byte_is_an_error_or_changes_nothing(tmp_path, write):
    path, whole = tmp_path / "pets.npz", archive_bytes(write)
    path.write_bytes(whole)
    intact = load_npz(path)
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= RNG.integers(1, 256, dtype=np.uint8)
        path.write_bytes(damaged)
        read = dataset_or_error(path)
        if isinstance(read, InputError):
            assert "\n" not in str(read)
        else:
            # Dates, attributes and other members' names are not part of the data.
            np.testing.assert_array_equal(read.images, intact.images)
            np.testing.assert_array_equal(read.labels, intact.labels)


def test_a_changed_pixel_is_found_by_its_checksum(tmp_path):
    path, whole = tmp_path / "pets.npz", bytearray(archive_bytes(np.savez))
    whole[whole.find(IMAGES.tobytes())] ^= 1
    path.write_bytes(whole)
    assert "Bad CRC-32 for file 'images.npy'" in one_line_error(path)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_missing_member(tmp_path, name):
    message = one_line_error(save(tmp_path / "pets.npz", **{name: None}))
    found = [f"{n}.npy" for n in ("images", "labels", "class_names") if n != name]
    assert message.endswith(f"expected a member '{name}.npy', found {found}")


def test_an_archive_without_members(tmp_path):
    path = tmp_path / "pets.npz"
    zipfile.ZipFile(path, "w").close()
    assert one_line_error(path).endswith("expected a member 'images.npy', found []")


@pytest.mark.parametrize("name", ["images", "labels", "class_names"])
def test_pickled_objects_are_refused_unopened(tmp_path, name):
    objects = np.array([Pickled() for _ in range(6)])
    message = one_line_error(save(tmp_path / "pets.npz", **{name: objects}))
    assert f"{name}: expected a plain array of numbers or strings, found Object arrays cannot be loaded" in message
    assert not Pickled.unpickled


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a text",
        pickle.dumps([1, 2]),
        npy(HEADER % "(1000,)", b"too short"),
        npy(HEADER % f"({10**15},)", b"too large"),
        npy(HEADER % f"({10**25},)"),
        npy(HEADER % "(-1,)"),
        npy("(((("),
        npy("{1: 2, 'descr': 3}"),
    ],
)
def test_a_member_that_is_no_array(tmp_path, content):
    path = tmp_path / "pets.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content)
        archive.writestr("labels.npy", b"")
    assert "images: expected a plain array of numbers or strings, found " in one_line_error(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": IMAGES.astype(np.int32)}, "images: expected pixels of dtype uint8 .* found int32"),
        ({"images": IMAGES.astype(complex)}, "images: expected pixels of dtype uint8 .* found complex128"),
        ({"images": IMAGES.astype(str)}, "images: expected pixels of dtype uint8 .* found <U3"),
        ({"images": np.full((6, 2, 2), 1e300)}, "expected finite pixels, 24 of 24 are not"),
        ({"images": IMAGES[:, 0, 0]}, r"expected images of shape n h w c .* found \(6, 3\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "expected at least one image"),
        ({"labels": LABELS[:5]}, "expected one label an image, found 5 labels, 6 images"),
        ({"labels": LABELS + 1.5}, "expected integer labels, found 1.5 at index 0"),
        (
            {"labels": LABELS.astype(float)},
            "expected labels of an integer dtype, found float64; all are whole",
        ),
        ({"labels": LABELS.astype(complex)}, "expected labels of an integer dtype, found complex128"),
        ({"labels": LABELS > 0}, "expected labels of an integer dtype, found bool"),
        (
            {"labels": np.zeros(6, "V2"), "class_names": None},
            r"expected labels of an integer dtype, found \|V2",
        ),
        ({"labels": LABELS - 1}, "expected labels of at least 0, found -1 at index 0"),
        ({"labels": LABELS * 10**9, "class_names": None}, "found none of class 1"),
        ({"labels": LABELS * 2**32, "class_names": None}, "found none of class 1"),
        ({"class_names": NAMES[:2]}, "expected one class name for each of the 3 classes in labels, found 2"),
        ({"class_names": NAMES[[0, 1, 0]]}, "expected different class names, found 'cat' 2 times"),
        (
            {"class_names": np.array([b"a", b"b", b"c"])},
            "class_names: expected one string a class, .* dtype .S1",
        ),
        ({"class_names": np.array("cat")}, r"class_names: expected one string a class, .* shape \(\)"),
        ({"class_names": np.arange(3)}, "class_names: expected one string a class, .* dtype int64"),
    ],
)
def test_values_that_cannot_be_used(tmp_path, changes, expected):
    path = save(tmp_path / "pets.npz", **changes)
    with pytest.raises(InputError, match=f"pets.npz: .*{expected}|pets.npz: {expected}"):
        load_npz(path)
    one_line_error(path)
