"""CIFAR-10: its download and its files."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from evofool.datasets.dataset import Dataset, split
from evofool.datasets.downloads import Download, data_folders
from evofool.errors import EvofoolError, require_printable, root_cause

_IMAGES = 10_000
"""In each file."""

_SHAPE = (32, 32, 3)
_RECORD = 1 + 32 * 32 * 3
"""Bytes: a label, then all red, all green and all blue values, each by rows."""

_HELD_OUT_EVERY = 10

_TRAINING = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_NAMES = "batches.meta.txt"

CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Of the archive, as on https://www.cs.toronto.edu/~kriz/cifar.html."""


def load_cifar10() -> Dataset:
    """Load colour images of 32x32 from `$EVOFOOL_DATA/cifar10` or from the cache that `fetch` fills.

    Krizhevsky, "Learning multiple layers of features from tiny images", 2009. As many of the five batches of
    10,000 training images are loaded as are there. Without the batch of test images every tenth image of each
    class is held out.

    Raises:
        EvofoolError: there is no batch, or a file is damaged.
    """
    folders = data_folders("cifar10")
    for folder in folders:
        batches = [path for name in _TRAINING if (path := folder / name).is_file()]
        if not batches:
            continue
        class_names = _read_names(folder / _NAMES)
        images, labels = _read_batches(batches, len(class_names))
        if not (folder / _TEST).is_file():
            return split("cifar10", class_names, images, labels, every=_HELD_OUT_EVERY)
        test = _read_batches([folder / _TEST], len(class_names))
        return Dataset("cifar10", class_names, images, labels, *test)
    raise EvofoolError(
        f"the batches of CIFAR-10 are not in {' or in '.join(map(str, folders))}: run `evofool fetch "
        "cifar10`, or set EVOFOOL_DATA to a folder that has them in cifar10/"
    )


def cifar10_downloads() -> tuple[Download, ...]:
    """The original archive of the binary version."""
    return (
        Download(
            "cifar-10-binary.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            f"md5:{CIFAR10_MD5}",
            members=(*_TRAINING, _TEST, _NAMES),
        ),
    )


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise EvofoolError(f"cannot read the class names in {path}: {root_cause(error)}") from error
    if len(set(names)) != 10 or len(names) != 10:
        raise EvofoolError(f"{path} should name 10 classes, one a line, and names {len(set(names))}")
    for name in names:
        require_printable(f"a class name in {path}", name)
    return names


def _read_batches(
    paths: list[Path], classes: int
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int32[np.ndarray, " n"]]:
    records = np.concatenate([_read_batch(path, classes) for path in paths])
    height, width, channels = _SHAPE
    images = records[:, 1:].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].astype(np.int32)


def _read_batch(path: str | os.PathLike[str], classes: int) -> UInt8[np.ndarray, "n bytes"]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise EvofoolError(f"cannot read {path}: {root_cause(error)}") from error
    expected = _IMAGES * _RECORD
    if len(content) != expected:
        state = "cut off" if len(content) < expected else "damaged"
        raise EvofoolError(f"{path} is {state}: it has {len(content)} bytes, not {expected}")
    records = np.frombuffer(content, np.uint8).reshape(_IMAGES, _RECORD)
    if (largest := records[:, 0].max()) >= classes:
        raise EvofoolError(f"{path} is damaged: its labels go up to {largest}, not {classes - 1}")
    return records
