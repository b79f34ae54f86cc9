"""What the reproductions of fooling images share: resumable runs and their records."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evofool.cli.evolve import Evolve
from evofool.images import read_png
from evofool.report import contact_sheet
from evofool.runs import RunOptions, RunSettings

Record = dict[str, Any]


def finished_run(
    path: Path, settings: RunSettings, *, microbatch: int | None = None, quiet: bool = False
) -> list[Record]:
    """Start, resume or extend the run in a directory; returns its metrics, one record per generation."""
    begun = any(path.glob("checkpoints/[0-9]*"))
    where = {"resume": path} if begun else {"out": path, "overwrite": True}
    options = RunOptions(log_every=1, microbatch=microbatch)
    if code := Evolve(settings, options=options, quiet=quiet, **where).run():
        sys.exit(code)
    return records_of(path)


def records_of(run: Path) -> list[Record]:
    """The metrics of a run, one record per logged generation."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def first_above(records: Sequence[Record], confidence: float) -> Record | None:
    """The first record whose median confidence reaches a value; None if none does."""
    return next((record for record in records if record["median_confidence"] >= confidence), None)


def elites_of(run: Path) -> list[dict[str, str]]:
    """The rows of elites.csv that have an image, in the order of the classes."""
    with (run / "elites.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["file"]]


def draw_elites(run: Path, elites: Sequence[dict[str, str]], path: Path, **options: Any) -> None:
    """Save a contact sheet of some elites of a run."""
    contact_sheet(
        np.stack([read_png(run / row["file"]) for row in elites]),
        [row["name"] for row in elites],
        np.array([row["confidence"] for row in elites], np.float32),
        path,
        **options,
    )
