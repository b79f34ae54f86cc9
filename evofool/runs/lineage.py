"""Who descends from whom: every genome that became an elite of a run, and its parent."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int

from evofool.errors import EvofoolError, UsageError
from evofool.files import append, replacing
from evofool.results import Results
from evofool.runs.lines import put_aside, read_lines
from evofool.search import Archive, archive

LINEAGE = "lineage.csv"

RECORDED = tuple(f"elite_{name}" for name in archive.RECORDED[1:])
"""The metrics that the lineage is made from."""

COLUMNS = ("id", "generation", "class", "parent_id", "parent_class")

_HEADER = ",".join(COLUMNS).encode() + b"\r\n"
_ROW = re.compile(
    rb"(?P<id>\d{1,19}),(?P<generation>\d{1,10}),(?P<taken>\d{1,10}),"
    rb"(?:(?P<parent>\d{1,19}),(?P<parent_class>\d{1,10})|,)\r?\n"
)


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


class LineageLog:
    """Writes a run's lineage.csv: one line for each time that a genome takes a class.

    There is no file before the first line: a search whose elites have no parents leaves none.

    Args:
        results: of the run.
        targets: the class of each niche.
        evaluations: images scored per generation.
        elites: at the start.
    """

    def __init__(self, results: Results, targets: Sequence[int], evaluations: int, elites: Archive) -> None:
        self._results = results
        self._path = results.path / LINEAGE
        self._targets = targets
        self._evaluations = evaluations
        self._elites = genome_numbers(elites.generations, elites.indices, evaluations)

    def rewind(self, generation: int) -> list[str]:
        """Drop the lines after a generation, which will be made again.

        Returns:
            A line about what was damaged; lines that cannot be read are moved aside.

        Raises:
            EvofoolError: a file cannot be written.
        """
        if not self._path.exists():
            return []
        with self._results.writing(LINEAGE):
            lines = read_lines(self._path, _generation, up_to=generation)
            notes = put_aside(self._results, LINEAGE, lines.damaged)
            rows = [line for line in lines.whole if _generation(line) > 0]
            if rows:
                with replacing(self._path) as temporary:
                    temporary.write_bytes(b"".join([_HEADER, *rows]))
            else:
                self._path.unlink()
        return notes

    def add(
        self, last_generation: int, recorded: Mapping[str, Int[np.ndarray, "n k"]], *, saving: bool
    ) -> None:
        """Add the elites of the generations of a chunk.

        Args:
            last_generation: the last one of the chunk.
            recorded: the metrics in `RECORDED` of its `n` generations.
            saving: whether its state is saved. Then all lines reach the disk before this returns.

        Raises:
            EvofoolError: it cannot be written.
        """
        ids, parent_ids = (
            genome_numbers(
                recorded[f"elite_{of}generations"], recorded[f"elite_{of}indices"], self._evaluations
            )
            for of in ("", "parent_")
        )
        changed = ids != np.concatenate([self._elites[None], ids[:-1]])
        self._elites = ids[-1]
        lines = []
        for index, niche in np.argwhere(changed):
            parent = int(recorded["elite_parents"][index, niche])
            generation = last_generation - len(ids) + 1 + int(index)
            ancestor = (int(parent_ids[index, niche]), self._targets[parent]) if parent >= 0 else ("", "")
            lines.append((int(ids[index, niche]), generation, self._targets[niche], *ancestor))
        rows = "".join(",".join(map(str, line)) + "\r\n" for line in lines)
        path = self._results.add(LINEAGE)
        with self._results.writing(LINEAGE):
            header = b"" if path.exists() else _HEADER
            append(path, header + rows.encode(), durably=saving)


def genome_numbers(
    generations: Int[np.ndarray | Array, "*n"], indices: Int[np.ndarray | Array, "*n"], evaluations: int
) -> Int[np.ndarray, "*n"]:
    """The number of each genome among all that a run made, from 1; 0 where there is none.

    Args:
        generations: in which it was made, from 1; 0 for none.
        indices: its index in the generation, from 0.
        evaluations: images scored per generation.

    Example:
        >>> genome_numbers(np.array([1, 2, 0]), np.array([4, 0, 0]), 10).tolist()
        [5, 11, 0]
    """
    generations, indices = (np.asarray(each, np.int64) for each in (generations, indices))
    return np.where(generations < 1, 0, (generations - 1) * evaluations + 1 + indices)


def read_lineage(path: Path) -> dict[int, Birth]:
    """Every genome that was ever an elite, by its number.

    Args:
        path: the lineage.csv of a run directory.

    Raises:
        EvofoolError: the file is missing, or a line is damaged.
    """
    births: dict[int, Birth] = {}
    try:
        path.stat()
        lines = read_lines(path, _generation)
    except OSError as error:
        raise EvofoolError(f"cannot read the lineage in {path}: {error.strerror}") from error
    if lines.damaged:
        raise EvofoolError(f"cannot read the lineage in {path}: line {min(lines.damaged)} is damaged")
    for line in lines.whole:
        if (row := _ROW.fullmatch(line)) is not None:
            number, taken = int(row["id"]), int(row["taken"])
            before = births[number].classes if number in births else ()
            parent = (None, None) if row["parent"] is None else (int(row["parent"]), int(row["parent_class"]))
            births[number] = Birth(number, int(row["generation"]), (*before, taken), *parent)
    return births


def _generation(line: bytes) -> int:
    """The generation of a line, 0 for the header."""
    if line.split() == _HEADER.split():
        return 0
    if (row := _ROW.fullmatch(line)) is None:
        raise ValueError("not a line of a lineage")
    return int(row["generation"])


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
