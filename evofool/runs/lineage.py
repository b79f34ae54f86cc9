"""Who descends from whom: every genome that became an elite of a run, and its parent."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from evofool.errors import EvofoolError, UsageError
from evofool.files import replacing

RECORDED = ("elite_ids", "elite_parent_ids", "elite_parents")
"""The metrics of which the lineage is made; see `evofool.search.archive.lineage`."""

COLUMNS = ("id", "generation", "class", "parent_id", "parent_class")


class Birth(NamedTuple):
    """A genome that became an elite.

    Attributes:
        id: its number among all genomes that the run made.
        generation: the one it was made in.
        classes: what it became the elite of.
        parent_id: the number of its parent; None for a random genome.
        parent_class: the class whose elite the parent was.
    """

    id: int
    generation: int
    classes: tuple[int, ...]
    parent_id: int | None
    parent_class: int | None


class LineageFile:
    """A run's lineage.csv: one line for each time that a genome took a class.

    There is no file before the first line: a search whose elites have no parents leaves none.

    Args:
        path: the file.
        targets: the class of each niche.
        elites: the numbers of the elites at the start.
    """

    def __init__(self, path: Path, targets: Sequence[int], elites: Int[np.ndarray, " k"]) -> None:
        self._path = path
        self._targets = targets
        self._elites = elites

    def rewind(self, generation: int) -> None:
        """Drop the lines after a generation, which will be made again."""
        if not self._path.exists():
            return
        with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
            # A line that a crash cut short is of a generation after the last checkpoint.
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS)]
        lines = [row for row in rows if row[1].isdecimal() and int(row[1]) <= generation]
        with replacing(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *lines])

    def add(self, last_generation: int, recorded: Mapping[str, np.ndarray]) -> None:
        """Add what `evofool.search.archive.lineage` recorded in the generations of a chunk.

        Raises:
            EvofoolError: it cannot be written.
        """
        ids = recorded["elite_ids"]
        changed = ids != np.concatenate([self._elites[None], ids[:-1]])
        self._elites = ids[-1]
        lines = []
        for index, niche in np.argwhere(changed):
            parent_id, parent = (
                int(recorded[name][index, niche]) for name in ("elite_parent_ids", "elite_parents")
            )
            generation = last_generation - len(ids) + 1 + int(index)
            ancestor = (parent_id, self._targets[parent]) if parent >= 0 else ("", "")
            lines.append((int(ids[index, niche]), generation, self._targets[niche], *ancestor))
        try:
            header = [] if self._path.exists() else [COLUMNS]
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([*header, *lines])
        except OSError as error:
            raise EvofoolError(
                f"cannot write {self._path}: {error.strerror}. The checkpoints are whole: make room and go "
                f"on with --resume {self._path.parent}"
            ) from error


def read_lineage(path: Path) -> dict[int, Birth]:
    """Every genome that was ever an elite, by its number.

    Args:
        path: the lineage.csv of a run directory.

    Raises:
        EvofoolError: the file is missing or damaged.
    """
    births: dict[int, Birth] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                number, taken = int(row["id"]), int(row["class"])
                before = births[number].classes if number in births else ()
                parent_id = int(row["parent_id"]) if row["parent_id"] else None
                parent_class = int(row["parent_class"]) if row["parent_class"] else None
                births[number] = Birth(
                    number, int(row["generation"]), (*before, taken), parent_id, parent_class
                )
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise EvofoolError(f"cannot read the lineage in {path}: {error}") from error
    return births


def ancestry(births: Mapping[int, Birth], number: int) -> list[Birth]:
    """A genome, its parent, and so on to the random genome that it comes from.

    Args:
        births: what `read_lineage` gives.
        number: the id of a genome, as in elites.csv.

    Raises:
        UsageError: no such genome was ever an elite.
        EvofoolError: the lineage is damaged: it lacks a parent.

    Example:
        >>> births = {3: Birth(3, 1, (0,), None, None), 8: Birth(8, 2, (5, 6), 3, 0)}
        >>> [birth.id for birth in ancestry(births, 8)]
        [8, 3]
    """
    if number not in births:
        raise UsageError(f"no genome of the number {number} was ever an elite")
    line = [births[number]]
    while (parent := line[-1].parent_id) is not None:
        if parent not in births or parent >= line[-1].id:
            raise EvofoolError(
                f"the lineage is damaged: no genome {parent} was an elite before its child {line[-1].id}"
            )
        line.append(births[parent])
    return line
