"""Reading images of the common formats, and writing PNG files whole or not at all."""

import io
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from evofool.errors import EvofoolError, UsageError, root_cause
from evofool.files import replacing

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
"""The formats that are read. Pillow knows more, some of which it opens with other programs."""


_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
"""What files of these formats are called; in a folder, others are left out."""


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The files among some paths, and in place of each folder the images in it, in the order of their names.

    Hidden files, other files and folders inside the folder are left out.

    Raises:
        EvofoolError: a folder has no images, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.JPG", "notes.txt"):
        ...         Path(folder, name).touch()
        ...     [path.name for path in image_files([Path(folder), Path("c.png")])]
        ['a.JPG', 'b.png', 'c.png']
    """
    files: list[Path] = []
    for path in paths:
        if not os.path.isdir(path):  # not path.is_dir(), which raises where a name is too long
            files.append(path)
            continue
        try:
            found = sorted(each for each in path.iterdir() if each.suffix.lower() in _ENDINGS)
        except OSError as error:
            raise EvofoolError(f"cannot list {path}: {error.strerror}") from error
        visible = [each for each in found if not each.name.startswith(".")]
        if not visible:
            raise EvofoolError(
                f"the folder {path} has no images: none of its files ends in {', '.join(_ENDINGS)}"
            )
        files += visible
    return files


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
    """Load a PNG: one channel if it is grey, three otherwise (a palette is resolved, transparency dropped).

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
    except Exception as error:  # Pillow raises half a dozen types for a damaged file, SyntaxError among them
        raise EvofoolError(f"{os.fspath(path)} is not a PNG that can be read; make it again") from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_image(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """The pixels of an image file, turned upright as the camera's orientation says.

    Args:
        path: a PNG, JPEG, GIF, BMP, WebP or TIFF file. Transparency is dropped, and 16 bits are cut to 8.

    Returns:
        0 to 255, as `(h, w, 1)` if the file is grey and `(h, w, 3)` otherwise.

    Raises:
        EvofoolError: the file cannot be read, is of another format, empty or damaged, has pixels of 32 bits,
            or more pixels than Pillow takes for safe (89 million).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (5, 4)).save(f"{folder}/black.jpg")
        ...     read_image(Path(folder, "black.jpg")).shape
        (4, 5, 3)
    """
    with without_warnings():
        return decode(path)


def decode(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """The same for a thread inside `without_warnings`, which is of the whole process."""
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            # By hand, because Pillow's own conversion clips 16 bits to 8 instead of scaling them.
            pixels = (np.asarray(upright) >> 8).astype(np.uint8)
        else:
            pixels = np.asarray(upright.convert("L" if _is_grey(image) else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_shape(path: Path) -> tuple[int, int, int]:
    """The shape of the pixels that `read_image` would read, from the head of the file alone.

    Args:
        path: a file in any format that `read_image` reads.

    Returns:
        Height, width and channels: 1 if the file is grey, 3 otherwise.

    Raises:
        EvofoolError: as `read_image`, but damage behind the head is not found.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (5, 4)).save(f"{folder}/black.jpg")
        ...     read_shape(Path(folder, "black.jpg"))
        (4, 5, 3)
    """
    with without_warnings(), _opened(path) as image:
        # Pillow turns a TIFF itself. Of a PNG it would decode the pixels, to look for EXIF behind them.
        has_exif = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        turned = has_exif and image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
        width, height = reversed(image.size) if turned else image.size
        return height, width, 1 if _is_grey(image) else 3


_SIDEWAYS = (5, 6, 7, 8)
"""The camera's orientations in which height and width are exchanged."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow only warns of an image of more than 89 million pixels, and of damage that it repairs.

    Inside the block the first is an error and the second is silent.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file whose range of values is known; every failure in the block is an `EvofoolError`."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode in ("I", "F"):
                raise ValueError("its pixels have 32 bits, whose range is unknown: save it with 8 bits first")
            yield image
    # Pillow's decoders raise OSError, SyntaxError, struct.error, IndexError and others for a damaged file.
    except Exception as error:
        raise EvofoolError(f"cannot read {path} as an image: {root_cause(error)}") from error


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA") or image.mode.startswith("I;16")


def require_drawable(shape: tuple[int, ...]) -> None:
    """Raise `UsageError` unless images of this shape, `(..., h, w, c)`, can be drawn."""
    if 0 in shape or shape[-1] not in (1, 3):
        raise UsageError(f"an image needs pixels and 1 (grey) or 3 (RGB) channels, not shape {shape}")
