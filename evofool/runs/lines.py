"""Files that a run appends lines to, and what of them a resumed run keeps."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from evofool.files import append
from evofool.results import Results

DAMAGED_LINES = "damaged-lines.txt"


class Lines(NamedTuple):
    """The lines of a file.

    Attributes:
        whole: the lines that can be read, as they are.
        damaged: the others by their numbers from 1.
    """

    whole: list[bytes]
    damaged: dict[int, bytes]


def read_lines(
    path: Path, generation_of: Callable[[bytes], int], *, up_to: float | int = math.inf, repeated: bool = True
) -> Lines:
    """The lines of the generations up to one.

    A last line that was cut short is left out: the process was killed while it wrote it, after the last
    checkpoint. A line of a later generation among those of earlier ones is damaged.

    Args:
        path: the file; none is the same as an empty one.
        generation_of: the generation of a line, or `ValueError`, `KeyError`, `TypeError` or `RecursionError`
            if it is damaged.
        up_to: the last generation to keep.
        repeated: whether a generation may have several lines; if not, all after its first are damaged.

    Raises:
        OSError: the file cannot be read.
    """
    content = path.read_bytes() if path.exists() else b""
    read: list[tuple[int, bytes, int]] = []
    damaged, seen = {}, set()
    for number, line in enumerate(re.findall(rb"[^\n]*\n|[^\n]+", content), 1):
        try:
            generation = generation_of(line)
            if not repeated and generation in seen:
                raise ValueError("a second line of the generation")
        except (ValueError, KeyError, TypeError, RecursionError):
            if line.endswith(b"\n"):
                damaged[number] = line
        else:
            seen.add(generation)
            read.append((number, line, generation))
    last = max((number for number, _, generation in read if generation <= up_to), default=0)
    damaged |= {number: line for number, line, generation in read if generation > up_to and number < last}
    return Lines([line for _, line, generation in read if generation <= up_to], damaged)


def put_aside(results: Results, name: str, damaged: dict[int, bytes]) -> list[str]:
    """Keep the damaged lines of a file in another one; returns a note about them, if there are any.

    Raises:
        EvofoolError: they cannot be written.
    """
    if not damaged:
        return []
    aside = results.add(DAMAGED_LINES)
    with results.writing(DAMAGED_LINES):
        lines = [f"{name}, line {number}: ".encode() + line for number, line in sorted(damaged.items())]
        append(aside, b"".join(lines), durably=True)
    count = "1 damaged line" if len(damaged) == 1 else f"{len(damaged)} damaged lines"
    return [f"{count} of {name} moved to {aside}"]
