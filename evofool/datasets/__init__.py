"""The images that classifiers learn from: two sets of handwritten digits, or a folder of the user's own.

Everything here is NumPy: what a classifier makes of the pixels (their scale, their device) is its own affair.
"""

import gzip
import hashlib
import math
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from jaxtyping import Int32, UInt8
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from evofool.errors import EvofoolError, UsageError, root_cause, unknown_name
from evofool.images import read_image

DATASETS = {
    "digits": "1,797 handwritten digits of 28x28, enlarged from 8x8; nothing to download (scikit-learn)",
    "mnist": "70,000 handwritten digits of 28x28; `evofool fetch mnist` downloads it once",
}
"""The names that `load_dataset` knows beside the path of a folder, each with a line about it."""


class Dataset(NamedTuple):
    """Labelled images, split into those to learn from and those to test on.

    Pixels are 0 to 255 with the channels last: one for grey (0 is black), three for red, green and blue.
    A label is an index into `class_names`.
    """

    name: str
    class_names: tuple[str, ...]
    train_images: UInt8[np.ndarray, "n h w c"]
    train_labels: Int32[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m h w c"]
    test_labels: Int32[np.ndarray, " m"]


def load_dataset(name: str) -> Dataset:
    """Load the images of a known dataset, or those in a folder.

    - "digits": the test set of the UCI optical recognition dataset (Alpaydin & Kaynak, "Optical recognition
      of handwritten digits", UCI Machine Learning Repository, 1998), which scikit-learn carries. The 8x8
      images are enlarged to 20x20 and framed with 4 black pixels, the layout of MNIST.
    - "mnist": 60,000 and 10,000 images of 28x28 (LeCun, Bottou, Bengio & Haffner, "Gradient-based learning
      applied to document recognition", Proceedings of the IEEE 86(11), 1998), from `$EVOFOOL_DATA/mnist`
      or otherwise from the cache that `fetch` fills.
    - a folder: `FOLDER/<class name>/<image>`, in any format that Pillow reads, all of one size. With both
      `FOLDER/train` and `FOLDER/test` the classes lie in each of these. The images are grey if every file
      is, else RGB; transparency is dropped, and hidden files are passed over.

    Where there is no given split, every fifth image of each class is held out, so it is always the same.

    Args:
        name: "digits", "mnist", or the path of a folder; a folder called "mnist" is "./mnist".

    Returns:
        The `Dataset`, which has at least two classes, each with images in both parts if from a folder.

    Raises:
        UsageError: the name is unknown or there is no such folder.
        EvofoolError: the data is not there, is damaged, or is not laid out as described above.

    Example:
        >>> digits = load_dataset("digits")
        >>> digits.train_images.shape, digits.test_images.shape
        ((1442, 28, 28, 1), (355, 28, 28, 1))
        >>> digits.class_names[digits.test_labels[0]]
        'five'
    """
    if name == "digits":
        return _load_digits()
    if name == "mnist":
        return _load_mnist()
    if os.path.exists(name) or "/" in name or os.sep in name:
        return _load_folder(Path(os.path.expanduser(name)))
    raise unknown_name("dataset", name, [*DATASETS, "the path of a folder"])


def fetch(name: str, base_url: str | None = None, *, quiet: bool = False) -> Path:
    """Download a dataset into the user's cache, where `load_dataset` finds it.

    The cache is `$EVOFOOL_CACHE`, or otherwise the system's usual place. Each file is checked against the
    MD5 sum that is known for it before it takes its place, so that a download that fails, is cut off or is
    wrong changes nothing; a file that is already there and right is not downloaded again.

    Args:
        name: "mnist", the one dataset that has to be downloaded.
        base_url: the address under which the four .gz files lie, instead of the public mirrors.
        quiet: show no progress bar.

    Returns:
        The folder that holds the files.

    Raises:
        UsageError: the name is unknown.
        EvofoolError: a file could not be downloaded or stored, or is not the right one.

    Example:
        >>> fetch("mnist", "http://localhost:8000")  # doctest: +SKIP
        PosixPath('/home/ada/.cache/evofool/mnist')
    """
    if name != "mnist":
        raise unknown_name("download", name, ["mnist"])
    folder = _cached_mnist()
    mirrors = MNIST_MIRRORS if base_url is None else (base_url,)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        for file_name, md5 in MNIST_MD5.items():
            present = _plain_or_gz(folder, file_name)
            if present is None or not _has_md5(present, md5):
                _download(file_name, md5, folder, mirrors, _ProgressBar(progress, file_name))
    return folder


def read_idx(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "..."]:
    """Read one file in MNIST's IDX format, plain or packed with gzip (the content decides, not the name).

    The format is two zero bytes, the type of the values (8: unsigned bytes), the number of dimensions, each
    dimension as a big-endian 32-bit integer, and then the values in C order.

    Args:
        path: a file of images (3 dimensions) or of labels (1 dimension).

    Returns:
        The values, as `(n, height, width)` for images and `(n,)` for labels; 0 to 255, read-only.

    Raises:
        EvofoolError: the file cannot be read or unpacked, is not such a file, is empty, or is not exactly
            as long as its header says.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
        ...     read_idx(path)
        array([5, 0, 4], dtype=uint8)
    """
    try:
        content = _unpacked(Path(path).read_bytes())
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
        raise EvofoolError(f"{path} is cut off: {len(content)} bytes, and its header alone takes {start}")
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


DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# MNIST's layout: the digit in a box of 20x20, centred in 28x28 (LeCun et al. 1998, section III.A).
BOX = 20
MARGIN = 4
HELD_OUT_EVERY = 5

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


def _load_digits() -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EvofoolError("digits needs scikit-learn: run `pip install scikit-learn`") from error
    bunch = load_digits()
    images = np.stack([_framed(image / 16) for image in bunch.images])[..., None]
    labels = bunch.target.astype(np.int32)
    return _split("digits", DIGIT_NAMES, images, labels)


def _framed(image: np.ndarray) -> np.ndarray:
    """An image of 0 to 1 in MNIST's layout: enlarged to the box and framed with black."""
    # In floating point, because bytes would be rounded before and clipped within the interpolation.
    enlarged = Image.fromarray(image.astype(np.float32)).resize((BOX, BOX), Image.Resampling.BICUBIC)
    pixels = np.rint(255 * np.clip(np.asarray(enlarged), 0, 1)).astype(np.uint8)
    return np.pad(pixels, MARGIN)


def _split(name: str, class_names: tuple[str, ...], images: np.ndarray, labels: np.ndarray) -> Dataset:
    """Hold out every fifth image of each class; the rule is our own, so no other package can change it."""
    held_out = np.zeros(len(labels), bool)
    for label in range(len(class_names)):
        held_out[np.flatnonzero(labels == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return Dataset(
        name, class_names, images[~held_out], labels[~held_out], images[held_out], labels[held_out]
    )


def _load_mnist() -> Dataset:
    folders = [_cached_mnist()]
    if data := os.environ.get("EVOFOOL_DATA"):
        folders.insert(0, Path(data) / "mnist")
    for folder in folders:
        # All four from one folder: files of two origins need not belong together.
        paths = [path for file_name in MNIST_MD5 if (path := _plain_or_gz(folder, file_name))]
        if len(paths) == len(MNIST_MD5):
            return Dataset("mnist", DIGIT_NAMES, *_mnist_part(*paths[:2]), *_mnist_part(*paths[2:]))
    raise EvofoolError(
        f"the four files of MNIST are not in {' or in '.join(map(str, folders))}: run `evofool fetch mnist`, "
        "or set EVOFOOL_DATA to a folder that has them in mnist/"
    )


def _mnist_part(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
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


def cache_folder() -> Path:
    """Where evofool keeps what it can make or fetch again: `$EVOFOOL_CACHE`, or the system's usual place."""
    return Path(os.environ.get("EVOFOOL_CACHE") or pooch.os_cache("evofool"))


def _cached_mnist() -> Path:
    return cache_folder() / "mnist"


def _plain_or_gz(folder: Path, file_name: str) -> Path | None:
    candidates = (folder / file_name, folder / f"{file_name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _has_md5(path: Path, md5: str) -> bool:
    try:
        return _md5(_unpacked(path.read_bytes())) == md5
    except (OSError, EOFError, zlib.error):
        return False


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _download(
    file_name: str, md5: str, folder: Path, mirrors: Iterable[str], progress_bar: "_ProgressBar"
) -> None:
    """Put the file, unpacked and checked, into the folder from the first mirror that has the right one."""
    downloader = pooch.HTTPDownloader(progressbar=progress_bar, chunk_size=1 << 16)
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file_name}.gz"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Within the folder, so that the last step is a rename on one disk: all or nothing.
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                packed, unpacked = Path(scratch, "packed"), Path(scratch, "unpacked")
                downloader(url, str(packed), None)
                content = _unpacked(packed.read_bytes())
                if _md5(content) != md5:
                    raise ValueError(f"not the right file (its MD5 is {_md5(content)}, not {md5})")
                unpacked.write_bytes(content)
                unpacked.replace(folder / file_name)
            return
        except (OSError, EOFError, ValueError, zlib.error) as error:
            failures.append(f"{url}: {root_cause(error)}")
            progress_bar.reset()
    raise EvofoolError(
        f"cannot fetch {'; '.join(failures)}. Download {file_name}.gz by hand into {folder}, "
        "or name another mirror with --url"
    )


class _ProgressBar:
    """A task of rich's progress display, as the object that pooch reports to; pooch sets `total`."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.total: int | None = None
        self._progress = progress
        self._task = progress.add_task(label, total=None)

    def update(self, n: int) -> None:
        # A server that does not tell the length gives a total of 0.
        self._progress.update(self._task, advance=n, total=self.total or None)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.refresh()


def _load_folder(folder: Path) -> Dataset:
    # Not folder.is_dir(), which raises an error of its own where a name is too long.
    if not os.path.isdir(folder):
        raise UsageError(f"there is no folder {folder} to load images from")
    name = folder.resolve().name
    if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        classes = _classes(folder)
        for class_folder in classes:
            if len(found := _visible(class_folder)) < HELD_OUT_EVERY:
                raise EvofoolError(
                    f"{class_folder} needs {HELD_OUT_EVERY} images or more, as every fifth is held out for "
                    f"testing, and has {len(found)}"
                )
        class_names = tuple(class_folder.name for class_folder in classes)
        return _split(name, class_names, *_read_classes(classes))

    train, test = _classes(folder / "train"), _classes(folder / "test")
    class_names = tuple(class_folder.name for class_folder in train)
    if odd := set(class_names) ^ {class_folder.name for class_folder in test}:
        raise EvofoolError(
            f"the class {min(odd)!r} is in only one of {folder / 'train'} and {folder / 'test'}"
        )
    for class_folder in (*train, *test):
        if not _visible(class_folder):
            raise EvofoolError(f"{class_folder} has no images")
    # Read together, so that both parts agree in size and in channels.
    images, labels = _read_classes([*train, *test])
    is_test = labels >= len(train)
    test_labels = labels[is_test] - np.int32(len(train))
    return Dataset(name, class_names, images[~is_test], labels[~is_test], images[is_test], test_labels)


def _classes(folder: Path) -> list[Path]:
    classes = [entry for entry in _visible(folder) if entry.is_dir()]
    if len(classes) < 2:
        had = f"only {classes[0].name!r}" if classes else "none"
        raise EvofoolError(
            f"{folder} needs a folder of images for each of two or more classes, and has {had}: "
            f"put the images at {folder}/CLASS/IMAGE"
        )
    return classes


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, in the order of the names, less hidden files such as .DS_Store."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise EvofoolError(f"cannot list {folder}: {root_cause(error)}") from error


def _read_classes(class_folders: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """All images of the folders, with the index of its folder as each image's label."""
    paths, labels = [], []
    for label, class_folder in enumerate(class_folders):
        found = _visible(class_folder)
        paths += found
        labels += [label] * len(found)

    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            raise EvofoolError(
                f"{path} is {_size(image)} and {paths[0]} is {_size(images[0])}: "
                "resize the images to one size first"
            )
    channels = max(image.shape[2] for image in images)
    shape = (*images[0].shape[:2], channels)
    return np.stack([np.broadcast_to(image, shape) for image in images]), np.array(labels, np.int32)


def _size(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    return f"{width}x{height}"
