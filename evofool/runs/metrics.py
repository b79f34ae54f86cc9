"""The metrics of a run: one JSON object per line for each logged generation."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from evofool.files import append, replacing, without_nan
from evofool.results import Results
from evofool.runs.lines import put_aside, read_lines
from evofool.search import QUERIES

METRICS = "metrics.jsonl"

Record = dict[str, Any]
"""The metrics of a generation: numbers, and lists of one number per class, by name."""

_ALL_UP_TO = 1000
"""How many generations are all logged; each doubling after them adds half as many lines."""


def is_logged(generation: int, every: int | None = None) -> bool:
    """Whether a generation, counted from 1, has a line in metrics.jsonl.

    Args:
        generation: its number.
        every: generations between two lines. If not given, every generation has a line up to 1,000, every 2nd
            up to 2,000, every 4th up to 4,000 and so on: 7,610 lines for ten million generations.

    Example:
        >>> [g for g in range(1, 12_001) if is_logged(g)][-5:]
        [11936, 11952, 11968, 11984, 12000]
    """
    every = every or 2 ** ((generation - 1) // _ALL_UP_TO).bit_length()
    return generation % every == 0


class MetricsLog:
    """Turns the metrics of chunks into the lines of metrics.jsonl.

    The lines are those of the logged generations, and at the end that of the last state that was saved, until
    other lines follow.

    Args:
        results: of the run.
        evaluations: images scored per generation.
        every: generations between two lines, as in `is_logged`.
    """

    def __init__(self, results: Results, evaluations: int, every: int | None = None) -> None:
        self._results = results
        self._evaluations = evaluations
        self._every = every
        self._seconds = 0.0
        self._path = results.add(METRICS)
        self._size = 0  # of the lines that stay
        self._started = time.perf_counter()
        self._asked = dict.fromkeys(QUERIES, 0)
        self.newest: Record = {}

    def rewind(self, generation: int) -> list[str]:
        """Drop the lines after a generation, which will be made again, and go on from it.

        Returns:
            A line about what was damaged or is missing; lines that cannot be read are moved aside.

        Raises:
            EvofoolError: a file cannot be written.
        """
        with self._results.writing(METRICS):
            lines = read_lines(self._path, _generation, up_to=generation, repeated=False)
            notes = put_aside(self._results, METRICS, lines.damaged)
            whole = [line.rstrip(b"\n") + b"\n" for line in lines.whole]
            with replacing(self._path) as temporary:
                temporary.write_bytes(b"".join(whole))
        if whole:
            self.newest = _record(whole[-1])
            self._seconds = self.newest["seconds"]
            self._asked = {name: self.newest.get(name, 0) for name in QUERIES}
        last = self.newest.get("generation", 0)
        stay = whole if is_logged(last, self._every) else whole[:-1]
        self._size = sum(map(len, stay))
        if any(is_logged(lost, self._every) for lost in range(last + 1, generation + 1)):
            notes.append(f"{METRICS} lacks the generations from {last + 1} to {generation}: they are lost")
        self._started = time.perf_counter()
        return notes

    def add(
        self, generation: int, metrics: Mapping[str, Shaped[np.ndarray, "n *_"]], *, saving: bool
    ) -> Record:
        """Log the generations of a chunk.

        Args:
            generation: the last one of the chunk.
            metrics: of `n` generations.
            saving: whether its state is saved. Then the last line is its record whether it is logged or
                not, and all lines reach the disk before this returns, so that a run can go on from both.

        Returns:
            The record of the last generation.

        Raises:
            EvofoolError: the file cannot be written.
        """
        length = len(metrics["median_confidence"])
        now = time.perf_counter()
        each = (now - self._started) / length
        self._started = now
        logged, asked = [], [name for name in QUERIES if name in metrics]
        for index in range(length):
            self._seconds += each
            self._asked |= {name: self._asked[name] + int(metrics[name][index]) for name in asked}
            number = generation - length + 1 + index
            stays = is_logged(number, self._every)
            if stays or number == generation:
                self.newest = {
                    "generation": number,
                    "evaluations": number * self._evaluations,
                    "seconds": round(self._seconds, 4),
                    "evaluations_per_second": round(self._evaluations / each, 1),
                    **{name: _shortest(values[index]) for name, values in metrics.items()},
                    **{name: self._asked[name] for name in asked},
                }
                logged += [self.newest] if stays else []
        if logged or saving:
            self._write(logged, durably=saving)
        return self.newest

    def keep_newest(self) -> None:
        """Let the newest generation that was added have a line, as if its state were saved with it.

        Raises:
            EvofoolError: the file cannot be written.
        """
        if self.newest:
            self._write([], durably=True)

    def _write(self, logged: Sequence[Record], *, durably: bool) -> None:
        """Add lines that stay and, if they are to last, that of the newest generation."""
        lines = b"".join(map(_line, logged))
        newest_stays = is_logged(self.newest["generation"], self._every)
        passing = _line(self.newest) if durably and not newest_stays else b""
        with self._results.writing(METRICS):
            if self._path.exists() and self._path.stat().st_size > self._size:
                os.truncate(self._path, self._size)
            append(self._path, lines + passing, durably=durably)
        self._size += len(lines)


def read_metrics(path: Path) -> list[Record]:
    """The records of a metrics.jsonl; a number that is not finite is NaN.

    Args:
        path: the file. Lines that are damaged are left out; if there is no file there are no records.

    Raises:
        OSError: the file cannot be read.
    """
    return [_record(line) for line in read_lines(path, _generation, repeated=False).whole]


def _generation(line: bytes) -> int:
    return _record(line)["generation"]


def _record(line: bytes) -> Record:
    """A record, or `ValueError`, `KeyError`, `TypeError`, `RecursionError` if it is damaged."""
    record = json.loads(line, parse_constant=_refuse)
    if type(record["generation"]) is not int or not 0 <= float(record["seconds"]) < math.inf:
        raise ValueError("it has no generation or no time")
    return {name: _from_json(value) for name, value in record.items()}


def _line(record: Record) -> bytes:
    return json.dumps(without_nan(record), allow_nan=False).encode() + b"\n"


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(each) for each in value]
    return math.nan if value is None else value


def _shortest(value: Any) -> Any:
    """A number with no more digits than it takes to tell it from its neighbours in its own precision."""
    if isinstance(value, np.ndarray):
        return [_shortest(each) for each in value]
    return float(str(value)) if isinstance(value, np.floating) else value.item()
