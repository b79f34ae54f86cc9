"""Datasets from folders of images."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from evofool.datasets.dataset import HELD_OUT_EVERY, Dataset, split
from evofool.errors import EvofoolError, UsageError, require_printable, root_cause
from evofool.images import read_image


def load_folder(folder: Path) -> Dataset:
    """Load `FOLDER/<class name>/<image>`, or the same below both `FOLDER/train` and `FOLDER/test`.

    All images have one size, in any format that `read_image` reads. They are grey if every file is, else RGB;
    transparency is dropped and hidden files are ignored. Without a `train` and a `test` folder every fifth
    image of each class is held out.

    Raises:
        UsageError: there is no such folder, or a name that cannot be printed in one line.
        EvofoolError: the folder is laid out otherwise, or an image cannot be read.
    """
    # Not folder.is_dir(), which raises an error of its own where a name is too long.
    if not os.path.isdir(folder):
        raise UsageError(f"there is no folder {folder} to load images from")
    name = folder.resolve().name
    require_printable("the name of a dataset", name)
    if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        classes = _classes(folder)
        for class_folder in classes:
            if len(found := _visible(class_folder)) < HELD_OUT_EVERY:
                raise EvofoolError(
                    f"{class_folder} needs {HELD_OUT_EVERY} images or more, as every fifth is held out for "
                    f"testing, and has {len(found)}"
                )
        return split(name, _names(classes), *_read_classes(classes))

    train, test = _classes(folder / "train"), _classes(folder / "test")
    if odd := set(_names(train)) ^ set(_names(test)):
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
    return Dataset(name, _names(train), images[~is_test], labels[~is_test], images[is_test], test_labels)


def _classes(folder: Path) -> list[Path]:
    classes = [entry for entry in _visible(folder) if entry.is_dir()]
    if len(classes) < 2:
        had = f"only {classes[0].name!r}" if classes else "none"
        raise EvofoolError(
            f"{folder} needs a folder of images for each of two or more classes, and has {had}: "
            f"put the images at {folder}/CLASS/IMAGE"
        )
    for class_folder in classes:
        require_printable(f"a class name in {folder}", class_folder.name)
    return classes


def _names(classes: list[Path]) -> tuple[str, ...]:
    return tuple(class_folder.name for class_folder in classes)


def _visible(folder: Path) -> list[Path]:
    """The entries of a folder in the order of their names, without hidden files such as .DS_Store."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise EvofoolError(f"cannot list {folder}: {root_cause(error)}") from error


def _read_classes(
    class_folders: list[Path],
) -> tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]]:
    """All images of the folders; the label of each is the index of its folder."""
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


def _size(image: UInt8[np.ndarray, "h w c"]) -> str:
    height, width = image.shape[:2]
    return f"{width}x{height}"
