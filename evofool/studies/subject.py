"""The images that attacks of a study change: those that all of its classifiers classify alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from evofool.attacks import predicted_classes
from evofool.classifiers import Classifier
from evofool.errors import EvofoolError, UsageError
from evofool.images import from_uint8
from evofool.studies.pictures import Pictures


class Labelled(NamedTuple):
    """Images of a classifier's size with the class of each, as an index."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Subject:
    """Images that several classifiers classify alike.

    Attributes:
        pictures: the images, of any size.
        labels: the class of each, as an index into the names of the classes.
    """

    pictures: Pictures
    labels: Int[np.ndarray, " n"]

    def of(self, classifier: Classifier) -> Labelled:
        """The images of a classifier's size."""
        return Labelled(self.pictures.fitted(classifier).images, self.labels)


def require_same_classes(classifiers: Sequence[Classifier]) -> None:
    """Raise `UsageError` unless all classifiers have the classes of the first."""
    first = classifiers[0].spec
    for other in classifiers:
        if other.spec.class_names != first.class_names:
            raise UsageError(
                f"{other.spec.name} has other classes than {first.name}, so they cannot be compared"
            )


def alike(pictures: Pictures, classifiers: Sequence[Classifier], count: int) -> Subject:
    """The first images that all classifiers classify alike, and rightly where their class is known.

    Only of these can it be said that a change fooled a classifier.

    Args:
        pictures: the images.
        classifiers: of the same classes.
        count: how many images at most.

    Raises:
        UsageError: the classifiers differ in their classes.
        EvofoolError: there is no such image.

    Example:
        >>> from evofool import load_classifier
        >>> from evofool.studies.pictures import load_pictures
        >>> lenet = load_classifier("lenet-digits")
        >>> alike(load_pictures(["digits(count=20)"])[0], [lenet], 10).labels.shape
        (10,)
    """
    require_same_classes(classifiers)
    names = classifiers[0].spec.class_names
    predicted = np.array(
        [predicted_classes(each, from_uint8(pictures.fitted(each).images)) for each in classifiers]
    )
    same = (predicted == predicted[0]).all(axis=0)
    if all(name in names for name in pictures.classes):
        same &= predicted[0] == np.array([names.index(str(name)) for name in pictures.classes])
    chosen = np.flatnonzero(same)[:count]
    if len(chosen) == 0:
        raise EvofoolError(f"no image of {pictures.name} is classified alike by all classifiers")
    kept = Pictures(
        pictures.name,
        [pictures.pictures[index] for index in chosen],
        [pictures.classes[index] for index in chosen],
    )
    return Subject(kept, predicted[0][chosen])
