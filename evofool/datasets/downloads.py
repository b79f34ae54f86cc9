"""Downloads into the user's cache, each checked before it takes its place."""

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from evofool.errors import EvofoolError, root_cause


def cache_folder() -> Path:
    """The folder of everything that can be made or fetched again: `$EVOFOOL_CACHE`, or the system's own."""
    return Path(os.environ.get("EVOFOOL_CACHE") or pooch.os_cache("evofool"))


def download_all(md5: Mapping[str, str], folder: Path, mirrors: Iterable[str], *, quiet: bool) -> None:
    """Download files that are missing from a folder or damaged, and unpack them.

    Args:
        md5: the MD5 sum of each unpacked file, by its name; the mirrors have it as NAME.gz.
        folder: where the files belong.
        mirrors: addresses to try, one after the other.
        quiet: show no progress bar.

    Raises:
        EvofoolError: no mirror has the right file, or it cannot be stored.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        for file_name, expected in md5.items():
            present = plain_or_gz(folder, file_name)
            if present is None or not _has_md5(present, expected):
                _download(file_name, expected, folder, mirrors, _ProgressBar(progress, file_name))


def plain_or_gz(folder: Path, file_name: str) -> Path | None:
    """The path of a file that may be packed as NAME.gz; None if it is missing."""
    candidates = (folder / file_name, folder / f"{file_name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def unpacked(content: bytes) -> bytes:
    """The content of a file that may be packed with gzip."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _has_md5(path: Path, md5: str) -> bool:
    try:
        return _md5(unpacked(path.read_bytes())) == md5
    except (OSError, EOFError, zlib.error):
        return False


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _download(
    file_name: str, md5: str, folder: Path, mirrors: Iterable[str], progress_bar: "_ProgressBar"
) -> None:
    """Store the file, unpacked and checked, from the first mirror that has the right one."""
    downloader = pooch.HTTPDownloader(progressbar=progress_bar, chunk_size=1 << 16)
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file_name}.gz"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Within the folder, so that the last step is a rename on one disk: all or nothing.
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                packed, plain = Path(scratch, "packed"), Path(scratch, "unpacked")
                downloader(url, str(packed), None)
                content = unpacked(packed.read_bytes())
                if _md5(content) != md5:
                    raise ValueError(f"not the right file (its MD5 is {_md5(content)}, not {md5})")
                plain.write_bytes(content)
                plain.replace(folder / file_name)
            return
        except (OSError, EOFError, ValueError, zlib.error) as error:
            failures.append(f"{url}: {root_cause(error)}")
            progress_bar.reset()
    raise EvofoolError(
        f"cannot fetch {'; '.join(failures)}. Name another mirror, or download {file_name}.gz by hand into "
        f"{folder}"
    )


class _ProgressBar:
    """A task of rich's progress display, as the object that pooch reports to; pooch sets `total`."""

    def __init__(self, progress: Progress, label: str) -> None:
        self.total: int | None = None
        self._progress = progress
        self._task = progress.add_task(label, total=None)

    def update(self, n: int) -> None:
        # A server that does not send the length gives a total of 0.
        self._progress.update(self._task, advance=n, total=self.total or None)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.refresh()
