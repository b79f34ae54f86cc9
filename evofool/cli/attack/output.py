"""The results of an attack: images, changes, a table, figures, and what is printed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import AttackResult, Goal, Targeted, assess
from evofool.classifiers import Classifier
from evofool.cli.attack.given import Given
from evofool.images import from_uint8, read_png, to_uint8, write_png
from evofool.report import contact_sheet, format_confidence
from evofool.report.attacks import AttackedImage, amplified, before_after_figure, trajectory_plot
from evofool.results import Content, Kind, Results

_SOURCE_FACTOR = 50
_MOST_ROWS_IN_TABLE = 20
_DISTANCES = ("distortion", "l0", "l1", "l2", "linf")

KIND = Kind(
    "an attack",
    {
        "before_after.png": Content("Figure", "the images before and after, with their likeliest classes"),
        "sheet.png": Content("Sheet", "ascent: all images, with the confidence in their targets"),
        "trajectory.png": Content("Trajectory", "the probabilities after each step"),
        "perturbation.png": Content("Change", "universal: the change of all images, amplified"),
        "images/": Content("Images", "an 8-bit PNG per image"),
        "changes/": Content("Changes", "the change of each image, amplified as much as it allows"),
        f"changes_x{_SOURCE_FACTOR}/": Content("Amplified", "the change of each image, 50 times as large"),
        "fooling_rates.csv": Content("Rates", "universal: the share of images whose class changes"),
        "results.csv": Content(
            "Table",
            "a row per image: classes, confidences, success, distances, steps; what resizing altered",
        ),
    },
)
"""The results of an attack."""


@dataclass(frozen=True)
class Subject:
    """The images to attack, and what is wanted of each.

    Attributes:
        names: of the images.
        images: values in [0, 1].
        goal: of the attack.
        labels: the class of each image, where it is known.
        altered: what was done to each picture to make it this image, if it is another picture now.
        notes: sentences to print at the end.
    """

    names: list[str]
    images: Float[Array, "n h w c"]
    goal: Goal
    labels: Int[np.ndarray, " n"] | None = None
    altered: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, given: Given, goal: Goal) -> "Subject":
        """The images that were given, with a goal."""
        return cls(given.names, given.images, goal, given.labels, given.altered, given.notes)


@dataclass(frozen=True)
class Outcome:
    """What an attack made of its images, and how the classifier sees them as saved with 8 bits.

    Attributes:
        title: a line above figures.
        classifier: the classifier that was attacked.
        subject: the images before.
        result: the images after.
        saved: the same, read from the files.
    """

    title: str
    classifier: Classifier
    subject: Subject
    result: AttackResult
    saved: AttackResult

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classifier."""
        return self.classifier.spec.class_names


def save_images(
    results: Results, classifier: Classifier, subject: Subject, result: AttackResult
) -> AttackResult:
    """Save every image and its change; returns how the classifier sees the files."""
    changes = np.asarray(result.images - subject.images)
    drawn = {
        "images": list(to_uint8(result.images)),
        "changes": [amplified(change) for change in changes],
        f"changes_x{_SOURCE_FACTOR}": [amplified(change, _SOURCE_FACTOR) for change in changes],
    }
    files = {folder: results.add_all([f"{folder}/{name}.png" for name in subject.names]) for folder in drawn}
    for folder, pictures in drawn.items():
        for path, picture in zip(files[folder], pictures, strict=True):
            write_png(path, picture)
    read = from_uint8(np.stack([read_png(path) for path in files["images"]]))
    return assess(classifier, subject.images, read, subject.goal)


