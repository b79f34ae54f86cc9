"""Labelled images in two parts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

HELD_OUT_EVERY = 5
"""Where a dataset has no test set of its own, every fifth image of a class is held out."""


class Dataset(NamedTuple):
    """Labelled images, split into a training set and a test set.

    Pixels are 0 to 255 with the channels last: one for grey (0 is black), three for red, green and blue.
    A label is an index into `class_names`.
    """

    name: str
    class_names: tuple[str, ...]
    train_images: UInt8[np.ndarray, "n h w c"]
    train_labels: Int32[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m h w c"]
    test_labels: Int32[np.ndarray, " m"]

    def __repr__(self) -> str:
        counts = f"{len(self.train_images)} + {len(self.test_images)} images"
        return f"Dataset({self.name!r}, {counts}, {len(self.class_names)} classes)"


def split(
    name: str,
    class_names: tuple[str, ...],
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int32[np.ndarray, " n"],
) -> Dataset:
    """A dataset whose test set is every fifth image of each class, in the order of the images.

    Example:
        >>> images, labels = np.zeros((12, 2, 2, 1), np.uint8), np.zeros(12, np.int32)
        >>> len(split("blank", ("black", "white"), images, labels).test_images)
        2
    """
    held_out = np.zeros(len(labels), bool)
    for label in range(len(class_names)):
        held_out[np.flatnonzero(labels == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return Dataset(
        name, class_names, images[~held_out], labels[~held_out], images[held_out], labels[held_out]
    )
