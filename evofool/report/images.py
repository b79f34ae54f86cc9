"""PNG files to arrays and back, exactly; a picture is either wholly on the disk or not at all."""

import io
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from evofool.errors import EvofoolError, UsageError
from evofool.files import replacing


def write_png(path: str | os.PathLike[str], image: UInt8[np.ndarray, "h w c"]) -> None:
    """Save an image as a PNG, exactly: grey if it has one channel, RGB if it has three.

    Args:
        path: the file; one that is there is replaced in one step.
        image: pixels in 0..255 with 1 or 3 channels.

    Raises:
        UsageError: the image has no pixels, or neither 1 nor 3 channels.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/grey.png", np.full((28, 28, 1), 7, np.uint8))
        ...     read_png(f"{folder}/grey.png").shape
        (28, 28, 1)
    """
    require_drawable(image.shape)
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def read_png(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w c"]:
    """Load a PNG: one channel if it is grey, three otherwise (a palette or transparency is resolved).

    Args:
        path: the file.

    Returns:
        Pixels in 0..255 with 1 or 3 channels.

    Raises:
        EvofoolError: the file is there but is not a whole PNG.
        OSError: the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/colour.png", np.full((2, 3, 3), 255, np.uint8))
        ...     read_png(f"{folder}/colour.png").shape
        (2, 3, 3)
    """
    encoded = Path(path).read_bytes()
    try:
        picture = Image.open(io.BytesIO(encoded), formats=["PNG"])
        pixels = np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
    except Exception as error:  # Pillow tells of a damaged file in half a dozen types, SyntaxError among them
        raise EvofoolError(f"{os.fspath(path)} is not a PNG that can be read; make it again") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def require_drawable(shape: tuple[int, ...]) -> None:
    """Raise `UsageError` unless images of this shape, `(..., h, w, c)`, can be drawn."""
    if 0 in shape or shape[-1] not in (1, 3):
        raise UsageError(f"an image needs pixels and 1 (grey) or 3 (RGB) channels, not shape {shape}")
