"""Does one change fool every classifier on most images, and can it be learnt away?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np
from jaxtyping import Float

from evofool.attacks import (
    UniversalOptions,
    Untargeted,
    fooling_rate,
    predicted_classes,
    universal_perturbation,
)
from evofool.attacks.universal import Improvement
from evofool.classifiers import Classifier
from evofool.datasets import DATASETS, Dataset
from evofool.errors import (
    UsageError,
    require_choice,
    require_not_negative,
    require_positive,
    require_seed,
    require_share,
)
from evofool.images import fit_photograph, from_uint8
from evofool.report import contact_sheet
from evofool.report.attacks import amplified
from evofool.studies.networks import Member, NetworkOptions, members
from evofool.studies.pictures import Pictures, load_pictures, of_dataset
from evofool.studies.study import Column, Figure, Row, Spread, StudyResult, Table, reported
from evofool.studies.work import Work
from evofool.training import TrainingOptions

_PAPER = "Moosavi-Dezfooli et al. (CVPR 2017)"
_PERCENT = "{:.1%}".format
_ROUNDS = {
    "network": Column("network"),
    "round": Column("fine-tuned"),
    "fooled": Column("held-out images whose class changes", _PERCENT),
    "before": Column("by the change of the round before", _PERCENT),
    "signs": Column("by random signs", _PERCENT),
    "test_error": Column("test error", "{:.2%}".format),
}
_ROUNDS_REPORTED = (
    reported(f"{_PAPER}, ImageNet", network="VGG-F", round="0 times", fooled=0.937),
    reported(f"{_PAPER}, ImageNet", network="VGG-F", round="again and again", fooled=0.80),
)
_LEAST_REPORTED = 0.53
_FINE_TUNING_RATE = 2e-4


@dataclass(frozen=True)
class UniversalStudyOptions(NetworkOptions):
    """The change, and what it is computed on.

    Attributes:
        count: images, at most, that it is computed on: training images of the dataset, or half of those in a
            folder.
        held_out: other images, at most, that it is tried on: test images, or the other half.
        epsilon: the most that a pixel changes, in [0, 1].
        improvement: gradient: of the loss on a batch of images; deepfool: on one image after the other, as in
            the paper.
        passes: the most passes over the images.
        rounds: how often each network that was trained for the study is fine-tuned on changed images, and
            another change computed for it.
        fine_tuning: epochs of each round.
        seeds: how often each change is computed.
        seed: the first seed.
    """

    count: int = 1000
    held_out: int = 10_000
    epsilon: float = 0.2
    improvement: Improvement = "gradient"
    passes: int = 20
    rounds: int = 0
    fine_tuning: int = 2
    seeds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            count=self.count,
            held_out=self.held_out,
            passes=self.passes,
            fine_tuning=self.fine_tuning,
            seeds=self.seeds,
        )
        require_not_negative(rounds=self.rounds)
        require_share(epsilon=self.epsilon)
        require_choice(get_args(Improvement), improvement=self.improvement)
        require_seed(self.seed)


def universal(options: UniversalStudyOptions, work: Work) -> StudyResult:
    """Compute one change for most images, and try it on other images and on other classifiers.

    Args:
        options: the classifiers, and the change.
        work: keeps the networks and the changes.

    Raises:
        UsageError: something is unknown.
        EvofoolError: data is missing or damaged.
    """
    learnt, held_out = _images(options, work)
    compared = members(options, work)
    rates: dict[tuple[str, str], list[float]] = {}
    pictures = []
    for seed in work.each(range(options.seed, options.seed + options.seeds), "seed"):
        for source in work.each(compared, "classifier"):
            change = universal_change(
                options, work, f"{source.step}/seed-{seed}", source.classifier, learnt, seed
            )
            pictures.append(amplified(change))
            for target in compared:
                images = held_out.fitted(source.classifier).images
                rate = fooling_rate(target.classifier, images, change)
                rates.setdefault((source.name, target.name), []).append(rate)
        for target in compared:
            signs = random_signs(options, target.classifier, seed)
            rate = fooling_rate(target.classifier, held_out.fitted(target.classifier).images, signs)
            rates.setdefault(("random signs", target.name), []).append(rate)
    tables = {"Held-out images whose class one change alters": _matrix(compared, rates)}
    trained = [member for member in compared if member.test_error is not None]
    if options.rounds and trained:
        dataset = work.load_dataset(options.dataset)
        rows = [
            Row({"network": name, "round": f"{number} times", **cells})
            for name in options.networks
            for number, cells in enumerate(_rounds(options, work, dataset, name, trained, learnt, held_out))
        ]
        tables["Fine-tuned on changed images"] = Table(_ROUNDS, [*rows, *_ROUNDS_REPORTED])
    own = np.array([np.mean(rates[source.name, source.name]) for source in compared])
    shape = compared[0].classifier.spec.input_shape
    sheet: Figure = partial(
        contact_sheet,
        np.stack([fit_photograph(picture, shape) for picture in pictures[: len(compared)]]),
        [member.name for member in compared],
        own,
        subtitle="amplified; below each, the share of held-out images whose class it changes",
    )
    title = f"Universal changes of at most {options.epsilon:g} per pixel"
    return StudyResult(tables, {title: sheet}, _notes(options, learnt, held_out))


def _images(options: UniversalStudyOptions, work: Work) -> tuple[Pictures, Pictures]:
    """The images that changes are computed on, and the images that they are tried on."""
    if options.networks or options.dataset in DATASETS:
        dataset = work.load_dataset(options.dataset)
        return (
            of_dataset(dataset, count=options.count, split="train"),
            of_dataset(dataset, count=options.held_out),
        )
    everything = load_pictures([options.dataset])[0]
    half = len(everything.pictures) // 2
    if half == 0:
        raise UsageError(f"{options.dataset} has one image, and two or more are needed")
    parts = (slice(min(half, options.count)), slice(half, half + options.held_out))
    first, second = (
        Pictures(everything.name, everything.pictures[part], everything.classes[part]) for part in parts
    )
    return first, second


def universal_change(
    options: UniversalStudyOptions,
    work: Work,
    step: str,
    classifier: Classifier,
    learnt: Pictures,
    seed: int,
) -> Float[np.ndarray, "h w c"]:
    """Compute one change for many images, as a step of a study.

    Args:
        options: its size, and how it is improved.
        work: of the study.
        step: the name of the step.
        classifier: what it fools.
        learnt: the images.
        seed: of their order.
    """

    def compute() -> dict[str, np.ndarray]:
        images = from_uint8(learnt.fitted(classifier).images)
        goal = Untargeted(predicted_classes(classifier, images))
        result = universal_perturbation(
            classifier,
            images,
            goal,
            UniversalOptions(
                options.epsilon,
                improvement=options.improvement,
                fooling_rate=1.0,
                passes=options.passes,
                seed=seed,
            ),
        )
        return {"change": np.asarray(result.perturbation)}

    return work.arrays(step, compute)["change"]


def random_signs(
    options: UniversalStudyOptions, classifier: Classifier, seed: int
) -> Float[np.ndarray, "h w c"]:
    """A random change of the same size."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], classifier.spec.input_shape)
    return (options.epsilon * signs).astype(np.float32)


