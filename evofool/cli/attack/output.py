"""The figures of an attack, and what is printed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import AttackResult, Goal, Targeted
from evofool.classifiers import Classifier
from evofool.cli.attack.given import Given
from evofool.images import to_uint8
from evofool.report import contact_sheet, format_confidence
from evofool.report.attacks import AttackedImage, before_after_figure, trajectory_plot
from evofool.results import Results

_MOST_ROWS_IN_TABLE = 20


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
