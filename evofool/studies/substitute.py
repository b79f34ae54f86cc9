"""Can a classifier be fooled by one who may only ask it?"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import tyro

from evofool.attacks import (
    FastGradientSignOptions,
    Targeted,
    Untargeted,
    fast_gradient_sign,
    predicted_classes,
)
from evofool.attacks.attack import input_gradient
from evofool.classifiers import Classifier, create_classifier
from evofool.datasets import Dataset
from evofool.errors import UsageError, require_positive, require_seed, require_share
from evofool.images import from_uint8, to_uint8
from evofool.studies.networks import NetworkOptions, members, require_networks
from evofool.studies.study import Column, Row, Spread, StudyResult, Table, reported
from evofool.studies.work import Work
from evofool.training import TrainingOptions

_STEP = 0.1
_PERCENT = "{:.1%}".format
_COLUMNS = {
    "asked": Column("asked"),
    "substitute": Column("substitute"),
    "queries": Column("queries", "{:,.0f}".format),
    "agreement": Column("agrees on held-out images", _PERCENT),
    "substitute_fooled": Column("substitute fooled", _PERCENT),
    "fooled": Column("asked one fooled", _PERCENT),
}
_PAPER = "Papernot et al. (ASIA CCS 2017), MNIST, epsilon 0.3"
_REPORTED = reported(_PAPER, asked="a service", substitute="a small CNN", queries=6400, fooled=0.8424)


@dataclass(frozen=True)
class SubstituteOptions(NetworkOptions):
    """What is asked, how often, and what learns the answers.

    Attributes:
        substitutes: networks that learn the answers, each on its own.
        first: images that are asked first, from the test set.
        rounds: how often the images are doubled, by steps of 0.1 along the substitute's gradient.
        substitute_epochs: passes over the images in each round.
        epsilon: the change of every pixel in the attack, in [0, 1].
        seed: of the substitutes.
    """

    substitutes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("lenet", "mlp")
    first: int = 150
    rounds: int = 5
    substitute_epochs: int = 10
    epsilon: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(first=self.first, rounds=self.rounds, substitute_epochs=self.substitute_epochs)
        require_share(epsilon=self.epsilon)
        require_seed(self.seed)
        if not self.substitutes:
            raise UsageError("substitutes must name one or more networks")
        require_networks(substitutes=self.substitutes)


def substitute(options: SubstituteOptions, work: Work) -> StudyResult:
    """Fool classifiers through networks that have learnt their answers (Papernot et al., ASIA CCS 2017).

    Args:
        options: what is asked, and what learns.
        work: keeps the networks.
    """
    dataset = work.load_dataset(options.dataset)
    if options.first >= len(dataset.test_images):
        raise UsageError(
            f"first must be below {len(dataset.test_images)}, the test images of {dataset.name}, as the "
            f"others are attacked, not {options.first}"
        )
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for asked in work.each(members(options, work), "classifier"):
        for network in options.substitutes:
            step = f"{asked.step}/{network}"
            model, queries = _substitute(options, work, step, asked.classifier, network, dataset)
            cells = _fooled(options, asked.classifier, model, dataset) | {"queries": float(queries)}
            found[asked.network, network].append(cells)
    rows = [Row({"asked": a, "substitute": s, **Spread.of_each(each)}) for (a, s), each in found.items()]
    note = (
        f"The first {options.first} test images are asked and what is made of them; the others are attacked."
    )
    return StudyResult({"Fooled by answers alone": Table(_COLUMNS, [*rows, _REPORTED])}, {}, [note])


def _substitute(
    options: SubstituteOptions, work: Work, step: str, asked: Classifier, network: str, dataset: Dataset
) -> tuple[Classifier, int]:
    """A network that has learnt the answers of a classifier, and how many answers."""
    images, spec = dataset.test_images[: options.first], asked.spec
    start = partial(create_classifier, network, spec.input_shape, spec.class_names, seed=options.seed)
    training = TrainingOptions(options.substitute_epochs, seed=options.seed)
    for number in range(options.rounds + 1):
        answers = np.asarray(predicted_classes(asked, from_uint8(images)), np.int32)
        learnt = dataset._replace(train_images=images, train_labels=answers)
        model, _ = work.trained(f"{step}-{number}", start, learnt, training)
        if number < options.rounds:
            gradient, _ = input_gradient(model, from_uint8(images), Targeted(answers))
            moved = jnp.clip(from_uint8(images) + _STEP * jnp.sign(gradient), 0, 1)
            images = np.concatenate([images, np.asarray(to_uint8(moved))])
    return model, len(images)


def _fooled(
    options: SubstituteOptions, asked: Classifier, model: Classifier, dataset: Dataset
) -> dict[str, float]:
    images, labels = from_uint8(dataset.test_images[options.first :]), dataset.test_labels[options.first :]
    attack = FastGradientSignOptions(options.epsilon)
    attacked = from_uint8(to_uint8(fast_gradient_sign(model, images, Untargeted(labels), attack).images))
    return {
        "agreement": float(jnp.mean(predicted_classes(model, images) == predicted_classes(asked, images))),
        "substitute_fooled": float(jnp.mean(predicted_classes(model, attacked) != labels)),
        "fooled": float(jnp.mean(predicted_classes(asked, attacked) != labels)),
    }
