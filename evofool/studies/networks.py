"""The networks that a study trains, and how they are related."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from evofool.classifiers import Classifier, create_classifier
from evofool.classifiers.networks import NetworkLogits
from evofool.datasets import Dataset
from evofool.studies.work import Work
from evofool.training import TrainingOptions


class Member(NamedTuple):
    """A classifier of a comparison.

    Attributes:
        name: in tables.
        classifier: with its weights.
        network: its architecture, and its preprocessing.
        data: what it has learnt from.
        test_error: the share of the test images that it gets wrong; None if it was not measured.
    """

    name: str
    classifier: Classifier
    network: str
    data: str
    test_error: float | None = None


def trained_networks(
    work: Work,
    dataset: Dataset,
    networks: Sequence[str],
    *,
    starts: int = 1,
    epochs: int,
    data: str = "all",
) -> list[Member]:
    """Train each network from some starts, as steps of a study.

    Args:
        work: of the study.
        dataset: what they learn.
        networks: names of networks.
        starts: how often each is trained, with the seeds 0, 1, ...
        epochs: passes over the training images.
        data: the part of the dataset that this is.
    """
    members = []
    for network in work.each(networks, "network"):
        for seed in range(starts):
            name = f"{network} {seed}" if data == "all" else f"{network} {seed}, {data}"
            start = partial(
                create_classifier,
                network,
                dataset.train_images.shape[1:],
                dataset.class_names,
                name=name,
                seed=seed,
            )
            options = TrainingOptions(epochs=epochs, seed=seed)
            classifier, accuracy = work.trained(f"networks/{name.replace(' ', '-')}", start, dataset, options)
            members.append(Member(name, classifier, network, data, 1 - accuracy))
    return members


def member_of(classifier: Classifier) -> Member:
    """A classifier that was made elsewhere."""
    logits = classifier.logits_function
    network = logits.network if isinstance(logits, NetworkLogits) else classifier.spec.name
    return Member(classifier.spec.name, classifier, network, classifier.spec.training_data.partition(",")[0])


def halves(dataset: Dataset) -> list[Dataset]:
    """The dataset with two disjoint halves of its training images (Szegedy et al., ICLR 2014, section 4.2).

    Every second image of each class belongs to the same half.
    """
    first = np.zeros(len(dataset.train_labels), bool)
    for label in range(len(dataset.class_names)):
        first[np.flatnonzero(dataset.train_labels == label)[::2]] = True
    return [
        dataset._replace(
            name=f"{dataset.name}, {which} half",
            train_images=dataset.train_images[part],
            train_labels=dataset.train_labels[part],
        )
        for which, part in (("first", first), ("second", ~first))
    ]


def relation(source: Member, target: Member) -> str:
    """How two classifiers are related.

    Example:
        >>> from evofool import create_classifier
        >>> linear = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> one, other = Member("a", linear, "linear", "all"), Member("b", linear, "linear", "all")
        >>> relation(one, one), relation(one, other)
        ('itself', 'same network, other start')
    """
    if source.name == target.name:
        return "itself"
    if source.network != target.network:
        return "other network" if source.data == target.data else "other network, other half"
    return "same network, other start" if source.data == target.data else "same network, other half"
