"""Can a classifier learn not to be fooled, if it is shown the images that fooled it?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from jaxtyping import Float, UInt8

from evofool.attacks import predicted_classes
from evofool.classifiers import Classifier, create_classifier
from evofool.classifiers import with_extra_class as with_extra_class_of
from evofool.datasets import Dataset, with_extra_class
from evofool.errors import UsageError, require_not_negative, require_positive, require_seed
from evofool.images import from_uint8
from evofool.report import contact_sheet, format_confidence, steps_plot
from evofool.studies.evolving import Evolvable, Evolved, evolved
from evofool.studies.networks import FOOLING, require_networks
from evofool.studies.study import Cell, Column, Figure, Row, Spread, StudyResult, Table, reported
from evofool.studies.work import Work
from evofool.training import TrainingOptions, test_accuracy

_PAPER = "Nguyen et al. (CVPR 2015, table 1), MNIST"
_IMAGENET = "Nguyen et al. (CVPR 2015, section 3.7), ImageNet, 9,000 images as class 1,001"
_REPORTED = (
    *(0.9999, 0.9742, 0.9983, 0.7252, 0.9755, 0.9968, 0.7613, 0.9996, 0.9951, 0.9948, 0.9862, 0.9997),
    *(0.9993, 0.9915, 0.9915),
)
_COLUMNS = {
    "iteration": Column("iteration"),
    "median_confidence": Column("median confidence", format_confidence),
    "reported": Column("the paper's median", format_confidence),
    "longer": Column("with the source's budget", format_confidence),
    "over_9999": Column("over 99.99%", "{:.1%}".format),
    "test_error": Column("test error", "{:.2%}".format),
    "recall": Column("unseen fooling images recognised", "{:.1%}".format),
    "trained_on": Column("training images", "{:,}".format),
}
_REPORTED_OF_IMAGENET = (
    reported(_IMAGENET, iteration=1, median_confidence=0.881),
    reported(_IMAGENET, iteration=2, median_confidence=0.117),
)
_HELD_OUT_EVERY = 5
_FINE_TUNING_RATE = 2e-4
_SOURCE_GENERATIONS, _SOURCE_BATCH = 200, 200
_MOST_ITERATIONS, _MOST_SEEDS = 1000, 1000


@dataclass(frozen=True)
class RetrainOptions:
    """What is trained, and how long each run evolves.

    Attributes:
        dataset: what the network learns: a name or a folder.
        network: which network is trained from scratch.
        classifier: a trained network to go on from instead, by name or file: it gets another output, and the
            same weights learn on.
        encoding: what evolves: direct, cppn or student.
        iterations: networks in a row, from the second on with the images that fooled those before it as one
            more class.
        runs: independent runs against each network, each of which evolves an image for every class.
        batch_size: images that each run scores in a generation.
        generations: of each run.
        longer_runs: further runs against each network with the source's budget, 200 generations of 200
            images. The networks do not learn from these.
        epochs: passes over the training images.
        seeds: how often all of it is done, from other starts.
        seed: the first seed.

    Raises:
        UsageError: a value is out of range.
    """

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    network: str = "lenet"
    classifier: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE")] = None
    encoding: Evolvable = "direct"
    iterations: int = 15
    runs: int = 300
    batch_size: int = 20
    generations: int = 400
    longer_runs: int = 0
    epochs: int = 3
    seeds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(
            iterations=self.iterations,
            runs=self.runs,
            batch_size=self.batch_size,
            generations=self.generations,
            epochs=self.epochs,
            seeds=self.seeds,
        )
        require_not_negative(longer_runs=self.longer_runs)
        require_networks(network=(self.network,))
        require_seed(self.seed)
        if self.seed + self.seeds > _MOST_SEEDS or self.iterations > _MOST_ITERATIONS:
            raise UsageError(
                f"iterations may be up to {_MOST_ITERATIONS}, and the last seed up to {_MOST_SEEDS}: runs of "
                "different networks must have different seeds"
            )


class Iteration(NamedTuple):
    """A network of the loop, and the images that fool it."""

    test_error: float
    recall: float
    trained_on: int
    fooled: Evolved
    fooled_longer: Evolved | None


def retrain(options: RetrainOptions, work: Work) -> StudyResult:
    """Retrain a network with the images that fool it (Nguyen et al., CVPR 2015, section 3.6 and table 1).

    Args:
        options: the network, how it is fooled, and how often.
        work: keeps each network and the images that fool it.

    Raises:
        UsageError: an unknown dataset or network.
        EvofoolError: data is missing or damaged.
    """
    dataset = work.load_dataset(options.dataset)
    given = None if options.classifier is None else work.load_classifier(options.classifier)
    seeds = range(options.seed, options.seed + options.seeds)
    loops = [_loop(options, work, dataset, given, seed) for seed in work.each(seeds, "seed")]
    of_paper = given is None and (options.network, options.dataset) == ("lenet", "mnist")
    medians = dict(enumerate(_REPORTED, 1)) if of_paper else {}
    rows = [
        Row({"iteration": number, "reported": medians.get(number), **_cells(each)})
        for number, each in enumerate(zip(*loops, strict=True), 1)
    ]
    network = options.network if given is None else given.spec.name
    what = f"{network} on {options.dataset}, {options.encoding} encoding"
    figures: dict[str, Figure] = {
        f"Median confidence of images evolved for {what}": _curve(loops, of_paper),
        f"Images evolved for {what}": _sheet(dataset, loops[0]),
    }
    used = {name for row in rows for name, cell in row.cells.items() if cell is not None}
    columns = {name: column for name, column in _COLUMNS.items() if name in used}
    table = Table(columns, rows if given is None else [*rows, *_REPORTED_OF_IMAGENET])
    title = f"Retrained with the images evolved for it: {what}"
    return StudyResult({title: table}, figures, _differences(options, of_paper))


def _loop(
    options: RetrainOptions, work: Work, dataset: Dataset, given: Classifier | None, seed: int
) -> list[Iteration]:
    """All iterations from one start."""
    shape = dataset.train_images.shape[1:]
    seen, unseen = (np.empty((0, *shape), np.uint8) for _ in range(2))
    iterations: list[Iteration] = []
    classifier = given
    for number in work.each(range(1, options.iterations + 1), f"network of seed {seed}"):
        step, own = f"seed-{seed}/iteration-{number:02}", _MOST_ITERATIONS * seed + number - 1
        taught = dataset if number == 1 else with_extra_class(dataset, FOOLING, seen, every=None)
        if given is not None and number == 1:
            accuracy = test_accuracy(given, dataset.test_images, dataset.test_labels)
        else:
            start = partial(_start, options, classifier if given else None, taught, number, own)
            rate = TrainingOptions.learning_rate if given is None else _FINE_TUNING_RATE
            training = TrainingOptions(epochs=options.epochs, learning_rate=rate, seed=own)
            classifier, accuracy = work.trained(f"{step}-network", start, taught, training)
        assert classifier is not None
        evolve = partial(
            evolved,
            work,
            classifier=classifier,
            encoding=options.encoding,
            targets=tuple(range(len(dataset.class_names))),
        )
        first = own * options.runs
        fooled = evolve(
            step=f"{step}-{options.encoding}",
            seeds=range(first, first + options.runs),
            generations=options.generations,
            batch_size=options.batch_size,
        )
        longer = None
        if options.longer_runs:
            longer = evolve(
                step=f"{step}-{options.encoding}-longer",
                seeds=range(first, first + options.longer_runs),
                generations=_SOURCE_GENERATIONS,
                batch_size=_SOURCE_BATCH,
            )
        recall = _recall(classifier, unseen) if len(unseen) else float("nan")
        iterations.append(Iteration(1 - accuracy, recall, len(taught.train_images), fooled, longer))
        held_out = np.arange(options.runs) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        seen = np.concatenate([seen, fooled.images[~held_out].reshape(-1, *shape)])
        unseen = np.concatenate([unseen, fooled.images[held_out].reshape(-1, *shape)])
    return iterations


def _start(
    options: RetrainOptions, before: Classifier | None, taught: Dataset, number: int, seed: int
) -> Classifier:
    """The network of an iteration before it is trained."""
    if before is not None:
        wide = len(before.spec.class_names) == len(taught.class_names)
        return before if wide else with_extra_class_of(before, FOOLING, seed)
    name = f"{options.network} of iteration {number}"
    shape = taught.train_images.shape[1:]
    return create_classifier(options.network, shape, taught.class_names, name=name, seed=seed)


def _recall(classifier: Classifier, images: UInt8[np.ndarray, "n h w c"]) -> float:
    fooling = classifier.spec.class_index(FOOLING)
    return float(np.mean(predicted_classes(classifier, from_uint8(images)) == fooling))


def _cells(iterations: tuple[Iteration, ...]) -> dict[str, Cell]:
    """The cells of one iteration, over all seeds."""
    confidences = [iteration.fooled.confidences for iteration in iterations]
    longer = [each.fooled_longer.confidences for each in iterations if each.fooled_longer is not None]
    return {
        "longer": Spread.of([float(np.median(each)) for each in longer]) if longer else None,
        "median_confidence": Spread.of([float(np.median(each)) for each in confidences]),
        "over_9999": Spread.of([float(np.mean(each > 0.9999)) for each in confidences]),
        "test_error": Spread.of([iteration.test_error for iteration in iterations]),
        "recall": Spread.of([iteration.recall for iteration in iterations]),
        "trained_on": iterations[0].trained_on,
    }


def _curve(loops: Sequence[list[Iteration]], of_paper: bool) -> Figure:
    lines = {
        "measured, with the lowest and the highest of all seeds": _medians(loops, lambda each: each.fooled)
    }
    if loops[0][0].fooled_longer is not None:
        lines["with the source's budget"] = _medians(loops, lambda each: each.fooled_longer or each.fooled)
    if of_paper:
        medians = np.array(_REPORTED[: len(loops[0])])
        lines[f"reported: {_PAPER}"] = np.repeat(medians[:, None], 3, axis=1)
    return partial(steps_plot, lines=lines, label="iteration")


def _medians(
    loops: Sequence[list[Iteration]], evolved: Callable[[Iteration], Evolved]
) -> Float[np.ndarray, "n 3"]:
    """The median confidence in each iteration: its median, lowest and highest over all seeds."""
    medians = [[np.median(evolved(each).confidences) for each in loop] for loop in loops]
    return np.quantile(np.array(medians), [0.5, 0, 1], axis=0).T


def _sheet(dataset: Dataset, loop: list[Iteration]) -> Figure:
    names = [f"{name}, iteration {i}" for i in range(1, len(loop) + 1) for name in dataset.class_names]
    return partial(
        contact_sheet,
        np.concatenate([iteration.fooled.images[0] for iteration in loop]),
        names,
        np.concatenate([iteration.fooled.confidences[0] for iteration in loop]),
        columns=len(dataset.class_names),
        subtitle="the first run of the first seed",
    )


def _differences(options: RetrainOptions, of_paper: bool) -> list[str]:
    budget = options.generations * options.batch_size
    return [
        *([f"The paper's medians: {_PAPER}, as reported."] if of_paper else []),
        f"Each run scores {budget:,} images, in generations of {options.batch_size}; the source's score "
        "40,000, in generations of 200, as do the runs of which the networks do not learn.",
        f"Every fifth run is kept from the next networks, to see whether they recognise images of its kind; "
        f"the source shows all. Epochs of each training: {options.epochs}.",
    ]
