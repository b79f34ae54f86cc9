"""Labelled images in two parts, and what makes another dataset of one."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8

from evofool.datasets.stored import Images, StoredImages
from evofool.errors import UsageError, require_choice, require_printable

HELD_OUT_EVERY = 5
"""Where a dataset has no test set of its own, every fifth image of a class is held out."""

Half = Literal["first", "second"]
"""One of two disjoint halves of a training set."""

_SEED_OF_HALVES = 2014


class Dataset(NamedTuple):
    """Labelled images, split into a training set and a test set.

    Pixels are 0 to 255 with the channels last: one for grey (0 is black), three for red, green and blue.
    They are arrays, or `StoredImages` where the arrays would be too large for the memory. A label is an index
    into `class_names`.
    """

    name: str
    class_names: tuple[str, ...]
    train_images: UInt8[Images, "n h w c"]
    train_labels: Int32[np.ndarray, " n"]
    test_images: UInt8[Images, "m h w c"]
    test_labels: Int32[np.ndarray, " m"]

    def __repr__(self) -> str:
        counts = f"{len(self.train_images)} + {len(self.test_images)} images"
        return f"Dataset({self.name!r}, {counts}, {len(self.class_names)} classes)"


def split(
    name: str,
    class_names: tuple[str, ...],
    images: UInt8[Images, "n h w c"],
    labels: Int32[np.ndarray, " n"],
    every: int = HELD_OUT_EVERY,
) -> Dataset:
    """A dataset whose test set is every fifth image of each class, in the order of the images.

    Args:
        name: what it is called.
        class_names: one name per class.
        images: of both parts.
        labels: the class of each image.
        every: which images of a class are held out, every fifth by default.

    Example:
        >>> images, labels = np.zeros((12, 2, 2, 1), np.uint8), np.zeros(12, np.int32)
        >>> len(split("blank", ("black", "white"), images, labels).test_images)
        2
    """
    held_out = np.zeros(len(labels), bool)
    for label in range(len(class_names)):
        held_out[np.flatnonzero(labels == label)[every - 1 :: every]] = True
    return Dataset(
        *(name, class_names),
        *(_chosen(images, ~held_out), labels[~held_out]),
        *(_chosen(images, held_out), labels[held_out]),
    )


def half(dataset: Dataset, which: Half) -> Dataset:
    """The dataset with one of two disjoint halves of its training set; the test set stays.

    Szegedy et al., "Intriguing properties of neural networks", ICLR 2014, section 4.2, train networks on
    disjoint halves to show that adversarial examples of one fool the other. The images of each class are cut
    in two at random, always in the same way; of an odd number the first half has one more.

    Args:
        dataset: what is cut.
        which: "first" or "second".

    Raises:
        UsageError: an unknown half, or a class of fewer than two training images.

    Example:
        >>> from evofool.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> len(digits.train_images), [len(half(digits, each).train_images) for each in ("first", "second")]
        (1442, [723, 719])
    """
    require_choice(("first", "second"), half=which)
    # The words of a bit generator are the same in all versions of NumPy, those of its shuffles are not.
    words = np.random.PCG64(_SEED_OF_HALVES).random_raw(len(dataset.train_labels))
    chosen = np.zeros(len(words), bool)
    for label, name in enumerate(dataset.class_names):
        members = np.flatnonzero(dataset.train_labels == label)
        if len(members) < 2:
            raise UsageError(f"{dataset.name} has {len(members)} image(s) of {name!r} to train on: no halves")
        shuffled = members[np.argsort(words[members])]
        larger = -(-len(members) // 2)
        chosen[shuffled[:larger] if which == "first" else shuffled[larger:]] = True
    return dataset._replace(
        train_images=_chosen(dataset.train_images, chosen), train_labels=dataset.train_labels[chosen]
    )


def with_extra_class(
    dataset: Dataset,
    name: str,
    images: UInt8[Images, "n h w c"],
    *,
    every: int | None = HELD_OUT_EVERY,
) -> Dataset:
    """The dataset with one more class, of which every fifth image is held out for testing.

    Nguyen, Yosinski & Clune (CVPR 2015, section 3.5) retrain networks with a class of the images that fool
    them.

    Args:
        dataset: what is extended.
        name: of the class, which gets the label after the last.
        images: of the size of the others, 0 to 255.
        every: which of them are held out, every fifth by default; None for none.

    Raises:
        UsageError: the dataset has the class, or images of another shape, or too few to hold any out.

    Example:
        >>> from evofool.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> with_extra_class(digits, "noise", np.zeros((10, 28, 28, 1), np.uint8))
        Dataset('digits', 1450 + 357 images, 11 classes)
    """
    require_printable("a class name", name)
    if name in dataset.class_names:
        raise UsageError(f"{dataset.name} has a class {name!r} already")
    if images.shape[1:] != dataset.train_images.shape[1:]:
        raise UsageError(
            f"the images of {name!r} are {images.shape[1:]} (height, width, channels), those of "
            f"{dataset.name} {dataset.train_images.shape[1:]}"
        )
    if every is not None and len(images) < every:
        raise UsageError(
            f"{name!r} needs {every} images or more, as one in {every} is held out for testing, and has "
            f"{len(images)}"
        )
    label = len(dataset.class_names)
    class_names = (*dataset.class_names, name)
    own = split(name, class_names, images, np.full(len(images), label, np.int32), every or len(images) + 1)
    return Dataset(
        *(dataset.name, class_names),
        *(_joined(dataset.train_images, own.train_images), np.append(dataset.train_labels, own.train_labels)),
        *(_joined(dataset.test_images, own.test_images), np.append(dataset.test_labels, own.test_labels)),
    )


def _chosen(images: Images, which: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]) -> Images:
    return images.subset(which) if isinstance(images, StoredImages) else images[which]


def _joined(first: Images, second: Images) -> Images:
    if isinstance(first, StoredImages) and isinstance(second, StoredImages):
        return first.joined(second)
    return np.concatenate([first[:], second[:]])
