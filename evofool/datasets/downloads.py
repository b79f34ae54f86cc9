"""Downloads into the user's cache, each checked before it takes its place."""

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from evofool.errors import EvofoolError, root_cause


def cache_folder() -> Path:
    """The folder of everything that can be made or fetched again: `$EVOFOOL_CACHE`, or the system's own."""
    if named := os.environ.get("EVOFOOL_CACHE"):
        return Path(named)
    import pooch  # no other part of a run needs it

    return Path(pooch.os_cache("evofool"))


def data_folders(name: str) -> list[Path]:
    """Where the files of a dataset may be: its folder under `$EVOFOOL_DATA`, if set, and in the cache."""
    data = os.environ.get("EVOFOOL_DATA")
    return [*([Path(data, name)] if data else []), cache_folder() / name]


def data_path(*parts: str, how: str = "") -> Path:
    """The path of a file under `$EVOFOOL_DATA` or else in the cache, which are laid out alike.

    Args:
        parts: of the path inside the folder.
        how: where the file comes from, as the end of the error.

    Raises:
        EvofoolError: there is no such file.
    """
    data = os.environ.get("EVOFOOL_DATA")
    for folder in (*([Path(data)] if data else []), cache_folder()):
        if (path := folder.joinpath(*parts)).is_file():
            return path
    path = Path(data or "$EVOFOOL_DATA", *parts)
    raise EvofoolError(f"{path} is missing: set EVOFOOL_DATA to a folder that has {'/'.join(parts)}{how}")


class Download(NamedTuple):
    """A file to download.

    Attributes:
        name: what it is called in its folder.
        addresses: where it is, to be tried one after the other.
        checksum: the algorithm and the hexadecimal digest of its content, as in "md5:d41d...", once unpacked;
            of an archive as it is.
        convert: from its content to what is stored; the content itself is if this is None.
        members: of a tar archive, the names of the files in it that are stored, without their folders.
    """

    name: str
    addresses: Sequence[str]
    checksum: str
    convert: Callable[[bytes], bytes] | None = None
    members: tuple[str, ...] = ()

    def at(self, base_url: str) -> "Download":
        """The same file in a folder of a mirror."""
        name = self.addresses[0].rpartition("/")[2]
        return self._replace(addresses=(f"{base_url.rstrip('/')}/{name}",))


def download_all(downloads: Iterable[Download], folder: Path, *, quiet: bool) -> None:
    """Download files that are missing from a folder or damaged, unpack and convert them.

    Args:
        downloads: the files. Of one that was converted or taken from an archive only the presence can be
            checked.
        folder: where the files belong.
        quiet: show no progress bar.

    Raises:
        EvofoolError: no address has the right file, or it cannot be stored.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        for download in downloads:
            if not _is_present(folder, download):
                _download(download, folder, _ProgressBar(progress, download.name))


def plain_or_gz(folder: Path, file_name: str) -> Path | None:
    """The path of a file that may be packed as NAME.gz; None if it is missing."""
    candidates = (folder / file_name, folder / f"{file_name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def unpacked(content: bytes) -> bytes:
    """The content of a file that may be packed with gzip."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _is_present(folder: Path, download: Download) -> bool:
    if download.members:
        return all((folder / name).is_file() for name in download.members)
    present = plain_or_gz(folder, download.name)
    if present is None or download.convert is not None:
        return present is not None
    try:
        return _checksum(unpacked(present.read_bytes()), download) == download.checksum
    except (OSError, EOFError, zlib.error):
        return False


def _checksum(content: bytes, download: Download) -> str:
    """The checksum of a content, by the algorithm of that of a download."""
    algorithm = download.checksum.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}"


def _download(download: Download, folder: Path, progress_bar: "_ProgressBar") -> None:
    """Store a file, unpacked, checked and converted, from the first address that has the right one."""
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=progress_bar, chunk_size=1 << 16)
    failures = []
    for url in download.addresses:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Within the folder, so that the last step is a rename on one disk: all or nothing.
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                packed = Path(scratch, "packed")
                downloader(url, str(packed), None)
                content = packed.read_bytes() if download.members else unpacked(packed.read_bytes())
                if (found := _checksum(content, download)) != download.checksum:
                    raise ValueError(f"not the right file (its checksum is {found}, not {download.checksum})")
                _store(content, download, Path(scratch), folder)
            return
        except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
            failures.append(f"{url}: {root_cause(error)}")
            progress_bar.reset()
    what = f"{'unpack' if download.members else 'download'} {download.addresses[0].rpartition('/')[2]}"
    by_hand = "" if download.convert else f", or {what} by hand into {folder}"
    raise EvofoolError(f"cannot fetch {'; '.join(failures)}. Name another mirror{by_hand}")


def _store(content: bytes, download: Download, scratch: Path, folder: Path) -> None:
    """Write what a download is stored as to a scratch folder, then move it to its place."""
    if download.members:
        files = _members(content, download.members)
    else:
        files = {download.name: content if download.convert is None else download.convert(content)}
    for name, stored in files.items():
        (scratch / name).write_bytes(stored)
    for name in files:
        (scratch / name).replace(folder / name)


def _members(content: bytes, names: tuple[str, ...]) -> dict[str, bytes]:
    """The regular files of these names in a tar archive, whatever their folders."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in names and member.isfile() and (file := archive.extractfile(member)):
                found[name] = file.read()
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"the archive lacks {', '.join(missing)}")
    return found


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
