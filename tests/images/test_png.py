"""PNG files hold exactly the pixels that were written; damaged files are reported in one line."""

import numpy as np
import pytest
from PIL import Image

from evofool.errors import EvofoolError, UsageError
from evofool.images import read_png, write_png


def random_images(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (3, 5, 3), (64, 32, 3)])
def test_a_round_trip_is_exact(tmp_path, shape):
    image = random_images(shape)
    write_png(tmp_path / "image.png", image)
    np.testing.assert_array_equal(read_png(tmp_path / "image.png"), image)


def test_palettes_are_resolved(tmp_path):
    Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8)).quantize(2).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_png(tmp_path / "palette.png"), np.full((4, 4, 3), (255, 0, 0)))


def test_a_damaged_file_is_reported_in_one_line(tmp_path):
    file = tmp_path / "image.png"
    write_png(file, random_images((64, 64, 3)))
    whole = file.read_bytes()
    for damaged in (
        b"",
        b"not a picture",
        whole[:40],
        whole[: len(whole) // 2],
        whole[:60] + bytes(40) + whole[100:],
    ):
        file.write_bytes(damaged)
        with pytest.raises(EvofoolError, match=r"image\.png") as caught:
            read_png(file)
        assert "\n" not in str(caught.value)


def test_a_missing_file_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_png(tmp_path / "none.png")


def test_two_channels_are_refused(tmp_path):
    with pytest.raises(UsageError, match="channels"):
        write_png(tmp_path / "image.png", random_images((4, 4, 2)))