def _rounds(
    options: UniversalStudyOptions,
    work: Work,
    dataset: Dataset,
    name: str,
    trained: Sequence[Member],
    learnt: Pictures,
    held_out: Pictures,
) -> list[dict[str, Spread]]:
    """What each round of fine-tuning leaves of a network's changes, over its starts."""
    found: list[list[dict[str, float]]] = [[] for _ in range(options.rounds + 1)]
    for member in work.each([member for member in trained if member.network == name], f"start of {name}"):
        classifier, error, before = member.classifier, member.test_error or 0.0, None
        for number in range(options.rounds + 1):
            step = f"{member.step}/round-{number}"
            if before is not None:
                changed = _half_changed(dataset, before, number)
                training = TrainingOptions(
                    epochs=options.fine_tuning, learning_rate=_FINE_TUNING_RATE, seed=number
                )
                classifier, accuracy = work.trained(
                    f"{step}-network", partial(_itself, classifier), changed, training
                )
                error = 1 - accuracy
            change = universal_change(options, work, step, classifier, learnt, options.seed)
            signs = random_signs(options, classifier, options.seed)
            cells = {"fooled": change, "signs": signs} | ({} if before is None else {"before": before})
            images = held_out.fitted(classifier).images
            rates = {key: fooling_rate(classifier, images, each) for key, each in cells.items()}
            found[number].append(rates | {"test_error": error})
            before = change
    return [Spread.of_each(of_starts) for of_starts in found]


def _itself(classifier: Classifier) -> Classifier:
    return classifier


def _half_changed(dataset: Dataset, change: Float[np.ndarray, "h w c"], seed: int) -> Dataset:
    """The dataset with the change added to a random half of its training images."""
    chosen = np.random.default_rng(seed).random(len(dataset.train_images)) < 0.5
    images = np.array(dataset.train_images)
    images[chosen] = np.rint(np.clip(images[chosen] + 255 * change, 0, 255)).astype(np.uint8)
    return dataset._replace(train_images=images)


def _matrix(compared: Sequence[Member], rates: dict[tuple[str, str], list[float]]) -> Table:
    columns = {"made for": Column("made for")}
    columns |= {member.name: Column(member.name, _PERCENT) for member in compared}
    rows = [
        Row({"made for": name} | {each.name: Spread.of(rates[name, each.name]) for each in compared})
        for name in [*(member.name for member in compared), "random signs"]
    ]
    of_paper = reported(
        f"{_PAPER}, ImageNet, epsilon 10/255",
        **{"made for": "VGG-19; any other network", compared[0].name: f"more than {_LEAST_REPORTED:.0%}"},
    )
    return Table(columns, [*rows, of_paper])


def _notes(options: UniversalStudyOptions, learnt: Pictures, held_out: Pictures) -> list[str]:
    return [
        f"Each change is computed on {len(learnt.pictures):,} images and tried on "
        f"{len(held_out.pictures):,} others; the paper's on 10,000 and 50,000 of ImageNet.",
        f"At most {options.epsilon:g} per pixel, by {options.improvement}; the paper's 10/255 by DeepFool.",
        "Fine-tuning adds the last change to half of the training images; the paper's adds one of ten.",
    ]
