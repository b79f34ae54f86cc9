"""Photographs of any size, cropped and resized for a classifier."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from evofool.images.files import decode, read_image, without_warnings

_FACTOR = 4
"""By how much a picture may shrink, grow, or lose of its area before that is worth a word."""

_SMALL = 64
"""Height or width, in pixels, above which a shrunk photograph is one still."""

_COLOURFUL = 8
"""Mean difference of the largest and the smallest channel of a pixel, of 255: grey files in RGB have less."""


def load_photograph(path: Path, input_shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """Read a photograph, crop its middle to the aspect of a classifier's images, and resize it.

    Args:
        path: a file in any format that `read_image` reads.
        input_shape: height, width and channels (1 grey, 3 RGB) of the classifier's images. A file of this
            height and width keeps every pixel.

    Returns:
        Pixels of 0 to 255. Colours become grey by their luma (ITU-R 601), grey becomes three equal channels.

    Raises:
        EvofoolError: the file cannot be read as an image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (640, 480), "white").save(f"{folder}/wide.png")
        ...     load_photograph(Path(folder, "wide.png"), (28, 28, 1)).shape
        (28, 28, 1)
    """
    return fit_photograph(read_image(path), input_shape)


def load_photographs(
    paths: Sequence[Path], input_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "n h w c"]:
    """Read many photographs by `load_photograph`, on several threads.

    Raises:
        EvofoolError: a file cannot be read as an image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (640, 480), "white").save(f"{folder}/wide.png")
        ...     load_photographs([Path(folder, "wide.png")] * 3, (28, 28, 1)).shape
        (3, 28, 28, 1)
    """
    images = np.empty((len(paths), *input_shape), np.uint8)

    def load(row: int) -> None:
        images[row] = fit_photograph(decode(paths[row]), input_shape)

    with without_warnings(), ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(load, range(len(paths))):
            pass
    return images


def fit_photograph(
    pixels: UInt8[np.ndarray, "h w c"], input_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "h2 w2 c2"]:
    """What `load_photograph` does, for pixels that are already read.

    Example:
        >>> fit_photograph(np.zeros((640, 480, 3), np.uint8), (28, 28, 1)).shape
        (28, 28, 1)
    """
    height, width, channels = input_shape
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if (picture.height, picture.width) != (height, width):
        scale = min(picture.width / width, picture.height / height)
        left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(picture).reshape(input_shape)


def alteration(pixels: UInt8[np.ndarray, "h w c"], input_shape: tuple[int, int, int]) -> str:
    """What `fit_photograph` does to a picture, if it leaves another picture than one saw before.

    That is so if colours are lost, if the picture is shrunk more than 4 times to less than 64 pixels, if it
    is enlarged more than 4 times, or if more than three quarters of its area are cut off.

    Args:
        pixels: the picture.
        input_shape: height, width and channels of the classifier's images.

    Returns:
        A few words about the change; empty if there is no such change.

    Example:
        >>> alteration(np.zeros((480, 640, 3), np.uint8), (28, 28, 1))
        '640x480 colour, shrunk to 28x28 grey'
        >>> alteration(np.zeros((480, 640, 3), np.uint8), (224, 224, 3))
        ''
    """
    (height, width, channels), (rows, columns) = input_shape, pixels.shape[:2]
    scale = min(columns / width, rows / height)
    is_cut = scale**2 * width * height * _FACTOR < rows * columns
    loses_colours = channels == 1 and np.ptp(pixels, axis=2).mean() > _COLOURFUL
    is_small = scale > _FACTOR and min(height, width) < _SMALL
    if not (is_cut or loses_colours or is_small or scale < 1 / _FACTOR):
        return ""
    how = ["cropped"] * is_cut + ["shrunk"] * (scale > 1) + ["enlarged"] * (scale < 1)
    colours = {1: "grey", 3: "colour"}
    return (
        f"{columns}x{rows} {colours[pixels.shape[2]]}, {' and '.join(how) or 'turned'} to {width}x{height} "
        f"{colours[channels]}"
    )
