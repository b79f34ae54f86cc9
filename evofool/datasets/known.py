"""Datasets by name, and the one function that loads them and folders alike."""

import os
from pathlib import Path

from evofool.datasets.dataset import Dataset
from evofool.datasets.digits import load_digits
from evofool.datasets.folder import load_folder
from evofool.datasets.mnist import load_mnist
from evofool.errors import unknown_name
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
    },
)
"""The datasets by name; `build()` loads each."""


def load_dataset(name: str) -> Dataset:
    """Load a dataset by its name or from a folder.

    Args:
        name: one of `DATASETS`, or the path of a folder laid out as `load_folder` says; "mnist" is the
            dataset even where there is a folder of that name, which is "./mnist".

    Returns:
        The `Dataset`; from a folder it has at least two classes with images in both parts.

    Raises:
        UsageError: the name is unknown or there is no such folder.
        EvofoolError: the data is missing, damaged, or laid out otherwise.

    Example:
        >>> digits = load_dataset("digits")
        >>> digits.train_images.shape, digits.test_images.shape
        ((1442, 28, 28, 1), (355, 28, 28, 1))
        >>> digits.class_names[digits.test_labels[0]]
        'five'
    """
    if name in DATASETS:
        return DATASETS[name].build()
    if os.path.exists(name) or "/" in name or os.sep in name:
        return load_folder(Path(os.path.expanduser(name)))
    raise unknown_name("dataset", name, [*DATASETS, "the path of a folder"])
