"""Datasets by name, and the one function that loads them and folders alike."""

import os
from pathlib import Path

from evofool.datasets.cifar10 import cifar10_downloads, load_cifar10
from evofool.datasets.dataset import Dataset
from evofool.datasets.digits import load_digits
from evofool.datasets.downloads import cache_folder, download_all
from evofool.datasets.folder import load_folder
from evofool.datasets.mnist import load_mnist, mnist_downloads
from evofool.errors import UsageError, unknown_name
from evofool.registry import Entry, NoOptions, Registry

DATASETS = Registry(
    "dataset",
    {
        "digits": Entry(
            "1,797 handwritten digits of 28x28, enlarged from 8x8; no download (scikit-learn)",
            NoOptions,
            load_digits,
        ),
        "mnist": Entry(
            "70,000 handwritten digits of 28x28; `evofool fetch mnist` downloads it once",
            NoOptions,
            load_mnist,
        ),
        "cifar10": Entry(
            "60,000 colour images of 32x32 in 10 classes; `evofool fetch cifar10` downloads them once",
            NoOptions,
            load_cifar10,
        ),
    },
)
"""The datasets by name; `build()` loads each."""


DOWNLOADABLE = {"mnist": mnist_downloads, "cifar10": cifar10_downloads}
"""What makes the list of the files of each dataset that has to be downloaded."""


def load_dataset(name: str, *, image_size: int | None = None) -> Dataset:
    """Load a dataset by its name or from a folder.

    Args:
        name: one of `DATASETS`, or the path of a folder laid out as `load_folder` says; "mnist" is the
            dataset even where there is a folder of that name, which is "./mnist".
        image_size: crop and resize the images of a folder to this height and width, in pixels.

    Returns:
        The `Dataset`; from a folder it has at least two classes with images in both parts.

    Raises:
        UsageError: the name is unknown, there is no such folder, or a size that is not positive or is given
            for a dataset that is no folder.
        EvofoolError: the data is missing, damaged, or laid out otherwise.

    Example:
        >>> digits = load_dataset("digits")
        >>> digits.train_images.shape, digits.test_images.shape
        ((1442, 28, 28, 1), (355, 28, 28, 1))
        >>> digits.class_names[digits.test_labels[0]]
        'five'
    """
    if name in DATASETS:
        if image_size is not None:
            raise UsageError(f"the images of {name} have one size: an image size is for folders of images")
        return DATASETS[name].build()
    if os.path.exists(name) or "/" in name or os.sep in name:
        return load_folder(Path(os.path.expanduser(name)), image_size)
    raise unknown_name("dataset", name, [*DATASETS, "the path of a folder"])


def fetch(name: str, base_url: str | None = None, *, quiet: bool = False) -> Path:
    """Download a dataset into the user's cache, where `load_dataset` finds it.

    The cache is `$EVOFOOL_CACHE`, or else the system's usual place. Each download is checked against its
    known MD5 sum before it takes its place, so a failed, interrupted or wrong one changes nothing; a file
    that is already there and right is not downloaded again.

    Args:
        name: "mnist" or "cifar10".
        base_url: the address of a folder with the same files, instead of the public ones.
        quiet: show no progress bar.

    Returns:
        The folder of the files.

    Raises:
        UsageError: the name is unknown.
        EvofoolError: a file could not be downloaded or stored, or is not the right one.

    Example:
        >>> fetch("mnist", "http://localhost:8000")  # doctest: +SKIP
        PosixPath('/home/ada/.cache/evofool/mnist')
    """
    if name not in DOWNLOADABLE:
        raise unknown_name("download", name, DOWNLOADABLE)
    downloads = DOWNLOADABLE[name]()
    folder = cache_folder() / name
    download_all([each if base_url is None else each.at(base_url) for each in downloads], folder, quiet=quiet)
    return folder
