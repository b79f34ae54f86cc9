"""The networks that a study trains, and how they are related."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple, get_args

import tyro

from evofool.classifiers import Classifier, create_classifier, resized
from evofool.classifiers.networks import NETWORKS, NetworkLogits
from evofool.datasets import Dataset, Half, half
from evofool.errors import UsageError, require_positive
from evofool.files import file_name, unique
from evofool.studies.pictures import COUNT, Pictures, load_pictures, of_dataset
from evofool.studies.subject import require_same_classes
from evofool.studies.work import Work
from evofool.training import TrainingOptions


@dataclass(frozen=True)
class NetworkOptions:
    """The classifiers that are compared.

    Attributes:
        dataset: what the networks learn, and what is changed: a name or a folder. If no network is trained, a
            folder of photographs will do.
        networks: networks to train for the study.
        starts: how often each is trained, from other starts.
        epochs: passes over the training images.
        classifiers: trained classifiers to compare: names or files.

    Raises:
        UsageError: a value is out of range, or there is nothing to compare.
    """

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    networks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("lenet", "mlp")
    starts: int = 2
    epochs: int = 5
    classifiers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE|COMPOSITION...")] = ()

    def __post_init__(self) -> None:
        require_positive(starts=self.starts, epochs=self.epochs)
        if not self.networks and not self.classifiers:
            raise UsageError("there must be one or more networks or classifiers")
        require_networks(networks=self.networks)


def require_networks(**options: Sequence[str]) -> None:
    """Raise `UsageError` naming the first option that has an unknown network, or the same twice.

    Example:
        >>> require_networks(substitutes=("linear", "mlp"))
    """
    for option, networks in options.items():
        for network in networks:
            NETWORKS.named(network)
        if len(set(networks)) != len(networks):
            raise UsageError(f"{option} must name each network once")


FOOLING = "fooling"
"""The class of images that fooled a network."""


class Member(NamedTuple):
    """A classifier of a comparison.

    Attributes:
        name: in tables.
        step: what the names of its steps begin with.
        classifier: with its weights.
        network: its architecture, and its preprocessing.
        data: the dataset that it has learnt from; empty if unknown.
        part: which part of it: "all", "first half" or "second half".
        test_error: the share of the test images that it gets wrong; None if it was not measured.
    """

    name: str
    step: str
    classifier: Classifier
    network: str
    data: str
    part: str = "all"
    test_error: float | None = None


def members(
    options: NetworkOptions, work: Work, *, parts: bool = False, same_classes: bool = False
) -> list[Member]:
    """The classifiers to compare, with those that are trained as steps of a study.

    Args:
        options: which.
        work: of the study.
        parts: train each network also on both halves of the dataset.
        same_classes: all must have the same classes.

    Raises:
        UsageError: a name is unknown, a network does not take the images, or the classes differ.
        EvofoolError: data is missing or damaged.
    """
    loaded = [member_of(work.load_classifier(name)) for name in options.classifiers]
    found: list[Member] = []
    untrained: list[Classifier] = []
    if options.networks:
        dataset = work.load_dataset(options.dataset)
        shape, names = dataset.train_images.shape[1:], dataset.class_names
        untrained = [create_classifier(each, shape, names, seed=None) for each in options.networks]
    # What cannot be compared is found before anything is trained.
    compared = [*untrained, *(each.classifier for each in loaded)]
    _require_same_channels(compared)
    if same_classes:
        require_same_classes(compared)
    if options.networks:
        train = partial(trained_networks, work, networks=options.networks, epochs=options.epochs)
        found += train(dataset, starts=options.starts)
        if parts:
            for which in get_args(Half):
                found += train(half(dataset, which), part=f"{which} half")
    found += loaded
    # Two files may hold classifiers of one name.
    unique_names = unique([each.name for each in found])
    steps = unique([each.step for each in found])
    return [
        each._replace(name=name, step=step)
        for each, name, step in zip(found, unique_names, steps, strict=True)
    ]


def _require_same_channels(classifiers: Sequence[Classifier]) -> None:
    first = classifiers[0].spec
    for other in classifiers:
        if other.spec.input_shape[2] != first.input_shape[2]:
            raise UsageError(
                f"{other.spec.name} takes images of {other.spec.input_shape[2]} channels (1 grey, 3 RGB) and "
                f"{first.name} of {first.input_shape[2]}: one cannot be shown the other's images"
            )


def pictures_of(options: NetworkOptions, work: Work, count: int) -> Pictures:
    """The images that are changed: test images where a network is trained, else anything that has images.

    Args:
        options: which dataset or folder.
        work: of the study.
        count: how many are to be classified alike; a thousand images or more are tried.
    """
    if options.networks:
        return of_dataset(work.load_dataset(options.dataset), count=max(count, COUNT))
    return load_pictures([options.dataset])[0]


def of_size(target: Member, source: Member) -> Classifier:
    """A classifier of the images that another takes, which it resizes if need be."""
    return resized(target.classifier, *source.classifier.spec.input_shape[:2])


def trained_networks(
    work: Work,
    dataset: Dataset,
    networks: Sequence[str],
    *,
    starts: int = 1,
    epochs: int,
    part: str = "all",
) -> list[Member]:
    """Train each network from some starts, as steps of a study.

    Args:
        work: of the study.
        dataset: what they learn.
        networks: names of networks.
        starts: how often each is trained, with the seeds 0, 1, ...
        epochs: passes over the training images.
        part: which part of the dataset this is.
    """
    shape, names = dataset.train_images.shape[1:], dataset.class_names
    members = []
    for network in work.each(networks, "network"):
        for seed in range(starts):
            name = f"{network} {seed}" if part == "all" else f"{network} {seed}, {part}"
            start = partial(create_classifier, network, shape, names, name=name, seed=seed)
            options = TrainingOptions(epochs=epochs, seed=seed)
            step = name.replace(" ", "-")
            classifier, accuracy = work.trained(f"networks/{step}", start, dataset, options)
            members.append(Member(name, step, classifier, network, dataset.name, part, 1 - accuracy))
    return members


def member_of(classifier: Classifier) -> Member:
    """A classifier that was made elsewhere."""
    logits = classifier.logits_function
    network = logits.network if isinstance(logits, NetworkLogits) else classifier.spec.name
    name, data = classifier.spec.name, classifier.spec.training_data.partition(",")[0]
    return Member(name, file_name(name) or "_", classifier, network, data)


def relation(source: Member, target: Member) -> str:
    """How two classifiers are related.

    Example:
        >>> from evofool import create_classifier
        >>> linear = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> one, other = (Member(name, name, linear, "linear", "digits") for name in ("a", "b"))
        >>> relation(one, one), relation(one, other)
        ('itself', 'same network, other start')
    """
    if source.name == target.name:
        return "itself"
    same = source.network == target.network
    network = "same network" if same else "other network"
    if (source.data, source.part) == (target.data, target.part):
        return f"{network}, other start" if same else network
    halves = source.data == target.data and "all" not in (source.part, target.part)
    return f"{network}, {'other half' if halves else 'other training images'}"
