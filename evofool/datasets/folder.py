"""Datasets from folders of images."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from evofool.datasets.dataset import HELD_OUT_EVERY, Dataset, split
from evofool.datasets.stored import Images, StoredImages
from evofool.errors import EvofoolError, UsageError, require_positive, require_printable, root_cause
from evofool.images import read_shape

IN_MEMORY = 2_000_000_000
"""Bytes of pixels up to which the images of a folder are decoded at once; more stay in their files."""


def load_folder(folder: Path, image_size: int | None = None) -> Dataset:
    """Load `FOLDER/<class name>/<image>`, or the same below both `FOLDER/train` and `FOLDER/test`.

    The images may be in any format that `read_image` reads. They are grey if every file is, else RGB;
    transparency is dropped and hidden files are ignored. Without a `train` and a `test` folder every fifth
    image of each class is held out. Of more than 2 GB of pixels the images of the dataset are `StoredImages`.

    Args:
        folder: where the images are.
        image_size: height and width to which all are cropped and resized, as `load_photograph` does; without
            it all must have one size.

    Raises:
        UsageError: there is no such folder, a name that cannot be printed in one line, or a size that is not
            positive.
        EvofoolError: the folder is laid out otherwise, or an image cannot be read.
    """
    require_positive(image_size=image_size)
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
        images, labels = _images_of(classes, image_size)
        whole = split(name, _names(classes), images, labels)
        return whole._replace(
            train_images=_in_memory(whole.train_images, images),
            test_images=_in_memory(whole.test_images, images),
        )

    train, test = _classes(folder / "train"), _classes(folder / "test")
    if odd := set(_names(train)) ^ set(_names(test)):
        raise EvofoolError(
            f"the class {min(odd)!r} is in only one of {folder / 'train'} and {folder / 'test'}"
        )
    for class_folder in (*train, *test):
        if not _visible(class_folder):
            raise EvofoolError(f"{class_folder} has no images")
    # Taken together, so that both parts agree in size and in channels.
    images, labels = _images_of([*train, *test], image_size)
    is_test = labels >= len(train)
    return Dataset(
        *(name, _names(train)),
        *(_in_memory(images.subset(~is_test), images), labels[~is_test]),
        *(_in_memory(images.subset(is_test), images), labels[is_test] - np.int32(len(train))),
    )


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


def _images_of(
    class_folders: list[Path], image_size: int | None
) -> tuple[StoredImages, Int32[np.ndarray, " n"]]:
    """All images of the folders, not yet decoded; the label of each is the index of its folder."""
    paths, labels = [], []
    for label, class_folder in enumerate(class_folders):
        found = _visible(class_folder)
        paths += found
        labels += [label] * len(found)
    shapes = [read_shape(path) for path in paths]
    height, width, _ = shapes[0]
    if image_size is not None:
        height = width = image_size
    else:
        for path, shape in zip(paths, shapes, strict=True):
            if shape[:2] != (height, width):
                raise EvofoolError(
                    f"{path} is {_size(shape)} and {paths[0]} is {_size(shapes[0])}: give an image size, to "
                    "which all are cropped and resized"
                )
    channels = max(shape[2] for shape in shapes)
    return StoredImages(paths, (height, width, channels)), np.array(labels, np.int32)


def _in_memory(part: Images, whole: StoredImages) -> Images:
    """A part of a dataset, decoded if the whole fits into memory."""
    return part[:] if whole.nbytes <= IN_MEMORY else part


def _size(shape: tuple[int, int, int]) -> str:
    height, width, _ = shape
    return f"{width}x{height}"
