"""Do images that fool one classifier fool another?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro
from jaxtyping import Bool

from evofool.classifiers import Classifier, confidences_in_batches
from evofool.errors import UsageError, require_positive, require_seed
from evofool.images import from_uint8
from evofool.report import contact_sheet, format_confidence
from evofool.studies.fooling import (
    OF_NOTHING,
    Fooling,
    FoolingOptions,
    Seen,
    Way,
    fool,
    magnified,
    see,
    with_noise,
)
from evofool.studies.networks import Member, NetworkOptions, members, of_size, pictures_of, relation
from evofool.studies.pictures import Pictures, load_pictures
from evofool.studies.study import Cell, Column, Figure, Row, Spread, StudyResult, Table, reported
from evofool.studies.subject import alike
from evofool.studies.work import Work

_SHOWN = 20
_PERCENT = "{:.1%}".format
_COLUMNS = {
    "way": Column("images by"),
    "magnify": Column("change times", "{:g}".format),
    "relation": Column("shown to"),
    "pairs": Column("pairs"),
    "images": Column("images", "{:,}".format),
    "fooled": Column("fooled", _PERCENT),
    "same_class": Column("same class", _PERCENT),
    "over_99": Column("over 99% for both", _PERCENT),
    "over_999": Column("over 99.9%", _PERCENT),
    "over_9999": Column("over 99.99%", _PERCENT),
    "mean_confidence": Column("mean confidence", format_confidence),
    "control": Column("control fooled", _PERCENT),
}
_COLUMNS_OF_GIVEN = {
    "way": Column("images"),
    "relation": Column("shown to"),
    "images": Column("count", "{:,}".format),
    "certain": Column("above 50%", _PERCENT),
    "same_class": Column("taken for their class", _PERCENT),
    "mean_confidence": Column("mean confidence", format_confidence),
}
_NGUYEN = "Nguyen et al. (CVPR 2015, section 3.3), ImageNet"
_GOODFELLOW = "Goodfellow, Shlens & Szegedy (ICLR 2015, section 8)"
_REPORTED = (
    reported(_NGUYEN, way="cppn", relation="same network, other start", same_class="often", over_999="some"),
    reported(_NGUYEN, way="cppn", relation="other network", same_class="less often"),
    reported("question-and-answer thread", way="evolution", relation="other network", fooled="never"),
    reported(_GOODFELLOW, way="gradients", relation="other network", same_class="often"),
)


@dataclass(frozen=True)
class TransferOptions(FoolingOptions, NetworkOptions):
    """Between which classifiers images are carried over, and which images.

    Attributes:
        halves: train each network also on two disjoint halves of the training images.
        images: further images to show to all classifiers: datasets, files, folders, directories of runs and
            of attacks.
        magnify: factors that changes are multiplied by.
        seeds: how often each classifier is fooled.
        seed: the first seed.
    """

    halves: bool = False
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE|FOLDER...")] = ()
    magnify: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FACTOR...")] = (1.0, 2.0)
    seeds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        NetworkOptions.__post_init__(self)
        super().__post_init__()
        require_positive(seeds=self.seeds)
        require_seed(self.seed)
        for factor in self.magnify:
            require_positive(magnify=factor)
        if not self.magnify:
            raise UsageError("magnify must be one or more factors")


class Carried(NamedTuple):
    """How one classifier sees images that were made for another, or for itself."""

    way: Way
    magnify: float
    source: Member
    target: Member
    cells: dict[str, float]


def transfer(options: TransferOptions, work: Work) -> StudyResult:
    """Show the images that fool each of several classifiers to all of them.

    The sources disagree: images "cannot be reused" (question-and-answer thread), images "often fool" networks
    from other starts (Nguyen et al., CVPR 2015, section 3.3), and adversarial examples are often taken for
    the same class by all (Szegedy et al., ICLR 2014, section 4.2; Goodfellow et al., ICLR 2015, section 8).

    Args:
        options: the classifiers, and how they are fooled.
        work: keeps the networks and the images.

    Raises:
        UsageError: something is unknown, or the classifiers have other classes.
        EvofoolError: data is missing or damaged, or no image is classified alike by all.
    """
    pictures = pictures_of(options, work, options.count)
    elsewhere = load_pictures(options.images)
    compared = members(options, work, parts=options.halves, same_classes=True)
    subject = alike(pictures, [member.classifier for member in compared], options.count)
    found: list[Carried] = []
    figures: dict[str, Figure] = {}
    for seed in work.each(range(options.seed, options.seed + options.seeds), "seed"):
        for way, source in work.each(list(product(options.ways, compared)), "classifier and way"):
            step = f"{source.step}/{way}-seed-{seed}"
            images, labels = subject.of(source.classifier)
            made = partial(fool, work, way=way, images=images, labels=labels, options=options, seed=seed)
            fooling = made(step=step, classifier=source.classifier)
            untaught = None
            if way in OF_NOTHING:
                untaught = made(step=f"{step}-control", classifier=_shuffled(source.classifier, seed))
            for factor in options.magnify if untaught is None else (1.0,):
                larger = magnified(fooling, factor)
                own = see(source.classifier, larger)
                seen = [see(of_size(target, source), larger) for target in compared]
                control = with_noise(larger, seed) if untaught is None else untaught
                for target, each in zip(compared, seen, strict=True):
                    of_control = see(of_size(target, source), control).fooled
                    cells = _cells(own, each, of_control)
                    found.append(Carried(way, factor, source, target, cells))
                title = f"All take for the same class: by {way} for {source.name}"
                if title not in figures and (sheet := _sheet(source, larger, seen)):
                    figures[title] = sheet
    tables = {"Images shown to other classifiers": Table(_COLUMNS, [*_by_relation(found), *_REPORTED])}
    for (way, factor), group in _grouped(found, lambda each: (each.way, each.magnify)).items():
        times = "" if way in OF_NOTHING else f", change times {factor:g}"
        tables[f"Fooled (taken for the same class): {way}{times}"] = _matrix(compared, group)
    notes = _notes(compared)
    if elsewhere:
        rows, further = _from_elsewhere(elsewhere, compared)
        tables["Images from elsewhere"] = Table(_COLUMNS_OF_GIVEN, rows)
        notes += further
    return StudyResult(tables, figures, notes)


def _shuffled(classifier: Classifier, seed: int) -> Classifier:
    """The classifier with the numbers of each of its weights in random order: it has learnt nothing."""
    leaves, structure = jax.tree.flatten(classifier.params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    mixed = [
        jax.random.permutation(key, leaf.ravel()).reshape(leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return replace(classifier, params=jax.tree.unflatten(structure, mixed))


def _cells(own: Seen, other: Seen, of_control: Bool[np.ndarray, " n"]) -> dict[str, float]:
    both = np.minimum(own.wanted, other.wanted)
    return {
        "fooled": float(other.fooled.mean()),
        "same_class": float(other.same_class.mean()),
        "over_99": float((both > 0.99).mean()),
        "over_999": float((both > 0.999).mean()),
        "over_9999": float((both > 0.9999).mean()),
        "mean_confidence": float(other.confidences.mean()),
        "control": float(of_control.mean()),
        "images": float(len(other.fooled)),
    }


def _grouped(found: Sequence[Carried], key: Callable[[Carried], Any]) -> dict[Any, list[Carried]]:
    groups: dict[Any, list[Carried]] = {}
    for each in found:
        groups.setdefault(key(each), []).append(each)
    return groups


def _by_relation(found: Sequence[Carried]) -> list[Row]:
    """A row for each way, factor and relation, over all pairs of classifiers and all seeds."""
    rows = []
    groups = _grouped(found, lambda each: (each.way, each.magnify, relation(each.source, each.target)))
    for (way, factor, related), group in groups.items():
        spreads = Spread.of_each([each.cells for each in group])
        cells: dict[str, Cell] = {"way": way, "relation": related, "pairs": len(group), **spreads}
        cells["images"] = int(sum(each.cells["images"] for each in group))
        if way not in OF_NOTHING:
            cells["magnify"] = factor
        rows.append(Row(cells))
    return rows


def _matrix(compared: Sequence[Member], found: Sequence[Carried]) -> Table:
    """Sources in rows and targets in columns."""
    columns = {"made for": Column("made for")} | {member.name: Column(member.name) for member in compared}
    rows = []
    for source in compared:
        cells: dict[str, Cell] = {"made for": source.name}
        for target in compared:
            group = [each.cells for each in found if each.source is source and each.target is target]
            fooled, same = (np.mean([cells[name] for cells in group]) for name in ("fooled", "same_class"))
            cells[target.name] = f"{fooled:.0%} ({same:.0%})"
        rows.append(Row(cells))
    return Table(columns, rows)


def _sheet(source: Member, fooling: Fooling, seen: Sequence[Seen]) -> Figure | None:
    """The images that all classifiers take for the same class, the surest first; None if there are none."""
    lowest = np.min([each.wanted for each in seen], axis=0)
    by_all = np.all([each.same_class for each in seen], axis=0)
    chosen = [index for index in np.argsort(-lowest, kind="stable") if by_all[index]][:_SHOWN]
    if not chosen:
        return None
    names = [source.classifier.spec.class_names[fooling.classes[index]] for index in chosen]
    subtitle = f"{by_all.sum():,} of {len(by_all):,} images; below each, the lowest confidence of all"
    return partial(contact_sheet, fooling.images[chosen], names, lowest[chosen], subtitle=subtitle)


def _from_elsewhere(sets: Sequence[Pictures], compared: Sequence[Member]) -> tuple[list[Row], list[str]]:
    """How all classifiers see images that were not made here, and what was done to fit them."""
    rows, notes = [], []
    for pictures, target in product(sets, compared):
        fitted, spec = pictures.fitted(target.classifier), target.classifier.spec
        confidences = np.asarray(confidences_in_batches(target.classifier, from_uint8(fitted.images)))
        taken_for = [spec.class_names[index] for index in confidences.argmax(axis=1)]
        same = [name == wanted for name, wanted in zip(taken_for, pictures.classes, strict=True)]
        highest = confidences.max(axis=1)
        cells: dict[str, Cell] = {"way": pictures.name, "relation": target.name, "images": len(same)}
        cells |= {"certain": float((highest > 0.5).mean()), "mean_confidence": float(highest.mean())}
        if any(pictures.classes):
            cells["same_class"] = float(np.mean(same))
        rows.append(Row(cells))
        notes += fitted.notes
    return rows, notes


def _notes(compared: Sequence[Member]) -> list[str]:
    errors = ", ".join(f"{m.name} {m.test_error:.2%}" for m in compared if m.test_error is not None)
    return [
        "An image of nothing fools a classifier that has more than 50% in any class; a changed image, one "
        "that no longer takes it for its label. Only images that all classify alike are changed.",
        "The control of a change is Gaussian noise of the same size. The control of evolved images are "
        "images evolved as long for the same classifier with its weights in random order.",
        *([f"Test errors: {errors}."] if errors else []),
    ]