def rows_of(outcome: Outcome, thresholds: dict[str, Int[np.ndarray, " n"]]) -> list[dict[str, Any]]:
    """One row of results.csv for each image; what ends in `_saved` is measured on the file.

    Args:
        outcome: of the attack.
        thresholds: further columns, each with a number of steps for each image.
    """
    subject = outcome.subject
    columns: dict[str, Any] = {"image": subject.names}
    if subject.labels is not None:
        columns["label"] = [outcome.class_names[index] for index in subject.labels]
    before = np.asarray(outcome.result.confidences_before)
    columns |= _likeliest(outcome, before, "_before")
    for suffix, attacked in {"": outcome.result, "_saved": outcome.saved}.items():
        columns |= _likeliest(outcome, np.asarray(attacked.confidences), suffix)
        columns[f"success{suffix}"] = np.asarray(attacked.success)
        columns |= {f"{name}{suffix}": np.asarray(getattr(attacked, name)) for name in _DISTANCES}
    if outcome.result.first_step is not None:
        columns["first_step"] = np.asarray(outcome.result.first_step)
    columns |= thresholds
    if any(subject.altered):
        columns["altered"] = subject.altered
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _likeliest(outcome: Outcome, confidences: Float[np.ndarray, "n k"], suffix: str) -> dict[str, Any]:
    """Columns with the likeliest class of each image and its confidence, and those of the target."""
    columns: dict[str, Any] = {
        f"class{suffix}": [outcome.class_names[index] for index in confidences.argmax(axis=1)],
        f"confidence{suffix}": confidences.max(axis=1),
    }
    if isinstance(outcome.subject.goal, Targeted):
        targets = np.asarray(outcome.subject.goal.classes)
        columns["target"] = [outcome.class_names[index] for index in targets]
        columns[f"target_confidence{suffix}"] = confidences[np.arange(len(targets)), targets]
    return columns


def save_before_after(outcome: Outcome, results: Results) -> None:
    """Save the figure of images, changes and likeliest classes."""
    subject, saved = outcome.subject, outcome.saved
    targeted = isinstance(subject.goal, Targeted)
    columns = (
        subject.names,
        to_uint8(subject.images),
        to_uint8(saved.images),
        np.asarray(saved.confidences_before),
        np.asarray(saved.confidences),
        np.asarray(subject.goal.classes) if targeted else [None] * len(subject.names),
    )
    rows = [AttackedImage(*row) for row in zip(*columns, strict=True)]
    path = results.add("before_after.png")
    before_after_figure(rows, outcome.class_names, path, title=outcome.title)


def save_trajectory(outcome: Outcome, results: Results, watched: list[int]) -> None:
    """Save the plot of the probabilities against the step, of the watched classes at least."""
    names, trajectory = outcome.subject.names, np.asarray(outcome.result.trajectory)
    path = results.add("trajectory.png")
    trajectory_plot(names, trajectory, outcome.class_names, path, watched=watched, title=outcome.title)


def save_trajectory_of_targets(outcome: Outcome, results: Results) -> None:
    """The same of a trajectory of the targets alone, in one panel."""
    names = [outcome.class_names[index] for index in np.asarray(outcome.subject.goal.classes)]
    trajectory: Float[np.ndarray, "t 1 n"] = np.asarray(outcome.result.trajectory).swapaxes(1, 2)
    path = results.add("trajectory.png")
    trajectory_plot(["confidence in the target"], trajectory, names, path, title=outcome.title)


def save_sheet(outcome: Outcome, results: Results) -> None:
    """Save all images on one sheet, with the confidence in the target of each."""
    targets = np.asarray(outcome.subject.goal.classes)
    confidences = np.asarray(outcome.saved.confidences)[np.arange(len(targets)), targets]
    names = [outcome.class_names[index] for index in targets]
    path = results.add("sheet.png")
    contact_sheet(to_uint8(outcome.saved.images), names, confidences, path, title=outcome.title)


def print_rows(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the first rows, and how many succeeded."""
    stepped = "first_step" in rows[0]
    columns = ["image", "before", "after", "after, as saved", "step"][: 5 if stepped else 4]
    table = Table(*columns, "distortion", box=None, pad_edge=False)
    for row in rows[:_MOST_ROWS_IN_TABLE]:
        cells = [
            f"{row[f'class{suffix}']} {format_confidence(row[f'confidence{suffix}'])}"
            for suffix in ("_before", "", "_saved")
        ]
        if stepped:
            cells.append("never" if row["first_step"] < 0 else f"{row['first_step']}")
        table.add_row(row["image"], *cells, f"{row['distortion']:.4f}")
    console.print(table)
    succeeded, saved = (sum(row[f"success{suffix}"] for row in rows) for suffix in ("", "_saved"))
    console.print(
        f"\nSucceeded on {succeeded} of {len(rows)}, and on {saved} as saved with 8 bits", soft_wrap=True
    )
