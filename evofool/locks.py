"""Directories that are held by one process at a time."""

import contextlib
import os
import socket
import weakref
from pathlib import Path

from evofool.errors import EvofoolError

LOCK = ".lock"
"""The file in a held directory that names its process. It only means something while it is locked."""


class DirectoryLock:
    """A directory held by this process, until the last reference to the lock is gone or the process ends.

    The operating system releases the lock with its process, however that ends.

    Args:
        path: the lock file.
        descriptor: the file, open and locked.
        made: whether the directory was made to be held, so that it goes with the lock if it is still empty.
    """

    def __init__(self, path: Path, descriptor: int, made: bool) -> None:
        self._path = path
        self._inode = os.fstat(descriptor).st_ino
        weakref.finalize(self, _release, path, descriptor, self._inode, os.getpid(), made)

    def is_valid(self) -> bool:
        """Whether the directory is still there and still the one that was locked."""
        return _is_at(self._path, self._inode)


_held: weakref.WeakValueDictionary[Path, DirectoryLock] = weakref.WeakValueDictionary()


def hold(folder: Path, *, make: bool = False) -> DirectoryLock:
    """Hold a directory. A process that holds it already gets the same lock again.

    Args:
        folder: the directory.
        make: make it if it is not there. It is removed with the lock if nothing was put into it.

    Raises:
        EvofoolError: another process holds it, or locks are not supported here.
        OSError: the directory or the lock file cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lock = hold(Path(folder))
        ...     lock.is_valid(), hold(Path(folder)) is lock
        (True, True)
    """
    try:
        import fcntl
    except ModuleNotFoundError as error:  # Windows
        raise EvofoolError("this operating system has no file locks that evofool can use") from error
    path = folder.resolve() / LOCK
    lock = _held.get(path)
    if lock is not None and lock.is_valid():
        return lock
    made = make and not folder.is_dir()
    if made:
        folder.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise EvofoolError(
                f"{folder} is in use by {holder}: wait until it has ended, or choose another directory"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise EvofoolError(
                f"cannot lock {folder}: {error.strerror}; choose a directory on a file system with locks"
            ) from error
        # The process that held the directory may have removed its file after it was opened here.
        if _is_at(path, os.fstat(descriptor).st_ino):
            break
        os.close(descriptor)
    lock = _held[path] = DirectoryLock(path, descriptor, made)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return lock


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 300, 0).decode(errors="replace")
    return text if text and text.isprintable() else "another process"


def _is_at(path: Path, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except OSError:
        return False


def _release(path: Path, descriptor: int, inode: int, owner: int, made: bool) -> None:
    with contextlib.suppress(OSError):
        # A forked child has the same lock and must not end it.
        if os.getpid() == owner and _is_at(path, inode):
            path.unlink()
            if made:
                path.parent.rmdir()
    os.close(descriptor)
