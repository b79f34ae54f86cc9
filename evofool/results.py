"""Results directories: what a command leaves behind, with a manifest that says what each file is."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from evofool.errors import EvofoolError, UsageError
from evofool.files import replacing

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
    through a link.

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
        self._listed: list[str] = []

    @classmethod
    def create(cls, path: Path, kind: Kind, *, overwrite: bool = False) -> "Results":
        """Make a directory for results, or take one that is empty or whose results are to be replaced.

        Old results stay until `clear` is called, when there is something to put in their place.

        Raises:
            UsageError: `path` is a file, holds results and `overwrite` is not set, or holds anything else.
            EvofoolError: it cannot be read or made.
        """
        results = cls(path, kind)
        with results.writing():
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path} is a file: choose another directory")
            if path.is_dir() and any(not _is_unfinished(entry) for entry in path.iterdir()):
                if results._read() is None:
                    raise UsageError(
                        f"{path} is not empty and does not hold {kind.name}: choose another directory"
                    )
                if not overwrite:
                    raise UsageError(
                        f"{path} already holds {kind.name}: overwrite it, or choose another directory"
                    )
            path.mkdir(parents=True, exist_ok=True)
        return results

    @classmethod
    def open(cls, path: Path, kind: Kind) -> "Results":
        """The results that are in a directory.

        Raises:
            UsageError: there are none of this kind.
        """
        results = cls(path, kind)
        listed = results._read()
        if listed is None:
            raise UsageError(f"{path} does not hold {kind.name}: there is no {path / MANIFEST} that says so")
        results._listed = listed
        return results

    def clear(self) -> None:
        """Remove all that the manifest lists and nothing else, and begin a new manifest.

        Raises:
            EvofoolError: something cannot be removed.
        """
        with self.writing():
            listed = self._read() or []
            for name in listed:
                _remove(self.path / name)
            for folder in sorted(
                {parent for name in listed for parent in PurePosixPath(name).parents}, reverse=True
            ):
                whole = self.path / folder
                if folder.name and whole.is_dir() and not any(whole.iterdir()):
                    whole.rmdir()
            for entry in self.path.iterdir():
                if _is_unfinished(entry):
                    entry.unlink()
            self._listed = []
            self._save()

    def add(self, name: str) -> Path:
        """List a file, or a folder whose name ends in a slash, before it is written; returns its path."""
        return self.add_all([name])[0]

    def add_all(self, names: list[str]) -> list[Path]:
        """The same for many at once, with one update of the manifest.

        Raises:
            EvofoolError: a link is in the way, or the manifest cannot be written.
        """
        with self.writing():
            new = [name for name in names if name not in set(self._listed)]
            if new:
                self._listed += new
                self._save()
            paths = [self.path / name for name in names]
            for name, path in zip(names, paths, strict=True):
                for part in (path, *path.parents[: len(PurePosixPath(name).parts) - 1]):
                    if part.is_symlink():
                        raise EvofoolError(
                            f"{part} is a link, and nothing is written through links: remove it"
                        )
                (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        return paths

    def present(self) -> list[tuple[str, Path]]:
        """The labels and the paths of what is there, in the order of the kind's contents."""
        return [
            (content.label, self.path / name)
            for name, content in self.kind.contents.items()
            if (self.path / name).exists()
        ]

    @contextmanager
    def writing(self, what: str = "results") -> Iterator[None]:
        """Turn the `OSError` of a block that writes into an `EvofoolError`."""
        try:
            yield
        except OSError as error:
            raise EvofoolError(f"cannot write {what} to {self.path}: {error.strerror or error}") from error

    def _read(self) -> list[str] | None:
        """What the manifest lists; None where there is none of this kind."""
        try:
            manifest = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            listed = [str(name) for name in manifest["files"]]
            if manifest["kind"] != self.kind.name or any(not _is_inside(name) for name in listed):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return listed

    def _save(self) -> None:
        manifest = {"kind": self.kind.name, "files": self._listed}
        with replacing(self.path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_unfinished(path: Path) -> bool:
    """Whether a process that was killed left this temporary file of `evofool.files.replacing`."""
    return path.name.startswith(".") and path.name.endswith(".part") and not path.is_dir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        Path(str(path).rstrip("/")).unlink(missing_ok=True)
