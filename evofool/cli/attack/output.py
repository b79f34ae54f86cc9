"""The figures of an attack, and what is printed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import AttackResult, Goal, Targeted, Untargeted
from evofool.attacks.saving import QUERIES
from evofool.classifiers import AnyClassifier
from evofool.cli.attack.given import Given
from evofool.files import save_table
from evofool.images import to_uint8
from evofool.report import contact_sheet, format_confidence
from evofool.report.attacks import AttackedImage, before_after_figure, epsilon_plot, trajectory_plot
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
        subject: the images before.
        result: the images after.
        saved: the same, read from the files.
        results: where the files are.
        folder: where inside the results; empty, or with a slash at its end.
    """

    title: str
    subject: Subject
    result: AttackResult
    saved: AttackResult
    results: Results
    folder: str = ""

    @property
    def classifier(self) -> AnyClassifier:
        """What was attacked."""
        return self.result.attacked[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classifier."""
        return self.classifier.spec.class_names

    def add(self, name: str) -> Path:
        """List a file of the results before it is written; returns its path."""
        return self.results.add(f"{self.folder}{name}")


@dataclass(frozen=True)
class Saving:
    """Where the results of one attack of several go.

    Attributes:
        results: of all.
        title: a line above figures.
        console: to print on.
        several: whether there is more than one attack, each with a folder of its own.
    """

    results: Results
    title: str
    console: Console
    several: bool

    def folder_of(self, result: AttackResult) -> str:
        """The folder of an attack inside the results; empty if it is the only one."""
        return f"epsilons/{epsilon_of(result):g}/" if self.several else ""


@dataclass(frozen=True)
class Tally:
    """How many images an attack fooled.

    Attributes:
        epsilon: the size of the attack, if it has one.
        right: whether each image was classified as its label before the attack away from it; None without
            labels, or if the attack leads to a target.
        success, saved: whether each reached its goal, in memory and as saved with 8 bits.
        queries: of all images together, by kind: "queries" and "gradient_queries" are forward and backward
            passes; empty if the attack does not count.
        median_queries: of an image, forward passes.
    """

    epsilon: float | None
    right: Bool[np.ndarray, " n"] | None
    success: Bool[np.ndarray, " n"]
    saved: Bool[np.ndarray, " n"]
    queries: dict[str, int] = field(default_factory=dict)
    median_queries: float = 0.0

    @classmethod
    def of(cls, outcome: Outcome) -> "Tally":
        """Of what an attack made. An image that is wrong before it counts as none that the attack fooled."""
        labels, right = outcome.subject.labels, None
        goal = outcome.subject.goal
        if isinstance(goal, Untargeted) and labels is not None and np.array_equal(goal.classes, labels):
            right = np.asarray(outcome.result.confidences_before).argmax(axis=1) == labels
        success, saved = (np.asarray(each.success) for each in (outcome.result, outcome.saved))
        counted = {name: getattr(outcome.result, name) for name in QUERIES}
        queries = {name: int(count.sum()) for name, count in counted.items() if count is not None}
        median = float(np.median(counted["queries"])) if "queries" in queries else 0.0
        return cls(epsilon_of(outcome.result), right, success, saved, queries, median)

    @property
    def attacked(self) -> Bool[np.ndarray, " n"]:
        """Which images count: those that were classified correctly, all if that is unknown."""
        return np.ones(len(self.success), bool) if self.right is None else self.right

    @property
    def sentence(self) -> str:
        """What the attack achieved."""
        counted = self.attacked
        success, saved = (int((each & counted).sum()) for each in (self.success, self.saved))
        if self.right is None:
            return (
                f"Succeeded on {saved} of {len(counted)} as saved with 8 bits, on {success} before rounding"
                f"{self.asked}"
            )
        accuracy = self.row
        return (
            f"Fooled on {saved} of {counted.sum()} correct images as saved with 8 bits, on {success} before "
            f"rounding\nClean accuracy {accuracy['clean_accuracy']:.1%}, robust accuracy "
            f"{accuracy['robust_accuracy_saved']:.1%} as saved and {accuracy['robust_accuracy']:.1%} before"
            f"{self.asked}"
        )

    @property
    def asked(self) -> str:
        """How often the classifier was asked, on a line of its own; empty if the attack does not count."""
        if not self.queries:
            return ""
        kinds = {"gradient_queries": "gradients", "cached_queries": "answers that were known already"}
        more = [
            f", {self.queries[kind]:,} {words}" for kind, words in kinds.items() if self.queries.get(kind)
        ]
        return (
            f"\n{self.queries['queries']:,} queries, {self.median_queries:,.0f} for the median image"
            f"{''.join(more)}"
        )

    @property
    def row(self) -> dict[str, float | int]:
        """A row of the table of several epsilons; shares of all images, successes of those that count."""
        counted = self.attacked
        row: dict[str, float | int] = {} if self.epsilon is None else {"epsilon": self.epsilon}
        row |= {"images": len(counted), "attacked": int(counted.sum()), **self.queries}
        for suffix, reached in (("", self.success), ("_saved", self.saved)):
            row[f"success{suffix}"] = float(reached[counted].mean()) if counted.any() else 0.0
            if self.right is not None:
                row[f"robust_accuracy{suffix}"] = float((counted & ~reached).mean())
        return row if self.right is None else row | {"clean_accuracy": float(counted.mean())}


def epsilon_of(result: AttackResult) -> float | None:
    """The size that an attack was given, if it takes one and was given it."""
    return getattr(result.options, "epsilon", None)


def save_curve(results: Results, title: str, tallies: Sequence[Tally]) -> None:
    """Save the table and the plot of attacks of several sizes."""
    rows = [tally.row for tally in tallies]
    save_table(results.add("curve.csv"), rows)
    of_labels = tallies[0].right is not None
    column, start = ("robust_accuracy", rows[0].get("clean_accuracy", 0.0)) if of_labels else ("success", 0.0)
    curves = {
        name: np.array([(0.0, start), *[(row["epsilon"], row[f"{column}{suffix}"]) for row in rows]])
        for name, suffix in (("as saved with 8 bits", "_saved"), ("before rounding", ""))
    }
    label = "robust accuracy" if of_labels else "success"
    epsilon_plot(curves, results.add("curve.png"), label=label, title=title)


def print_curve(console: Console, tallies: Sequence[Tally]) -> None:
    """Print a line for each size."""
    labelled = tallies[0].right is not None
    columns = ["epsilon", "fooled, as saved", "before rounding"]
    table = Table(*columns, *["robust accuracy, as saved"] * labelled, box=None, pad_edge=False)
    for tally in tallies:
        row, counted = tally.row, tally.attacked
        cells = [f"{(each & counted).sum()} of {counted.sum()}" for each in (tally.saved, tally.success)]
        robust = [f"{row['robust_accuracy_saved']:.1%}"] if labelled else []
        table.add_row(f"{tally.epsilon:g}", *cells, *robust)
    console.print(table)
    if labelled:
        console.print(f"\nClean accuracy {tallies[0].row['clean_accuracy']:.1%}")


def save_before_after(outcome: Outcome) -> None:
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
    path = outcome.add("before_after.png")
    before_after_figure(rows, outcome.class_names, path, title=outcome.title)


def save_trajectory(outcome: Outcome, watched: list[int]) -> None:
    """Save the plot of the probabilities against the step, of the watched classes at least."""
    names, trajectory = outcome.subject.names, np.asarray(outcome.result.trajectory)
    path = outcome.add("trajectory.png")
    trajectory_plot(names, trajectory, outcome.class_names, path, watched=watched, title=outcome.title)


def save_trajectory_of_targets(outcome: Outcome) -> None:
    """The same of a trajectory of the targets alone, in one panel."""
    names = [outcome.class_names[index] for index in np.asarray(outcome.subject.goal.classes)]
    trajectory: Float[np.ndarray, "t 1 n"] = np.asarray(outcome.result.trajectory).swapaxes(1, 2)
    path = outcome.add("trajectory.png")
    trajectory_plot(["confidence in the target"], trajectory, names, path, title=outcome.title)


def save_sheet(outcome: Outcome) -> None:
    """Save all images on one sheet, with the confidence in the target of each."""
    targets = np.asarray(outcome.subject.goal.classes)
    confidences = np.asarray(outcome.saved.confidences)[np.arange(len(targets)), targets]
    names = [outcome.class_names[index] for index in targets]
    path = outcome.add("sheet.png")
    contact_sheet(to_uint8(outcome.saved.images), names, confidences, path, title=outcome.title)


def print_rows(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the first rows."""
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
