"""Images to study, from anywhere: datasets, files, folders, runs, attacks, and attacks on a dataset."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import jax
import numpy as np
from jaxtyping import UInt8

from evofool.attacks import ATTACKS, AttackOptions, Goal, Untargeted, random_targets
from evofool.classifiers import AnyClassifier, load_classifier
from evofool.datasets import DATASETS, Dataset, load_dataset
from evofool.errors import EvofoolError, UsageError, unknown_name
from evofool.expressions import Call, option_value, parse
from evofool.images import alteration, fit_photograph, from_uint8, image_files, read_image, to_uint8

COUNT = 1000
"""Images of a dataset, at most, unless another number is given."""

Split = Literal["train", "test"]
"""A part of a dataset."""

Levels = UInt8[np.ndarray, "_h _w _c"]
"""A picture; others of its set may have another size."""


@dataclass(frozen=True)
class Fitted:
    """Images of a classifier's size.

    Attributes:
        images: with 8 bits.
        notes: a sentence if some of them are no longer the picture that they were made from.
    """

    images: UInt8[np.ndarray, "n h w c"]
    notes: list[str]


@dataclass(frozen=True)
class Pictures:
    """Images of one origin.

    Attributes:
        name: of the origin.
        pictures: with 8 bits, of any size, at least one.
        classes: the name of the class of each: of a dataset its label, of a run the class that it was
            evolved for, of an attack its target or else its label; None where there is none.
    """

    name: str
    pictures: Sequence[Levels]
    classes: Sequence[str | None]

    def fitted(self, classifier: AnyClassifier) -> Fitted:
        """The images cropped and resized for a classifier.

        Example:
            >>> from evofool import load_classifier
            >>> grey = Pictures("grey", [np.full((20, 20, 1), 128, np.uint8)], [None])
            >>> grey.fitted(load_classifier("lenet-digits")).images.shape
            (1, 28, 28, 1)
        """
        shape = classifier.spec.input_shape
        altered = [words for picture in self.pictures if (words := alteration(picture, shape))]
        notes = []
        if altered:
            notes = [
                f"{len(altered)} of {len(self.pictures)} images of {self.name} are no longer the same "
                f"pictures for {classifier.spec.name}: {altered[0]}."
            ]
        return Fitted(np.stack([fit_photograph(picture, shape) for picture in self.pictures]), notes)


def load_pictures(sources: Sequence[str]) -> list[Pictures]:
    """Images from anywhere.

    Args:
        sources: each of
            - a dataset, as `mnist` or `mnist(count=100, split=train)`: by default up to 1,000 test images at
              equal intervals;
            - an attack on a dataset, as `fgsm(mnist, classifier=lenet-nguyen2015, count=100, epsilon=0.1)`,
              with the options of the attack. Targets are random where the attack needs any;
            - the directory of a run, of several runs, or of an attack;
            - a folder of images, or with a folder of images per class;
            - an image file. All files are one set.

    Raises:
        UsageError: a name or an option is unknown or out of range.
        EvofoolError: there are no images, or they cannot be read.

    Example:
        >>> [(each.name, len(each.pictures)) for each in load_pictures(["digits(count=20)"])]
        [('digits', 20)]
    """
    sets, files = [], []
    for source in sources:
        if os.path.isdir(source) and source not in DATASETS:
            sets.append(_directory(Path(source)))
        elif os.path.exists(source) and source not in DATASETS:
            files.append(Path(source))
        else:
            sets.append(_named(source))
    if files:
        sets.append(Pictures("files", [read_image(file) for file in files], [None] * len(files)))
    return sets


def of_dataset(dataset: Dataset, *, count: int = COUNT, split: Split = "test") -> Pictures:
    """Images of a dataset, at equal intervals.

    Args:
        dataset: any.
        count: how many at most.
        split: of which part.

    Example:
        >>> len(of_dataset(load_dataset("digits"), count=20).pictures)
        20
    """
    images, labels = (
        (dataset.test_images, dataset.test_labels)
        if split == "test"
        else (dataset.train_images, dataset.train_labels)
    )
    count = min(count, len(images))
    chosen = np.arange(count) * len(images) // count
    names = [dataset.class_names[label] for label in labels[chosen]]
    return Pictures(dataset.name, list(images[chosen]), names)


def _directory(folder: Path) -> Pictures:
    if (folder / "seeds").is_dir():
        return _listed(folder, sorted((folder / "seeds").glob("*/elites.csv")), ["name"])
    if (folder / "elites.csv").is_file():
        return _listed(folder, [folder / "elites.csv"], ["name"])
    if (folder / "results.csv").is_file():
        return _listed(folder, [folder / "results.csv"], ["target", "label"])
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not folders:
        files = image_files([folder])
        return Pictures(folder.name, [read_image(file) for file in files], [None] * len(files))
    named = [(file, each.name) for each in folders for file in image_files([each])]
    return Pictures(folder.name, [read_image(file) for file, _ in named], [name for _, name in named])


def _listed(folder: Path, tables: Sequence[Path], columns: Sequence[str]) -> Pictures:
    """The images that tables list, each with the first of these columns that it has."""
    pictures: list[Levels] = []
    classes: list[str | None] = []
    for table in tables:
        try:
            with table.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise EvofoolError(f"cannot read {table}: {error}") from error
        for row in rows:
            name = row["file"] if "file" in row else f"images/{row.get('image')}.png"
            if name:  # a class without an image has none
                pictures.append(read_image(table.parent / name))
                classes.append(next((row[column] for column in columns if row.get(column)), None))
    if not pictures:
        raise EvofoolError(f"{folder} has no images yet")
    return Pictures(folder.name, pictures, classes)


def _named(source: str) -> Pictures:
    expression = parse(source)
    if isinstance(expression, str):
        expression = Call(expression)
    if isinstance(expression, Call) and expression.name in ATTACKS and len(expression.arguments) == 1:
        return _attacked(source, expression)
    if isinstance(expression, Call) and not expression.arguments:
        if expression.name not in DATASETS:
            raise unknown_name("source of images", expression.name, [*DATASETS, "a file or a folder"])
        return _named_part(load_dataset(expression.name), expression.options)
    raise UsageError(
        f"{source!r} names no images: allowed are a dataset, an attack on one as in fgsm(mnist), a file, or "
        "a folder"
    )


def _named_part(dataset: Dataset, options: Mapping[str, Any]) -> Pictures:
    """The part of a dataset that options choose, each of which a user wrote."""
    unknown = set(options) - {"count", "split"}
    if unknown:
        raise unknown_name("option of a dataset", min(unknown), ["count", "split"])
    split = options.get("split", "test")
    if split not in get_args(Split):
        raise unknown_name("split", str(split), get_args(Split))
    held = len(dataset.test_images if split == "test" else dataset.train_images)
    count = options.get("count", COUNT)
    if "count" in options and (not isinstance(count, int) or not 0 < count <= held):
        raise UsageError(f"count must be 1 to {held}, the {split} images of {dataset.name}, not {count}")
    return of_dataset(dataset, count=count, split=split)


def _attacked(source: str, call: Call) -> Pictures:
    """A dataset after an attack."""
    attack, options = ATTACKS[call.name], dict(call.options)
    assert issubclass(attack.options, AttackOptions)
    classifier = load_classifier(str(options.pop("classifier", "lenet-digits")))
    part: dict[str, Any] = {name: options.pop(name) for name in ("count", "split") if name in options}
    known = [field.name for field in fields(attack.options)]
    if unknown := set(options) - set(known):
        raise unknown_name(f"option of {call.name}", min(unknown), known)
    kinds = get_type_hints(attack.options)
    values: dict[str, Any] = {
        name: option_value(call.name, name, value, kinds[name]) for name, value in options.items()
    }
    chosen = attack.options(**values)
    dataset = _named_part(load_dataset(str(call.arguments[0])), part)
    labels = [classifier.spec.class_index(str(name)) for name in dataset.classes]
    goals: tuple[type[Goal], ...] = attack.options.goals
    goal = (
        Untargeted(labels)
        if Untargeted in goals
        else goals[0](random_targets(jax.random.key(0), labels, classifier))
    )
    images = from_uint8(dataset.fitted(classifier).images)
    result = attack.build(classifier, images, goal, chosen)
    return Pictures(source, list(np.asarray(to_uint8(result.images))), dataset.classes)
