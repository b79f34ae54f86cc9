"""Do defences help, against one who does not know of them and against one who does?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import tyro

from evofool.classifiers import Classifier, confidences_in_batches, create_classifier, load_classifier
from evofool.classifiers.composed import rewritten
from evofool.datasets import Dataset, with_extra_class
from evofool.errors import UsageError, require_positive, require_seed
from evofool.images import from_uint8
from evofool.report import contact_sheet, format_confidence
from evofool.studies.evolving import evolved
from evofool.studies.fooling import Fooling, FoolingOptions, fool, see
from evofool.studies.networks import FOOLING, require_networks
from evofool.studies.pictures import COUNT, of_dataset
from evofool.studies.study import Column, Figure, Row, Spread, StudyResult, Table, reported
from evofool.studies.subject import alike
from evofool.studies.work import Work
from evofool.training import TrainingOptions

_TRAINED = ("plain", "other", "third", "adversarial", "retrained")
_DEFENCES = (
    "plain",
    "median_filtered(plain)",
    "blurred(plain)",
    "eight_bit(plain, 2)",
    "smoothed(plain, 0.25)",
    "ensemble(plain, other, third)",
    "ensemble(plain, other, third, vote=majority)",
    "rejecting(plain, 0.99)",
    "adversarial",
    "retrained",
)
_PERCENT = "{:.1%}".format
_CLEAN = {
    "defence": Column("defence"),
    "error": Column("clean error", "{:.2%}".format),
    "rejected": Column("false rejections", "{:.2%}".format),
}
_FOOLED = {
    "defence": Column("defence"),
    "way": Column("way"),
    "carried": Column("fooled, made for plain", _PERCENT),
    "adaptive": Column("fooled, made for the defence", _PERCENT),
    "confidence": Column("mean confidence where fooled", format_confidence),
    "evaluations": Column("images scored until 99%", "{:,.0f}".format),
}
_PAPER = "Goodfellow, Shlens & Szegedy (ICLR 2015, section 6): maxout, epsilon 0.25; 89.4% without"
_THREAD = "question-and-answer thread"
_REPORTED = (
    reported(_THREAD, defence="ensemble", adaptive="harder"),
    reported(_THREAD, defence="smoothing", adaptive="harder"),
    reported(_THREAD, defence="rejecting", adaptive="no answer"),
    reported(_PAPER, defence="adversarial", way="fgsm", adaptive=0.179),
)


@dataclass(frozen=True)
class DefencesOptions(FoolingOptions):
    """What is defended, and how.

    Attributes:
        dataset: what the network learns, and what is changed: a name or a folder.
        network: which network.
        epochs: passes over the training images.
        defences: compositions of the networks that are trained: plain; other and third, from other starts;
            adversarial, with half of the loss on images changed by epsilon; retrained, with images that
            evolved for plain as one more class. Other classifiers may be named too.
        seeds: how often all of it is done, from other starts.
        seed: the first seed.
    """

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    network: str = "lenet"
    epochs: int = 5
    defences: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASSIFIER...")] = _DEFENCES
    seeds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(epochs=self.epochs, seeds=self.seeds)
        require_seed(self.seed)
        require_networks(network=(self.network,))
        if not self.defences:
            raise UsageError("defences must name one or more")


def defences(options: DefencesOptions, work: Work) -> StudyResult:
    """Fool a network and what is to defend it, in several ways, with and without knowledge of the defence.

    Args:
        options: the network, its defences, and how they are fooled.
        work: keeps the networks and the images.

    Raises:
        UsageError: something is unknown.
        EvofoolError: data is missing or damaged.
    """
    dataset = work.load_dataset(options.dataset)
    _require_defences(options, work, dataset)
    clean: dict[str, list[dict[str, float]]] = {name: [] for name in options.defences}
    fooled: dict[tuple[str, str], list[dict[str, float]]] = {}
    figures: dict[str, Figure] = {}
    for seed in work.each(range(options.seed, options.seed + options.seeds), "seed"):
        known = _networks(options, work, dataset, seed)
        built = {name: load_classifier(name, known=known) for name in options.defences}
        plain = known["plain"]
        subject = alike(of_dataset(dataset, count=max(options.count, COUNT)), [plain], options.count)
        images, labels = subject.of(plain)
        made = partial(fool, work, images=images, labels=labels, options=options, seed=seed)
        classes = len(dataset.class_names)
        for name, defence in work.each(list(built.items()), "defence"):
            clean[name].append(_clean(defence, dataset))
            for way in options.ways:
                step = f"seed-{seed}/{way}-for"
                carried = made(step=f"{step}-plain", way=way, classifier=plain)
                number = options.defences.index(name)
                adaptive = carried
                if name != "plain":
                    adaptive = made(
                        step=f"{step}-defence-{number}", way=way, classifier=defence, classes=classes
                    )
                cells = _cells(defence, carried, adaptive, classes)
                fooled.setdefault((name, way), []).append(cells)
                if seed == options.seed and adaptive.labels is None:
                    figures[f"Images by {way} for {name}"] = _sheet(defence, adaptive, classes)
    tables = {
        "What defences cost": Table(
            _CLEAN, [Row({"defence": name, **Spread.of_each(cells)}) for name, cells in clean.items()]
        ),
        "What defences stop": Table(
            _FOOLED,
            [
                *(
                    Row({"defence": name, "way": way, **Spread.of_each(cells)})
                    for (name, way), cells in fooled.items()
                ),
                *_REPORTED,
            ],
        ),
    }
    return StudyResult(tables, figures, _notes(options))


def _require_defences(options: DefencesOptions, work: Work, dataset: Dataset) -> None:
    """Raise the error of a defence that cannot be built, or is no longer the same, before the training."""
    shape = dataset.train_images.shape[1:]
    untrained = {
        name: create_classifier(
            *(options.network, shape),
            (*dataset.class_names, FOOLING) if name == "retrained" else dataset.class_names,
        )
        for name in _TRAINED
    }

    def require_same(part: str) -> str:
        if part not in _TRAINED:
            work.load_classifier(part)
        return part

    for name in options.defences:
        load_classifier(name, known=untrained)
        rewritten(name, require_same)


def _networks(options: DefencesOptions, work: Work, dataset: Dataset, seed: int) -> Mapping[str, Classifier]:
    """The networks that the defences name."""
    named = " ".join(options.defences)
    known: dict[str, Classifier] = {}
    for index, name in enumerate(_TRAINED):
        if name != "plain" and name not in named:
            continue
        taught = dataset
        if name == "retrained":
            fooling = _fooling_images(options, work, known["plain"], seed)
            taught = with_extra_class(dataset, FOOLING, fooling, every=None)
        start = partial(
            create_classifier,
            *(options.network, dataset.train_images.shape[1:], taught.class_names),
            name=name,
            seed=len(_TRAINED) * seed + index % 3,
        )
        epsilon = options.epsilon if name == "adversarial" else None
        training = TrainingOptions(epochs=options.epochs, seed=seed, epsilon=epsilon)
        known[name], _ = work.trained(f"seed-{seed}/{name}", start, taught, training)
    return known


def _fooling_images(options: DefencesOptions, work: Work, plain: Classifier, seed: int) -> np.ndarray:
    """Images that evolved for the plain network, in both encodings, with seeds of their own."""
    found = [
        evolved(
            *(work, f"seed-{seed}/{encoding}-to-learn", plain, encoding),
            seeds=range(2**31 + seed * options.runs, 2**31 + (seed + 1) * options.runs),
            generations=options.generations,
            batch_size=options.batch_size,
        ).images
        for encoding in ("direct", "cppn")
    ]
    return np.concatenate(found).reshape(-1, *plain.spec.input_shape)


def _clean(classifier: Classifier, dataset: Dataset) -> dict[str, float]:
    images = from_uint8(np.asarray(dataset.test_images))
    taken_for = np.asarray(confidences_in_batches(classifier, images).argmax(axis=1))
    rejected = taken_for >= len(dataset.class_names)
    return {
        "error": float(np.mean(taken_for != dataset.test_labels)),
        "rejected": float(rejected.mean()),
    }


def _cells(defence: Classifier, carried: Fooling, adaptive: Fooling, classes: int) -> dict[str, float]:
    seen = see(defence, adaptive, classes)
    confidences = seen.confidences[seen.fooled]
    cells = {
        "carried": float(see(defence, carried, classes).fooled.mean()),
        "adaptive": float(seen.fooled.mean()),
        "confidence": float(confidences.mean()) if len(confidences) else float("nan"),
    }
    if adaptive.evaluations is not None:
        never = np.isnan(adaptive.evaluations).mean() > 0.5
        cells["evaluations"] = float("nan") if never else float(np.nanmedian(adaptive.evaluations))
    return cells


def _sheet(defence: Classifier, fooling: Fooling, classes: int) -> Figure:
    seen = see(defence, fooling, classes)
    names = [defence.spec.class_names[index] for index in fooling.classes[:classes]]
    return partial(contact_sheet, fooling.images[:classes], names, seen.wanted[:classes])


def _notes(options: DefencesOptions) -> list[str]:
    return [
        "An image of nothing fools a classifier that has more than 50% in any class but that of rejection; a "
        "changed image, one that takes it for another class than its label and does not reject it.",
        "The gradients of smoothed are means over its noise; those of a majority are the mean vote's, and "
        "those of rounding the identity's.",
        "Images scored until 99%: of half of the runs, until the median over the classes was there; none "
        "where it was not within the budget.",
    ]
