"""What the comparisons of attacks attack: a network, and images that it classifies correctly."""

from typing import NamedTuple

import numpy as np

from benchmarks.harness import Effort
from evofool import Classifier, load_classifier
from evofool.attacks import predicted_classes
from evofool.datasets import load_dataset
from evofool.errors import UsageError
from evofool.images import from_uint8

_CANDIDATES = 200
_LEVELS = 0.05
_DATASETS = {(28, 28, 1): "digits", (32, 32, 3): "cifar10"}


class Subject(NamedTuple):
    """A network and images that it classifies correctly.

    Attributes:
        classifier: the network.
        name: of the dataset's images.
        images: `[n, h, w, c]` in [0, 1].
        labels: `[n]`, of each.
        numbers: `[n]`, of each in the test set.
    """

    classifier: Classifier
    name: str
    images: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray

    def first(self, count: int) -> "Subject":
        """With so many images at most."""
        return self._replace(
            images=self.images[:count], labels=self.labels[:count], numbers=self.numbers[:count]
        )


def subjects(effort: Effort, count: int) -> list[Subject]:
    """The classifier of the command line, if there is one, and then the embedded LeNet."""
    names = ([] if effort.classifier is None else [effort.classifier]) + ["lenet-digits"]
    return [_subject(name, count) for name in names]


def ball_name(norm: str, epsilon: float) -> str:
    """The ball in words, a small one of linf in levels."""
    size = f"{255 * epsilon:g}/255" if norm == "linf" and epsilon < _LEVELS else f"{epsilon:g}"
    return f"{'L-infinity' if norm == 'linf' else 'L2'} {size}"


def _subject(name: str, count: int) -> Subject:
    """A classifier and the first correct ones of 200 images spread over its test set."""
    classifier = load_classifier(name)
    assert isinstance(classifier, Classifier)
    shape = classifier.spec.input_shape
    if shape not in _DATASETS:
        raise UsageError(f"{name} takes images of {shape}: name a classifier of MNIST's or CIFAR-10's size")
    dataset = _DATASETS[shape]
    data = load_dataset(dataset)
    total = len(data.test_images)
    numbers = np.arange(min(_CANDIDATES, total)) * total // min(_CANDIDATES, total)
    images, labels = from_uint8(data.test_images[numbers]), np.asarray(data.test_labels)[numbers]
    right = np.flatnonzero(np.asarray(predicted_classes(classifier, images)) == labels)[:count]
    shown = {"digits": "digits", "cifar10": "images of CIFAR-10"}[dataset]
    return Subject(classifier, shown, np.asarray(images)[right], labels[right], numbers[right])
