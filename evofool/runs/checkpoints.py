"""Checkpoints of a search's state, written by Orbax in the background."""

import errno
import json
import logging
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from evofool.errors import EvofoolError, UsageError
from evofool.processes import arrays_of_first
from evofool.results import Results
from evofool.runs.job import RunSettings

CHECKPOINTS, DAMAGED = "checkpoints/", "damaged-checkpoints/"

_ABOUT = "about.json"
_UNFINISHED = (".part", ".orbax-checkpoint-tmp")
_SMALL, _LARGE = "small", 2**20
"""The name of the array that holds all small ones, and from how many bytes an array is large."""

_SECONDS_TO_ABANDON = 0.5
"""When a write has failed, those that Orbax began beside it end within this time."""

_LARGEST_SHARE = 0.03
"""Checkpoints may take this share of the time of a run where their spacing is not given."""


class Checkpoints:
    """The last few states of a run on disk, one folder per generation.

    Saving copies the state to the host and returns. The files are written in the background, and the folder
    gets its name only when they are whole.

    Args:
        results: of the run.
        settings: of the run; a checkpoint of other settings is refused.
        classifier_sha256: the digest of what is fooled; a checkpoint of another classifier is refused.
        keep: how many checkpoints to keep.

    Raises:
        EvofoolError: the folder cannot be written.
    """

    def __init__(
        self, results: Results, settings: RunSettings, classifier_sha256: str, keep: int = 3
    ) -> None:
        import orbax.checkpoint as ocp  # takes long, and no other command needs it

        self._results = results
        self._folder = results.add(CHECKPOINTS).resolve()
        self._settings = settings.fixed()
        self._classifier_sha256 = classifier_sha256
        self._keep = keep
        self._begun, self._seconds = time.perf_counter(), 0.0
        # Otherwise Orbax waits for the other processes of a run, which have no part in this.
        here = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=here, active_processes={here}, barrier_sync_key_prefix=str(here)
        )
        self._orbax = ocp.Checkpointer(
            ocp.PyTreeCheckpointHandler(
                use_ocdbt=False, use_compression=False, multiprocessing_options=alone
            ),
            multiprocessing_options=alone,
        )
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None
        with results.writing("checkpoints"):
            for entry in self._folder.iterdir():
                if entry.name.endswith(_UNFINISHED):
                    shutil.rmtree(entry)

    def generations(self) -> list[int]:
        """The generations that have a checkpoint, the oldest first."""
        try:
            return sorted(int(entry.name) for entry in self._folder.iterdir() if entry.name.isdecimal())
        except OSError:
            return []

    def affordable(self) -> bool:
        """Whether another checkpoint that takes as long as the last one takes at most 3% of the time."""
        return self._seconds <= _LARGEST_SHARE * (time.perf_counter() - self._begun)

    def save(self, state: PyTree) -> None:
        """Begin to write a state; it may be used and overwritten as soon as this returns.

        Raises:
            EvofoolError: the checkpoint before this one could not be written.
        """
        self.finish()
        self._begun = time.perf_counter()
        self._writing = self._writer.submit(self._write, int(state.generation), _pack(_to_host(state)))

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            EvofoolError: a checkpoint could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except Exception as error:  # Orbax reports a full disk in errors of every kind
            rest = "; the run can be resumed from the one before" if self.generations() else ""
            raise EvofoolError(
                f"cannot write a checkpoint to {self._folder}: {_reason(error)}{rest}"
            ) from error

    def restore(self, template: PyTree) -> tuple[PyTree, list[str]]:
        """The newest state that is whole, and a line about each one that is not.

        A run that was killed before its first checkpoint starts again from the template. Damaged checkpoints
        are moved aside, so that the run can write them again.

        Args:
            template: the state that the run starts from, as `search.init` gives it.

        Raises:
            EvofoolError: all checkpoints are damaged, or they belong to another run.
        """
        damaged: dict[int, str] = {}
        if not self.generations():
            return template, ["the run had no checkpoint yet: it starts again"]
        for generation in reversed(self.generations()):
            try:
                state = self._read(generation, template)
            except EvofoolError:
                raise
            except Exception as error:  # damage shows in errors of every kind
                damaged[generation] = _reason(error)
            else:
                return state, [self._set_aside(*each) for each in damaged.items()]
        raise EvofoolError(
            f"{self._folder} has no checkpoint that can be read"
            + "".join(f"; generation {generation}: {reason}" for generation, reason in damaged.items())
        )

    def close(self) -> None:
        """Wait for the thread in the background, without a word about what failed in it."""
        self._writer.shutdown()

    def _write(self, generation: int, arrays: dict[str, np.ndarray]) -> None:
        if not self._folder.is_dir():  # Orbax would make it anew
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        whole = self._folder / str(generation)
        part = whole.with_suffix(".part")
        with _quietly():
            from orbax.checkpoint.args import PyTreeSave

            self._orbax.save(part, args=PyTreeSave(arrays))
        about = {
            "settings": self._settings,
            "classifier_sha256": self._classifier_sha256,
            "files": _checksums(part),
        }
        (part / _ABOUT).write_text(json.dumps({**about, "checksum": _checksum(about)}))
        part.rename(whole)
        for old in self.generations()[: -self._keep]:
            removed = (self._folder / str(old)).rename(self._folder / f"{old}.part")
            shutil.rmtree(removed)
        self._seconds = time.perf_counter() - self._begun

    def _read(self, generation: int, template: PyTree) -> PyTree:
        from orbax.checkpoint import RestoreArgs
        from orbax.checkpoint.args import PyTreeRestore

        folder = self._folder / str(generation)
        self._require_whole_and_ours(generation)
        state = _to_host(template)
        wanted = _pack(state)
        as_numpy = jax.tree.map(lambda _: RestoreArgs(restore_type=np.ndarray), wanted)
        with _quietly():
            arrays = self._orbax.restore(folder, args=PyTreeRestore(item=wanted, restore_args=as_numpy))
        for name, array in wanted.items():
            if (arrays[name].shape, arrays[name].dtype) != (array.shape, array.dtype):
                raise ValueError("its arrays have other shapes")
        return _to_device(_unpack(arrays, state), template)

    def _require_whole_and_ours(self, generation: int) -> None:
        """Raise `ValueError` or `OSError` if a file is damaged, `EvofoolError` if it is another run's."""
        folder = self._folder / str(generation)
        about = json.loads((folder / _ABOUT).read_bytes())
        if about.pop("checksum") != _checksum(about):
            raise ValueError(f"{_ABOUT} has a wrong checksum")
        for name, checksum in about["files"].items():
            if _file_checksum(folder / name) != checksum:
                raise ValueError(f"{name} has a wrong checksum")
        ours = self._settings
        for name, value in about["settings"].items():
            if ours.get(name) != value:
                raise EvofoolError(
                    f"config.json does not match the checkpoints: {name} is {ours.get(name)!r} there and "
                    f"{value!r} in the checkpoint of generation {generation}"
                )
        recorded, found = about["classifier_sha256"], self._classifier_sha256
        if recorded != found:
            raise EvofoolError(
                f"the checkpoint of generation {generation} belongs to a run against another classifier "
                f"(SHA-256 {recorded[:12]}, not {found[:12]})"
            )

    def _set_aside(self, generation: int, reason: str) -> str:
        aside = self._results.add(DAMAGED)
        with self._results.writing("a damaged checkpoint"):
            target = aside / f"{generation}-{sum(1 for _ in aside.iterdir())}"
            (self._folder / str(generation)).rename(target)
        return f"the checkpoint of generation {generation} is damaged ({reason}); moved to {target}"


