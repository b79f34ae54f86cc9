"""Results directories: what a command leaves behind, with a manifest that says what each file is."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from evofool.errors import EvofoolError, UsageError
from evofool.files import replacing
from evofool.locks import LOCK, DirectoryLock, hold

MANIFEST = "manifest.json"
"""The file that marks a results directory: its kind, and every file and folder of the results."""


class Content(NamedTuple):
    """A file or a folder of results.

    Attributes:
        label: a few words that stand before its path when a command has ended.
        description: what is in it, for the documentation.
    """

    label: str
    description: str


class Kind(NamedTuple):
    """A kind of results.

    Attributes:
        name: with its article, as in "a run".
        contents: what such results may hold, by path; that of a folder ends in a slash.
    """

    name: str
    contents: Mapping[str, Content]


class Results:
    """The results in one directory.

    The manifest lists each file before it is written, so it covers what a killed process leaves behind.
    Whatever is not in the manifest belongs to the user and is never changed or removed. Nothing is written
    through a link. One process at a time writes to the directory.

    Args:
        path: the directory.
        kind: what it holds.

    Example:
        >>> import tempfile
        >>> kind = Kind("a note", {"note.txt": Content("Note", "a short text")})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = Results.create(Path(folder, "out"), kind)
        ...     _ = results.add("note.txt").write_text("hello")
        ...     results.present() == [("Note", Path(folder, "out", "note.txt"))]
        True
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.kind = kind
        self._listed: dict[str, None] = {}  # a set that keeps its order
        self._lock: DirectoryLock | None = None

    @classmethod
    def create(cls, path: Path, kind: Kind, *, overwrite: bool = False) -> "Results":
        """Make a directory for results, or take one that is empty or whose results are to be replaced.

        The directory is held until `release`. Old results stay until `clear` is called, when there is
        something to put in their place. A new directory that is still empty when it is released goes.

        Raises:
            UsageError: `path` is a file, holds results and `overwrite` is not set, or holds anything else.
            EvofoolError: another process holds it, or it cannot be read or made.
        """
        results = cls(path, kind)
        with results.writing():
            results._require_free(overwrite)
            results._take(make=True)
            try:
                results._require_free(overwrite)  # another process may have filled it in between
            except BaseException:
                results.release()
                raise
        return results

    @classmethod
    def open(cls, path: Path, kind: Kind) -> "Results":
        """The results that are in a directory, to be read; `hold` it before writing.

        Raises:
            UsageError: there are none of this kind.
            EvofoolError: it cannot be read.
        """
        results = cls(path, kind)
        try:
            listed = results._read()
        except OSError as error:
            raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
        if listed is None:
            raise UsageError(f"{path} does not hold {kind.name}: there is no {path / MANIFEST} that says so")
        results._listed = listed
        return results

    def hold(self) -> None:
        """Let no other process write to the directory until `release`, or until this process ends.

        What a killed process left unfinished is removed.

        Raises:
            EvofoolError: another process holds the directory, it cannot be written to, or a link stands in
                place of one of the results.
        """
        with self.writing():
            self._take()
            self._require_no_links(self._listed)

    def release(self) -> None:
        """Let other processes write to the directory."""
        self._lock = None

    def clear(self) -> None:
        """Remove all that the manifest lists and nothing else, and begin a new manifest.

        A link in place of a result is removed; what it points to stays.

        Raises:
            EvofoolError: something cannot be removed.
        """
        with self.writing():
            self._take()
            for name in self._listed:
                self._remove(name)
            for folder in sorted(_folders(self._listed), reverse=True):
                whole = self.path / folder
                if whole.is_dir() and not any(whole.iterdir()):
                    whole.rmdir()
            self._listed = {}
            self._save()

    def add(self, name: str) -> Path:
        """List a file, or a folder whose name ends in a slash, before it is written; returns its path."""
        return self.add_all([name])[0]

    def add_all(self, names: Sequence[str]) -> list[Path]:
        """The same for many at once, with one update of the manifest.

        The folders that they need are made. All that is in a listed folder belongs to the results.

        Raises:
            EvofoolError: a link or a file of the user's is in the way, another process holds the directory,
                or the manifest cannot be written.
        """
        with self.writing():
            self._take()
            new = [name for name in names if name not in self._listed]
            for name in new:
                self._require_no_stranger(name)
            self._require_no_links(names)
            if new:
                self._listed.update(dict.fromkeys(new))
                self._save()
            for folder in _folders(names):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
        return [self.path / name for name in names]

    def present(self) -> list[tuple[str, Path]]:
        """The labels and the paths of what is there, in the order of the kind's contents."""
        return [
            (content.label, self.path / name)
            for name, content in self.kind.contents.items()
            if (self.path / name).exists()
        ]

    @contextmanager
    def writing(self, what: str = "results") -> Iterator[None]:
        """Turn the `OSError` of a block that writes into an `EvofoolError`.

        Raises:
            EvofoolError: the block raised an `OSError`, or the directory has been removed since it was held.
        """
        if self._lock is not None and not self._lock.is_valid():
            raise EvofoolError(f"cannot write {what} to {self.path}: the directory has been removed")
        try:
            yield
        except OSError as error:
            raise EvofoolError(f"cannot write {what} to {self.path}: {error.strerror or error}") from error

    def _require_free(self, overwrite: bool) -> None:
        """Raise unless the directory is new, empty, or holds results that may be replaced."""
        path, kind = self.path, self.kind
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file: choose another directory")
        found = {entry.name for entry in path.iterdir() if not _is_leftover(entry)} if path.is_dir() else ()
        if not found:
            return
        listed = self._read()
        if listed is None:
            raise UsageError(f"{path} is not empty and does not hold {kind.name}: choose another directory")
        if not overwrite and found != {MANIFEST}:  # else a process was killed before its first result
            raise UsageError(f"{path} already holds {kind.name}: overwrite it, or choose another directory")
        self._listed = listed
        for name in kind.contents:
            if not name.endswith("/"):  # files of the user may share a folder with results
                self._require_no_stranger(name)

    def _take(self, make: bool = False) -> None:
        """Lock the directory if it is not locked yet, and begin with what its manifest lists now."""
        if self._lock is not None:
            return
        self._lock = hold(self.path, make=make)
        self._listed = self._read() or {}
        for folder in {"", *_folders(self._listed)}:
            if _first_link(self.path, folder) is None and (self.path / folder).is_dir():
                for entry in (self.path / folder).iterdir():
                    if _is_unfinished(entry):
                        entry.unlink()

    def _require_no_stranger(self, name: str) -> None:
        """Raise if something has a name of the results and is not one of them."""
        if not _is_inside(name):
            raise ValueError(f"{name!r} is not a name inside a directory")
        path = self.path / name
        if os.path.lexists(path) and not (
            name in self._listed
            or (name.endswith("/") and any(known.startswith(name) for known in self._listed))
        ):
            raise UsageError(f"{path} is in the way and is not part of {self.kind.name}: move it elsewhere")

    def _require_no_links(self, names: Iterable[str]) -> None:
        """Raise if a link stands in place of one of the results, or of a folder that they are in."""
        for name in (*sorted(_folders(names)), *names):
            path = os.path.join(self.path, name.rstrip("/"))
            if os.path.islink(path):
                raise EvofoolError(f"{path} is a link, and nothing is written through links: remove it")

    def _remove(self, name: str) -> None:
        path = _first_link(self.path, name) or self.path / name
        if not os.path.lexists(path):
            return
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif name.endswith("/"):
            shutil.rmtree(path)
        else:
            raise EvofoolError(f"{path} is a folder in place of a file: move it elsewhere")

    def _read(self) -> dict[str, None] | None:
        """What the manifest lists; None where there is none of this kind."""
        try:
            manifest = json.loads((self.path / MANIFEST).read_bytes())
            kind, listed = manifest["kind"], manifest["files"]
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if kind != self.kind.name or not isinstance(listed, list):
            return None
        return dict.fromkeys(listed) if all(map(_is_inside, listed)) else None

    def _save(self) -> None:
        manifest = {"kind": self.kind.name, "files": list(self._listed)}
        with replacing(self.path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def require_new_file(path: Path, *, overwrite: bool) -> None:
    """Raise unless a single file of results can be written, before hours of work are spent on it.

    Raises:
        UsageError: `path` is a directory, or is there and `overwrite` is not set.
        EvofoolError: its folder cannot be written to.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a directory: choose another file")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} already exists: overwrite it, or choose another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise EvofoolError(f"cannot write to {path}: {error.strerror}") from error


def _is_inside(name: object) -> bool:
    """Whether this is the name of something inside a directory; what a manifest lists may be anything."""
    if not isinstance(name, str) or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return bool(parts) and not name.startswith("/") and ".." not in parts and parts[0] not in (MANIFEST, LOCK)


def _is_unfinished(path: Path) -> bool:
    """Whether a process that was killed left this temporary file of `evofool.files.replacing`."""
    return re.fullmatch(r"\..+\.\d+\.part", path.name, re.DOTALL) is not None and not path.is_dir()


def _is_leftover(path: Path) -> bool:
    return path.name == LOCK or _is_unfinished(path)


def _folders(names: Iterable[str]) -> set[str]:
    """The folders that these files and folders need, with those above them."""
    nearest = {name.rpartition("/")[0] for name in names}
    above = {str(parent) for folder in nearest for parent in PurePosixPath(folder).parents}
    return (nearest | above) - {"", "."}


def _first_link(root: Path, name: str) -> Path | None:
    """The first link on the way from a directory to something in it."""
    path = PurePosixPath(name)
    steps = (root / step for step in (*reversed(path.parents), path))
    return next((step for step in steps if step != root and step.is_symlink()), None)
