"""MNIST: its download and its files."""

import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from evofool.datasets.dataset import Dataset
from evofool.datasets.digits import DIGIT_NAMES
from evofool.datasets.downloads import Download, data_folders, plain_or_gz, unpacked
from evofool.errors import EvofoolError, root_cause

# MD5 of the unpacked files: a mirror may pack them anew, and some servers unpack on the way.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)


def load_mnist() -> Dataset:
    """Load 60,000 and 10,000 images from `$EVOFOOL_DATA/mnist` or from the cache that `fetch` fills.

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proceedings of
    the IEEE 86(11), 1998.

    Raises:
        EvofoolError: the files are missing or damaged.
    """
    folders = data_folders("mnist")
    for folder in folders:
        # All four from one folder: files of two origins need not belong together.
        paths = [path for file_name in MNIST_MD5 if (path := plain_or_gz(folder, file_name))]
        if len(paths) == len(MNIST_MD5):
            return Dataset("mnist", DIGIT_NAMES, *_load_part(*paths[:2]), *_load_part(*paths[2:]))
    raise EvofoolError(
        f"the four files of MNIST are not in {' or in '.join(map(str, folders))}: run `evofool fetch mnist`, "
        "or set EVOFOOL_DATA to a folder that has them in mnist/"
    )


def mnist_downloads() -> tuple[Download, ...]:
    """The four files, each from the first mirror that has it."""
    return tuple(
        Download(file_name, [f"{mirror}{file_name}.gz" for mirror in MNIST_MIRRORS], f"md5:{md5}")
        for file_name, md5 in MNIST_MD5.items()
    )


def read_idx(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "..."]:
    """Read one file in MNIST's IDX format, plain or packed with gzip (the content decides, not the name).

    The format is two zero bytes, the type of the values (8: unsigned bytes), the number of dimensions, each
    dimension as a big-endian 32-bit integer, and then the values in C order.

    Args:
        path: a file of images (3 dimensions) or of labels (1 dimension).

    Returns:
        The values, as `(n, height, width)` for images and `(n,)` for labels; 0 to 255, read-only.

    Raises:
        EvofoolError: the file cannot be read or unpacked, is in another format, is empty, or does not have
            the length that its header gives.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        ...     read_idx(path)
        array([5, 0, 4], dtype=uint8)
    """
    try:
        content = unpacked(Path(path).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise EvofoolError(f"cannot read {path}: {root_cause(error)}") from error

    dimensions = {b"\0\0\x08\x01": 1, b"\0\0\x08\x03": 3}.get(content[:4])
    if dimensions is None:
        raise EvofoolError(
            f"{path} is not a file of MNIST: it starts with 0x{content[:4].hex()}, "
            "not with 0x00000803 (images) or 0x00000801 (labels)"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise EvofoolError(f"{path} is cut off: it has {len(content)} bytes, and its header alone {start}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    promised = math.prod(shape)
    if promised == 0:
        raise EvofoolError(f"{path} is empty: its header gives the shape {shape}")
    if len(content) - start != promised:
        raise EvofoolError(
            f"{path} is damaged: its header promises {promised} bytes of data, and "
            f"{len(content) - start} follow"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _load_part(
    images_path: Path, labels_path: Path
) -> tuple[UInt8[np.ndarray, "n 28 28 1"], Int32[np.ndarray, " n"]]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.shape[1:] != (28, 28):
        raise EvofoolError(f"{images_path} should hold images of 28x28, and its shape is {images.shape}")
    if labels.ndim != 1:
        raise EvofoolError(f"{labels_path} should hold labels, and its shape is {labels.shape}: images")
    if len(images) != len(labels):
        raise EvofoolError(
            f"{images_path} and {labels_path} do not belong together: "
            f"{len(images)} images and {len(labels)} labels"
        )
    if labels.max() > 9:
        raise EvofoolError(f"{labels_path} should hold labels of 0 to 9, and has a {labels.max()}")
    return images[..., None], labels.astype(np.int32)