def state_of_first(state: PyTree) -> PyTree:
    """The state of process 0, in all processes; they must have called this with states of equal shapes."""
    return _to_device(arrays_of_first(_to_host(state)), state)


def require_name_for_checkpoints(path: Path) -> None:
    """Raise `UsageError` if TensorStore cannot write there: a backslash it takes for a slash."""
    whole = str(path.resolve())
    if "\\" in whole or not whole.isprintable():
        raise UsageError(
            f"checkpoints cannot be written to {whole!r}: choose a path of printable characters without a "
            "backslash"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep from the terminal what Orbax prints about errors that it raises as well.

    It logs their tracebacks. When one of its writes fails it abandons the others, and each of these finds its
    event loop closed when it ends, for which Python would print a traceback.
    """
    logger, report = logging.getLogger("absl"), sys.unraisablehook

    def nothing(record: logging.LogRecord) -> bool:
        return False

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    logger.addFilter(nothing)
    sys.unraisablehook = report_others
    try:
        yield
    except Exception:
        time.sleep(_SECONDS_TO_ABANDON)
        raise
    finally:
        logger.removeFilter(nothing)
        if sys.unraisablehook is report_others:
            sys.unraisablehook = report


def _reason(error: Exception) -> str:
    """The cause of an error of Orbax or of TensorStore in a few words."""
    if (code := re.search(r"os_error_code='(\d+)'", str(error))) is not None:
        return os.strerror(int(code[1]))
    text = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
    return text or type(error).__name__


def _checksums(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _file_checksum(path) for path in files}


def _file_checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _checksum(values: Any) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(state: PyTree) -> PyTree:
    """A copy in NumPy arrays, which the next generation cannot overwrite; PRNG keys as their words."""
    return jax.tree.map(lambda leaf: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf), state)


def _pack(state: PyTree) -> dict[str, np.ndarray]:
    """The arrays that Orbax writes: the large ones by name, and the bytes of the small ones in one.

    Each array is two files, which cost far more than the bytes in them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    small = b"".join(leaf.tobytes() for _, leaf in leaves if leaf.nbytes < _LARGE)
    large = {_name(path): leaf for path, leaf in leaves if leaf.nbytes >= _LARGE}
    return {_SMALL: np.frombuffer(small, np.uint8), **large}


def _unpack(arrays: dict[str, np.ndarray], template: PyTree) -> PyTree:
    small, position = arrays[_SMALL].tobytes(), 0

    def take(path: Any, leaf: np.ndarray) -> np.ndarray:
        nonlocal position
        if leaf.nbytes >= _LARGE:
            return arrays[_name(path)]
        position += leaf.nbytes
        return np.frombuffer(small[position - leaf.nbytes : position], leaf.dtype).reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(take, template)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _to_device(arrays: PyTree, template: PyTree) -> PyTree:
    def convert(array: np.ndarray, leaf: Any) -> Any:
        return jax.random.wrap_key_data(jnp.asarray(array)) if _is_key(leaf) else jnp.asarray(array)

    return jax.tree.map(convert, arrays, template)
