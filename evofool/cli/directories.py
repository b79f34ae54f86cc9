"""Directories that commands write into."""

from pathlib import Path

from evofool.errors import EvofoolError, UsageError


def make_directory(out: Path, mark: str, *, overwrite: bool) -> None:
    """Make a directory for results, and refuse one that holds files unless these are old results to replace.

    Args:
        out: where.
        mark: the name of what every such command leaves there and nothing else does.
        overwrite: take a directory that holds that. Removing what is to be replaced is left to the command,
            for when it has something to put there.

    Raises:
        UsageError: `out` is a file, or a directory that is neither empty nor to be replaced.
        EvofoolError: it cannot be read or made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_directory(Path(folder, "new"), "results.csv", overwrite=False)
        ...     Path(folder, "new").is_dir()
        True
    """
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file: choose another --out")
        if out.is_dir() and any(out.iterdir()):
            if not (out / mark).exists():
                raise UsageError(
                    f"{out} is not empty, and its files are not those of this command: choose another --out"
                )
            if not overwrite:
                raise UsageError(
                    f"{out} is not empty: replace the results that it holds by --overwrite, or choose "
                    "another --out"
                )
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvofoolError(f"cannot write to {out}: {error.strerror}") from error
