"""The files of an attack: images with 8 bits, a table of how a classifier sees them, what was attacked."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from evofool import registry
from evofool.attacks import ATTACKS, AttackResult, Targeted, assess
from evofool.classifiers import weights_digest
from evofool.errors import UsageError
from evofool.files import replacing, save_table
from evofool.images import from_uint8, read_png, to_uint8, write_png
from evofool.provenance import provenance
from evofool.report.attacks import amplified
from evofool.results import Content, Kind, Results

_SOURCE_FACTOR = 50
_DISTANCES = ("distortion", "l0", "l1", "l2", "linf")
_IMAGES, _CHANGES, _AMPLIFIED = "images/", "changes/", f"changes_x{_SOURCE_FACTOR}/"
_TABLE, _CONFIG = "results.csv", "config.json"

QUERIES = ("queries", "gradient_queries", "cached_queries", "padded_queries")
"""What a result counts of each image, by the names of its attributes."""

ATTACK = Kind(
    "an attack",
    {
        "curve.png": Content("Curve", "of several epsilons: robust accuracy, or success, against epsilon"),
        "curve.csv": Content("Its table", "the same as numbers, in memory and as saved"),
        "epsilons/": Content("Each epsilon", "of several epsilons: the files below, for each in its folder"),
        "before_after.png": Content("Figure", "the images before and after, with their likeliest classes"),
        "sheet.png": Content("Sheet", "ascent: all images, with the confidence in their targets"),
        "trajectory.png": Content("Trajectory", "the probabilities after each step"),
        "perturbation.png": Content("Change", "universal: the change of all images, amplified"),
        _IMAGES: Content("Images", "an 8-bit PNG per image"),
        _CHANGES: Content("Changes", "the change of each image, amplified as much as it allows"),
        _AMPLIFIED: Content("Amplified", "the change of each image, 50 times as large"),
        "fooling_rates.csv": Content("Rates", "universal: the share of images whose class changes"),
        _TABLE: Content(
            "Table",
            "a row per image: classes, confidences, success, distances, steps; whether it was correct before",
        ),
        _CONFIG: Content(
            "Settings", "the attack with its options, the classifier's SHA-256, versions, device"
        ),
    },
)
"""The results of an attack."""


def save_result(
    result: AttackResult,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Save what `AttackResult.save` says, with its arguments."""
    count = len(result.images)
    names = [f"{index:05}" for index in range(count)] if names is None else list(names)
    if len(names) != count or len(set(names)) != count:
        raise UsageError(f"names must be {count} different names, one for each image")
    _ = result.attacked
    results = Results.create(Path(path), ATTACK, overwrite=overwrite)
    try:
        results.clear()
        with results.writing():
            saved = save_images(results, names, result)
            save_rows(results, rows_of(names, result, saved))
            save_config(results, result)
    finally:
        results.release()


def save_images(
    results: Results, names: Sequence[str], result: AttackResult, folder: str = ""
) -> AttackResult:
    """Save every image and its change; returns how the classifier sees the files.

    Args:
        results: where to.
        names: of the images.
        result: of the attack.
        folder: inside the results; empty, or with a slash at its end.
    """
    changes = np.asarray(result.images - result.originals)
    drawn = {
        _IMAGES: list(to_uint8(result.images)),
        _CHANGES: [amplified(change) for change in changes],
        _AMPLIFIED: [amplified(change, _SOURCE_FACTOR) for change in changes],
    }
    files = {kind: results.add_all([f"{folder}{kind}{name}.png" for name in names]) for kind in drawn}
    for kind, pictures in drawn.items():
        for path, picture in zip(files[kind], pictures, strict=True):
            write_png(path, picture)
    read = from_uint8(np.stack([read_png(path) for path in files[_IMAGES]]))
    classifier, goal = result.attacked
    return assess(classifier, result.originals, read, goal)._replace(options=result.options)


def rows_of(
    names: Sequence[str],
    result: AttackResult,
    saved: AttackResult,
    labels: Int[np.ndarray, " n"] | None = None,
    more: Mapping[str, Sequence[Any] | np.ndarray] = {},
) -> list[dict[str, Any]]:
    """One row of results.csv for each image; what ends in `_saved` is measured on the file.

    Args:
        names: of the images.
        result: of the attack.
        saved: the same, read from the files.
        labels: the class of each image, where it is known.
        more: further columns, each with a value for each image.
    """
    classifier, _ = result.attacked
    columns: dict[str, Any] = {"image": names}
    if labels is not None:
        columns["label"] = [classifier.spec.class_names[index] for index in labels]
    columns |= _likeliest(result, np.asarray(result.confidences_before), "_before")
    for suffix, attacked in {"": result, "_saved": saved}.items():
        columns |= _likeliest(result, np.asarray(attacked.confidences), suffix)
        columns[f"success{suffix}"] = np.asarray(attacked.success)
        columns |= {f"{name}{suffix}": np.asarray(getattr(attacked, name)) for name in _DISTANCES}
    if result.first_step is not None:
        columns["first_step"] = np.asarray(result.first_step)
    columns |= {name: np.asarray(count) for name in QUERIES if (count := getattr(result, name)) is not None}
    columns |= more
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def save_rows(results: Results, rows: Sequence[Mapping[str, Any]], folder: str = "") -> None:
    """Save the table of all images in a folder of the results."""
    save_table(results.add(f"{folder}{_TABLE}"), rows)


def save_config(
    results: Results, result: AttackResult, folder: str = "", more: Mapping[str, Any] = {}
) -> None:
    """Save what was attacked, and with what options, in a folder of the results.

    Args:
        results: where to.
        result: of the attack.
        folder: inside the results.
        more: further settings.
    """
    classifier, goal = result.attacked
    config = {
        "attack": None if result.options is None else _described(result.options),
        "goal": type(goal).__name__.lower(),
        "classifier": classifier.spec.name,
        "classifier_sha256": weights_digest(classifier),
        **more,
        **provenance(),
    }
    with replacing(results.add(f"{folder}{_CONFIG}")) as temporary:
        temporary.write_text(json.dumps(config, indent=2, default=float) + "\n", encoding="utf-8")


def _described(options: Any) -> dict[str, Any]:
    """Options with the name of their attack; with that of their class if the registry has none."""
    names = (name for name, entry in ATTACKS.items() if entry.options is type(options))
    return {"name": next(names, type(options).__name__), **registry.to_json(options)}


def _likeliest(result: AttackResult, confidences: Float[np.ndarray, "n k"], suffix: str) -> dict[str, Any]:
    """Columns with the likeliest class of each image and its confidence, and those of the target."""
    classifier, goal = result.attacked
    names = classifier.spec.class_names
    columns: dict[str, Any] = {
        f"class{suffix}": [names[index] for index in confidences.argmax(axis=1)],
        f"confidence{suffix}": confidences.max(axis=1),
    }
    if isinstance(goal, Targeted):
        targets = np.asarray(goal.classes)
        columns["target"] = [names[index] for index in targets]
        columns[f"target_confidence{suffix}"] = confidences[np.arange(len(targets)), targets]
    return columns
