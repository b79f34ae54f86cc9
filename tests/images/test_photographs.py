"""Photographs of any size and format become what a classifier takes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evofool.errors import EvofoolError
from evofool.images import alteration, load_photograph, write_png


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA", "I;16"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 30, 3)])
def test_a_photograph_of_any_mode_becomes_what_the_classifier_takes(
    tmp_path: Path, mode: str, shape: tuple[int, int, int]
) -> None:
    path = tmp_path / ("it.tif" if mode in ("CMYK", "I;16") else "it.png")
    Image.new(mode, (61, 47)).save(path)
    loaded = load_photograph(path, shape)
    assert loaded.shape == shape
    assert loaded.dtype == np.uint8


def test_the_middle_of_a_photograph_is_taken(tmp_path: Path) -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 20:80] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (load_photograph(tmp_path / "wide.png", (10, 10, 3)) == 200).all()


def test_an_image_of_the_right_size_stays_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    write_png(tmp_path / "it.png", pixels)
    np.testing.assert_array_equal(load_photograph(tmp_path / "it.png", (28, 28, 1)), pixels)


def test_a_photograph_lies_as_the_camera_was_held(tmp_path: Path) -> None:
    picture = Image.fromarray(
        np.repeat(np.array([[[255], [0]]], np.uint8), 3, axis=2).repeat(8, 0).repeat(8, 1)
    )
    exif = picture.getexif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "it.png", exif=exif)
    loaded = load_photograph(tmp_path / "it.png", (8, 16, 3))
    assert loaded[:, :8].max() == 0
    assert loaded[:, 8:].min() == 255


def test_a_missing_photograph_is_said(tmp_path: Path) -> None:
    with pytest.raises(EvofoolError, match="No such file"):
        load_photograph(tmp_path / "none.png", (28, 28, 1))


@pytest.mark.parametrize(
    ("picture", "input_shape", "words"),
    [
        ((480, 640, 3), (28, 28, 1), "640x480 colour, shrunk to 28x28 grey"),
        ((480, 640, 1), (28, 28, 1), "640x480 grey, shrunk to 28x28 grey"),
        ((3000, 4000, 3), (224, 224, 3), ""),  # a photograph still
        ((300, 300, 3), (64, 64, 3), ""),
        ((300, 300, 3), (63, 63, 3), "300x300 colour, shrunk to 63x63 colour"),
        ((28, 28, 1), (224, 224, 3), "28x28 grey, enlarged to 224x224 colour"),
        ((56, 56, 1), (224, 224, 3), ""),
        ((224, 1000, 3), (224, 224, 3), "1000x224 colour, cropped to 224x224 colour"),
        ((224, 800, 3), (224, 224, 3), ""),
        ((28, 28, 3), (28, 28, 1), "28x28 colour, turned to 28x28 grey"),
        ((28, 28, 1), (28, 28, 1), ""),
    ],
)
def test_what_makes_another_picture_of_a_picture_is_told(
    picture: tuple[int, int, int], input_shape: tuple[int, int, int], words: str
) -> None:
    pixels = np.zeros(picture, np.uint8)
    pixels[..., 0] = 200  # red where there are colours
    assert alteration(pixels, input_shape) == words


def test_grey_stored_as_rgb_with_the_noise_of_a_jpeg_loses_no_colours() -> None:
    grey = np.full((28, 28, 3), 100, np.uint8)
    assert alteration(grey + np.random.default_rng(0).integers(0, 5, grey.shape, np.uint8), (28, 28, 1)) == ""
