"""What an attack leaves behind: images, changes, a table, figures, and what it prints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import AttackResult, Targeted, assess
from evofool.classifiers import Classifier
from evofool.cli.attack.batch import AT_ONCE, Batch
from evofool.images import from_uint8, read_png, to_uint8, write_png
from evofool.report import contact_sheet, format_confidence
from evofool.report.attacks import AttackedImage, amplified, before_after_figure, trajectory_plot

_SOURCE_FACTOR = 50
MARK = f"changes_x{_SOURCE_FACTOR}"
"""The folder that every attack leaves behind. It is the first that an image gets into, and the last to be
emptied, so that its files tell which of the others are an attack's."""

_FOLDERS = (MARK, "changes", "images")
_MOST_ROWS_IN_TABLE = 20
_WHAT_IS_THERE = {
    "Figure": "before_after.png",
    "Sheet": "sheet.png",
    "Way": "trajectory.png",
    "Change": "perturbation.png",
    "Images": "images",
    "Changes": "changes",
    "Rates": "fooling_rates.csv",
    "Table": "results.csv",
}


@dataclass(frozen=True)
class Outcome:
    """What an attack made of its images, and what the classifier makes of them as saved with 8 bits.

    Attributes:
        title: a line above figures.
        classifier: what was attacked.
        batch: the images before.
        result: the images after.
        saved: the same, read from the files.
        more: what only this method has.
    """

    title: str
    classifier: Classifier
    batch: Batch
    result: AttackResult
    saved: AttackResult
    more: Any = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the classifier."""
        return self.classifier.spec.class_names


def remove_results(out: Path) -> None:
    """Remove what an attack leaves behind and nothing else."""
    for what in _WHAT_IS_THERE.values():
        if what not in _FOLDERS:
            (out / what).unlink(missing_ok=True)
    for image in list((out / MARK).glob("*.png")):
        for folder in reversed(_FOLDERS):
            (out / folder / image.name).unlink(missing_ok=True)
    for folder in reversed(_FOLDERS):
        if (out / folder).is_dir() and not any((out / folder).iterdir()):
            (out / folder).rmdir()


def save_images(out: Path, classifier: Classifier, batch: Batch, result: AttackResult) -> AttackResult:
    """Save every image and its change; returns what the classifier makes of the files."""
    changes = np.asarray(result.images - batch.images)
    for folder in _FOLDERS:
        (out / folder).mkdir(exist_ok=True)
    for name, image, change in zip(batch.names, to_uint8(result.images), changes, strict=True):
        drawn = (amplified(change, _SOURCE_FACTOR), amplified(change), image)
        for folder, pixels in zip(_FOLDERS, drawn, strict=True):
            write_png(out / folder / f"{name}.png", pixels)
    read = from_uint8(np.stack([read_png(out / "images" / f"{name}.png") for name in batch.names]))
    return batch.by_parts(
        lambda part: assess(classifier, part.images, read[part.first : part.first + AT_ONCE], part.goal)
    )


def rows_of(outcome: Outcome, thresholds: dict[str, Int[np.ndarray, " n"]]) -> list[dict[str, Any]]:
    """One row of results.csv for each image; what ends in `_saved` is measured on the file.

    Args:
        outcome: of the attack.
        thresholds: further columns, each with a number of steps for each image.
    """
    batch, result, names = outcome.batch, outcome.result, outcome.class_names
    before = np.asarray(result.confidences_before)
    targeted = isinstance(batch.goal, Targeted)
    rows = []
    for i, name in enumerate(batch.names):
        row: dict[str, Any] = {
            "image": name,
            "class_before": names[before[i].argmax()],
            "confidence_before": before[i].max(),
        }
        wanted = int(batch.classes[i])
        if targeted:
            row |= {"target": names[wanted], "target_confidence_before": before[i, wanted]}
        for suffix, attacked in {"": result, "_saved": outcome.saved}.items():
            after = np.asarray(attacked.confidences[i])
            row |= {f"class{suffix}": names[after.argmax()], f"confidence{suffix}": after.max()}
            if targeted:
                row[f"target_confidence{suffix}"] = after[wanted]
            row |= {
                f"success{suffix}": bool(attacked.success[i]),
                f"distortion{suffix}": float(attacked.distortion[i]),
                f"largest_change{suffix}": float(jnp.abs(attacked.images[i] - batch.images[i]).max()),
            }
        if result.first_step is not None:
            row["first_step"] = int(result.first_step[i])
        rows.append(row | {column: int(steps[i]) for column, steps in thresholds.items()})
    return rows


def save_before_after(outcome: Outcome, path: Path) -> None:
    """Save the figure of images, changes and likeliest classes."""
    batch, saved = outcome.batch, outcome.saved
    targeted = isinstance(batch.goal, Targeted)
    columns = (
        batch.names,
        to_uint8(batch.images),
        to_uint8(saved.images),
        np.asarray(saved.confidences_before),
        np.asarray(saved.confidences),
        np.asarray(batch.classes) if targeted else [None] * len(batch.names),
    )
    rows = [AttackedImage(*row) for row in zip(*columns, strict=True)]
    before_after_figure(rows, outcome.class_names, path, title=outcome.title)


def save_way(outcome: Outcome, path: Path, watched: list[int]) -> None:
    """Save the plot of the probabilities against the step, of the watched classes at least."""
    names, way = outcome.batch.names, np.asarray(outcome.result.trajectory)
    trajectory_plot(names, way, outcome.class_names, path, watched=watched, title=outcome.title)


def save_way_of_targets(outcome: Outcome, path: Path) -> None:
    """The same of a trajectory of the targets alone, in one panel."""
    names = [outcome.class_names[index] for index in np.asarray(outcome.batch.classes)]
    ways: Float[np.ndarray, "t 1 n"] = np.asarray(outcome.result.trajectory).swapaxes(1, 2)
    trajectory_plot(["confidence in the target"], ways, names, path, title=outcome.title)


def save_sheet(outcome: Outcome, path: Path) -> None:
    """Save all images on one sheet, with the confidence in the target of each."""
    targets = np.asarray(outcome.batch.classes)
    confidences = np.asarray(outcome.saved.confidences)[np.arange(len(targets)), targets]
    names = [outcome.class_names[index] for index in targets]
    contact_sheet(to_uint8(outcome.saved.images), names, confidences, path, title=outcome.title)


def print_rows(console: Console, rows: list[dict[str, Any]], out: Path) -> None:
    """Print the first rows, how many succeeded, and what lies where."""
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
    for what, name in _WHAT_IS_THERE.items():
        if (out / name).exists():
            console.print(f"{what:8} {out / name}", soft_wrap=True)
