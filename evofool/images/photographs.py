"""Photographs of any size, cropped and resized for a classifier."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from evofool.images.files import read_image


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


def fit_photograph(
    pixels: UInt8[np.ndarray, "h w c"], input_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "h2 w2 c2"]:
    """The same for pixels that are already read.

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
