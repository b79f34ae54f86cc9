"""Reading images: the formats, and one line for every file that is refused."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evofool.errors import EvofoolError
from evofool.images import (
    image_files,
    load_photograph,
    load_photographs,
    read_image,
    read_png,
    read_shape,
    to_uint8,
    write_png,
)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
def test_the_common_formats_are_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"it.{suffix}"
    Image.new("RGB", (8, 6), (200, 30, 90)).save(path)
    pixels = read_image(path)
    assert pixels.shape == (6, 8, 3)
    np.testing.assert_allclose(pixels[3, 4], (200, 30, 90), atol=8)


@pytest.mark.parametrize("suffix", ["eps", "ppm", "ico", "pdf"])
def test_other_formats_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"it.{suffix}"
    Image.new("RGB", (32, 32), (200, 30, 90)).save(path)
    path = path.rename(tmp_path / f"{suffix}.png")
    with pytest.raises(EvofoolError, match=f"cannot read .*{suffix}.png as an image") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [60, 10])
def test_too_many_pixels_are_refused(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its limit Pillow warns, above twice that it raises."""
    path = tmp_path / "large.png"
    write_png(path, np.zeros((10, 10, 1), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings(record=True) as caught, pytest.raises(EvofoolError, match="exceeds limit"):
        read_image(path)
    assert caught == []


def test_a_camera_held_sideways_gives_an_upright_image(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 10))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "it.jpg", exif=exif)
    assert read_image(tmp_path / "it.jpg").shape == (20, 10, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "gif", "bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_head_of_a_file_tells_the_shape_of_its_pixels(suffix: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / f"it.{suffix}"
    # Pillow turns a TIFF or not, depending on its mode.
    for orientation in (1,) if suffix == "tiff" else (1, 3, 6, 8):
        picture = Image.new(mode, (20, 10))
        exif = picture.getexif()
        exif[0x0112] = orientation
        try:
            picture.save(path, exif=exif)
        except (OSError, KeyError):
            pytest.skip(f"{suffix} has no {mode}")
        assert read_shape(path) == read_image(path).shape


def test_many_photographs_are_those_one_by_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        write_png(path, random.integers(256, size=(*random.integers(5, 30, 2), 3), dtype=np.uint8))
    expected = [load_photograph(path, (8, 10, 1)) for path in paths]
    np.testing.assert_array_equal(load_photographs(paths, (8, 10, 1)), expected)
    paths[4].write_bytes(b"not an image")
    with pytest.raises(EvofoolError, match=f"cannot read {paths[4]} as an image"):
        load_photographs(paths, (8, 10, 1))


def test_every_level_survives_a_png(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    write_png(tmp_path / "it.png", levels)
    np.testing.assert_array_equal(read_png(tmp_path / "it.png"), levels)
    np.testing.assert_array_equal(to_uint8(levels / 255), levels)


def test_a_photograph_keeps_its_middle(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    write_png(tmp_path / "it.png", pixels)
    assert load_photograph(tmp_path / "it.png", (10, 10, 1)).min() == 255


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    with pytest.raises(EvofoolError, match="has no images: none of its files ends in"):
        image_files([tmp_path])
