"""Directories that commands write into."""

from pathlib import Path

from evofool.errors import EvofoolError, UsageError


def make_directory(out: Path, *, overwrite: bool) -> None:
    """Make a directory for results, and refuse one that holds files unless these may be replaced.

    Raises:
        UsageError: `out` is a file, or a directory that is not empty.
        EvofoolError: it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_directory(Path(folder, "new"), overwrite=False)
        ...     Path(folder, "new").is_dir()
        True
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another --out")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise UsageError(f"{out} is not empty: write into it by --overwrite, or choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvofoolError(f"cannot write to {out}: {error.strerror}") from error
