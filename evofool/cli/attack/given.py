"""The images that an attack is given: files, folders of files, or a dataset with its labels."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from evofool.attacks import predicted_classes
from evofool.classifiers import AnyClassifier, ClassifierSpec
from evofool.datasets import Dataset, load_dataset
from evofool.errors import UsageError
from evofool.files import file_name, shortened, unique
from evofool.images import alteration, fit_photograph, from_uint8, image_files, read_image

_MOST_WARNINGS = 5

Levels = UInt8[np.ndarray, "_h _w _c"]
"""A picture; others beside it may have another size."""


@dataclass(frozen=True)
class Given:
    """Images of a classifier's size.

    Attributes:
        names: one for each image, to name its files.
        images: values in [0, 1].
        predicted: how the classifier classifies each image.
        labels: the class of each image, where it is known and the classifier has it.
        altered: what was done to each picture to make it this image, if it is another picture now.
        notes: sentences about what was left out.
    """

    names: list[str]
    images: Float[Array, "n h w c"]
    predicted: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"] | None
    altered: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """What to lead each image away from: its label, or else the predicted class."""
        return self.predicted if self.labels is None else self.labels

    def only(self, chosen: Bool[np.ndarray, " n"], note: str) -> "Given":
        """The chosen ones of the images, with a note about the others."""
        return replace(
            self,
            names=[name for name, take in zip(self.names, chosen, strict=True) if take],
            images=self.images[jnp.asarray(np.flatnonzero(chosen))],
            predicted=self.predicted[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            altered=[words for words, take in zip(self.altered, chosen, strict=True) if take],
            notes=[*self.notes, note],
        )


def given_files(classifier: AnyClassifier, paths: Sequence[Path]) -> Given:
    """Files and folders of images, cropped and resized to the classifier's size.

    Raises:
        EvofoolError: a file cannot be read as an image, or a folder has none.
    """
    files = image_files(paths)
    names = unique([shortened(file.stem) for file in files])
    pictures = [read_image(file) for file in files]
    return _fitted(classifier, names, pictures, list(map(str, files)))


def given_dataset(classifier: AnyClassifier, name: str, split: str, count: int) -> Given:
    """Images of a dataset at equal intervals.

    Args:
        classifier: whose size they are fitted to.
        name: of the dataset, or the path of a folder.
        split: "test" or "train".
        count: how many.

    Raises:
        UsageError: the dataset is unknown, or has fewer images.
        EvofoolError: it is missing or damaged.
    """
    dataset = load_dataset(name)
    images, all_labels = (
        (dataset.test_images, dataset.test_labels)
        if split == "test"
        else (dataset.train_images, dataset.train_labels)
    )
    if not 0 < count <= len(images):
        raise UsageError(f"count must be 1 to {len(images)}, the images of {dataset.name} for {split}ing")
    chosen = np.arange(count) * len(images) // count
    names = [
        f"{index:05}_{file_name(dataset.class_names[label])}"
        for index, label in zip(chosen, all_labels[chosen], strict=True)
    ]
    given = _fitted(classifier, names, list(images[chosen]), names)
    labels = _labels(classifier.spec, dataset, all_labels[chosen])
    if labels is None:
        note = f"{classifier.spec.name} lacks classes of {dataset.name}, so its labels are not used"
        return replace(given, notes=[note])
    wrong = int((given.predicted != labels).sum())
    return replace(
        given,
        labels=labels,
        notes=[f"{wrong} of {count} images are misclassified before the attack, and counted apart"]
        if wrong
        else [],
    )


def _fitted(
    classifier: AnyClassifier, names: list[str], pictures: Sequence[Levels], sources: Sequence[str]
) -> Given:
    shape = classifier.spec.input_shape
    images = from_uint8(np.stack([fit_photograph(picture, shape) for picture in pictures]))
    altered = [alteration(picture, shape) for picture in pictures]
    _warn([f"{source}: {words}" for source, words in zip(sources, altered, strict=True) if words])
    predicted = np.asarray(predicted_classes(classifier, images))
    return Given(names, images, predicted, None, altered)


def _warn(alterations: Sequence[str]) -> None:
    for words in alterations[:_MOST_WARNINGS]:
        print(f"evofool: warning: {words}: what is attacked is no longer this picture", file=sys.stderr)
    if more := len(alterations[_MOST_WARNINGS:]):
        print(f"evofool: warning: the same holds of {more} more (see results.csv)", file=sys.stderr)


def _labels(
    spec: ClassifierSpec, dataset: Dataset, labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"] | None:
    """The labels as indices of the classifier's classes; None if it does not have all of the dataset's."""
    try:
        return np.array([spec.class_index(name) for name in dataset.class_names])[labels]
    except UsageError:
        return None
