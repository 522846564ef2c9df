import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import read_image, read_images
from jaxcnn.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)


def saved(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def image_or_error(path):
    try:
        return read_image(path)
    except InputError as error:
        return error


@pytest.mark.parametrize(
    ("name", "pixels", "expected"),
    [
        ("a.png", GREY > 99, (GREY > 99)[..., None]),
        ("a.png", GREY, GREY[..., None] / 255),
        ("a.png", DEEP, DEEP[..., None] / 65535),
        ("a.png", RGB, RGB / 255),
        ("a.png", RGBA, RGBA / 255),
        ("a.bmp", RGB, RGB / 255),
        ("a.ppm", RGB, RGB / 255),
        ("a.gif", GREY, None),
        ("a.tiff", DEEP, DEEP[..., None] / 65535),
        ("a.tiff", DEEP.astype(">u2"), DEEP[..., None] / 65535),
    ],
)
def test_reads_each_kind(tmp_path, name, pixels, expected):
    image = read_image(saved(tmp_path / name, pixels))
    assert image.dtype == np.float32
    if expected is None:  # a palette of greys
        expected = np.repeat(pixels[..., None], 3, axis=2) / 255
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_a_jpeg_is_near_its_original(tmp_path):
    smooth = np.linspace(0, 255, 16 * 16).reshape(16, 16).astype(np.uint8)
    image = read_image(saved(tmp_path / "a.jpg", smooth))
    np.testing.assert_allclose(image[..., 0], smooth / 255, atol=0.05)


@pytest.mark.parametrize(("mode", "channels"), [("P", 3), ("LA", 4), ("CMYK", 3)])
def test_other_layouts_become_colour(tmp_path, mode, channels):
    image = read_image(saved(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), RGB, mode))
    assert image.shape == (5, 7, channels)


def test_a_palette_with_a_transparent_colour_has_opacity(tmp_path):
    image = read_image(saved(tmp_path / "a.png", RGB, "P", transparency=0))
    assert image.shape == (5, 7, 4)


def test_a_palette_is_looked_up(tmp_path):
    few = np.where(GREY[..., None] > 99, [255, 0, 0], [0, 0, 255]).astype(np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", few, "P")), few / np.float32(255))


@pytest.mark.parametrize("pixels", [GREY.astype(np.float32), GREY.astype(np.int32)])
def test_pixels_without_a_full_scale(tmp_path, pixels):
    path = saved(tmp_path / "a.tiff", pixels)
    with pytest.raises(
        InputError, match=r"a\.tiff: expected a black-and-white, .* found Pillow's mode '[FI]'; save it as"
    ):
        read_image(path)


def test_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png: expected an image, found no such file$"):
        read_image(tmp_path / "a.png")


def test_a_directory(tmp_path):
    with pytest.raises(InputError, match=r"expected an image, found a directory$"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: expected an intact image \(PNG, JPEG, .*\), found: .+$"):
        read_image(path)


# What is cut off a PNG's last 20 bytes is the end mark and checksums; a GIF's last 2 bytes are its end mark.
@pytest.mark.parametrize(
    ("suffix", "tail"), [("png", 20), ("jpg", 0), ("gif", 2), ("bmp", 2), ("webp", 0), ("tiff", 0)]
)
def test_truncated_anywhere(tmp_path, suffix, tail):
    path = saved(tmp_path / f"whole.{suffix}", RGB)
    whole, cut = path.read_bytes(), tmp_path / f"cut.{suffix}"
    for length in range(0, len(whole) - tail, 7):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"^[^\n]*expected an intact image[^\n]*$"):
            read_image(cut)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "ppm"])
def test_a_changed_byte_gives_an_image_or_one_line(tmp_path, suffix):
    path = saved(tmp_path / f"whole.{suffix}", RGB)
    whole, changed = path.read_bytes(), tmp_path / f"changed.{suffix}"
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= RNG.integers(1, 256, dtype=np.uint8)
        changed.write_bytes(damaged)
        read = image_or_error(changed)
        assert "\n" not in str(read) if isinstance(read, InputError) else read.ndim == 3


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb(tmp_path, side):
    """Pillow warns of 10⁸ pixels and refuses 4·10⁸; both are refused here."""
    path = saved(tmp_path / "a.bmp", GREY)
    header = bytearray(path.read_bytes())
    header[18:26] = side.to_bytes(4, "little") * 2
    path.write_bytes(header)
    with pytest.raises(InputError, match=rf"found: Image size \({side**2} pixels\) exceeds limit"):
        read_image(path)


def test_reads_several_files(tmp_path):
    grey, rgb = saved(tmp_path / "grey.png", GREY), saved(tmp_path / "rgb.png", RGB)
    np.savez(tmp_path / "many.npz", images=np.stack([RGB, RGB[::-1]]))
    np.savez(tmp_path / "flat.npz", images=GREY[None])
    many, flat = tmp_path / "many.npz", tmp_path / "flat.npz"
    names, images = read_images([grey, many, str(rgb), flat])
    assert names == [f"{grey}", f"{many}[0]", f"{many}[1]", f"{rgb}", f"{flat}[0]"]
    assert [image.shape for image in images] == [(5, 7, 1), (5, 7, 3), (5, 7, 3), (5, 7, 3), (5, 7, 1)]
    assert all(image.dtype == np.float32 for image in images)
    np.testing.assert_array_equal(images[1], images[3])
    np.testing.assert_array_equal(images[0], images[4])


def test_no_paths():
    with pytest.raises(InputError, match=r"^expected the paths of images, found none$"):
        read_images([])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (RGB[0], r"expected images of shape n h w c \(or n h w in a file\), found \(7, 3\)"),
        (RGB[None].astype(np.int64), "images: expected pixels of dtype uint8 .* found int64"),
        (np.full((1, 2, 2), np.nan), "expected finite pixels, 4 of 4 are not"),
        (RGB[None][:0], "expected at least one image"),
    ],
)
def test_an_archive_that_cannot_be_used(tmp_path, images, message):
    np.savez(tmp_path / "many.npz", images=images)
    with pytest.raises(InputError, match=rf"many\.npz: {message}"):
        read_images([tmp_path / "many.npz"])


def test_an_archive_without_images(tmp_path):
    np.savez(tmp_path / "many.npz", labels=np.arange(3))
    with pytest.raises(InputError, match=r"many\.npz: expected a member 'images\.npy', found \['labels\.npy'\]$"):
        read_images([tmp_path / "many.npz"])
