"""Writing files so that a crash never leaves half of one, and naming them."""

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

_LONGEST_NAME = 200
"""In bytes; most file systems take 255."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place if the block succeeds, and is removed if not.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "note.txt"
        ...     with replacing(path) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     path.read_text(), len(os.listdir(folder))
        ('whole', 1)
    """
    final = Path(path)
    # The process id keeps two runs that save the same file from writing into one temporary.
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # a link would be written through
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def append(path: Path, data: bytes, *, durably: bool) -> None:
    """Add to the end of a file.

    Args:
        path: the file; made if there is none.
        data: what to add.
        durably: return only when all that was ever added has reached the disk.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("ab") as file:
        file.write(data)
        if durably:
            file.flush()
            os.fsync(file.fileno())


def without_nan(value: Any) -> Any:
    """A value for JSON, which has neither NaN nor infinity: null in their place, at any depth.

    Example:
        >>> without_nan({"median": float("nan"), "rewards": [0.5, float("-inf")]})
        {'median': None, 'rewards': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Save rows of the same columns as CSV.

    Args:
        path: the file; an existing one is replaced in one step.
        rows: at least one, each with its values by the name of the column.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_table(Path(folder, "table.csv"), [{"class": "daïs", "steps": 3}])
        ...     Path(folder, "table.csv").read_text(encoding="utf-8").splitlines()
        ['class,steps', 'daïs,3']
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def file_name(name: str) -> str:
    """A name for a file: ASCII letters and digits, underscores for everything else, at most 100 characters.

    Example:
        >>> file_name("carpenter's kit, tool kit")
        'carpenter_s_kit_tool_kit'
    """
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")[:100]


def shortened(name: str) -> str:
    """The beginning of a name, short enough for a file system even with an ending and a number added.

    Example:
        >>> shortened("cat"), len(shortened("ä" * 200))
        ('cat', 100)
    """
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number where one occurs again: two files of two folders may share a name.

    Example:
        >>> unique(["cat", "cat", "cat_2"])
        ['cat', 'cat_3', 'cat_2']
    """
    taken = set(names)
    numbers = {name: count(2) for name in names}
    seen: set[str] = set()
    unique = []
    for name in names:
        new = name
        if name in seen:
            new = next(other for number in numbers[name] if (other := f"{name}_{number}") not in taken)
        seen.add(name)
        taken.add(new)
        unique.append(new)
    return unique
