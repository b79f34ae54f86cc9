"""Checkpoints of a search's state, written by Orbax in the background."""

import contextlib
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evofool.errors import EvofoolError
from evofool.runs.job import RunSettings


class Checkpoints:
    """The last few states of a run on disk.

    Saving copies the state to the host and returns; the files are written in the background and appear
    under their final name only when they are whole.

    Args:
        folder: where they lie; made if it is not there.
        settings: of the run that they belong to.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, settings: RunSettings, keep: int = 3) -> None:
        import orbax.checkpoint as ocp  # takes a second to import, which `evofool --help` need not pay

        self._ocp = ocp
        self._folder = folder.resolve()
        self._settings = settings
        self._begun = time.perf_counter()
        self._seconds = 0.0
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=True,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._stop_the_clock),
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def affordable(self, share: float) -> bool:
        """Whether the last checkpoint took at most this share of the time since it was begun.

        If so, another one now costs no more than that. The first one can always be afforded.
        """
        return self._seconds <= share * (time.perf_counter() - self._begun)

    def save(self, state: Any) -> None:
        """Begin to write a state; it may be used and overwritten as soon as this returns.

        Raises:
            EvofoolError: this or an earlier checkpoint could not be written.
        """
        self._begun = time.perf_counter()
        generation = int(state.generation)
        arrays = _to_host(state)
        about = {"settings": self._settings.fixed(), "checksum": _checksum(arrays)}
        args = self._ocp.args
        try:
            self._manager.save(
                generation,
                args=args.Composite(state=args.StandardSave(arrays), about=args.JsonSave(about)),
                force=True,
            )
        except (OSError, ValueError) as error:
            raise self._cannot_write(error) from error

    def restore(self, template: Any) -> tuple[Any, list[str]]:
        """The newest state that is whole, and a line about each one that is not.

        A run that was cut before its first checkpoint begins with the template. What is damaged is moved out
        of the way, beside the others, so that the run can write it again.

        Args:
            template: the state that the run begins with, as `search.init` gives it.

        Raises:
            EvofoolError: all checkpoints are damaged, or they belong to a run with other settings.
        """
        damaged = []
        if not self._manager.all_steps():
            return template, ["the run had no checkpoint yet: it begins anew"]
        for generation in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._read(generation, template)
            except EvofoolError:
                raise
            except Exception as error:  # Orbax tells of damage in errors of every kind
                reason = (
                    str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
                )
                damaged.append((generation, reason))
                _ignore_abandoned_reads()
            else:
                return state, [self._set_aside(*each) for each in damaged]
        raise EvofoolError(
            f"{self._folder} has no checkpoint that can be read"
            + "".join(
                f"; that of generation {generation} is damaged: {reason}" for generation, reason in damaged
            )
        )

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            EvofoolError: a checkpoint could not be written.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except (OSError, ValueError) as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Stop the threads in the background, without a word about what failed in them."""
        with contextlib.suppress(Exception):  # the error that matters is already on its way
            self._manager.close()

    def _stop_the_clock(self) -> None:
        self._seconds = time.perf_counter() - self._begun

    def _read(self, generation: int, template: Any) -> Any:
        args = self._ocp.args
        # The settings first: a state of other settings would not fit, which looks like damage.
        about = self._manager.restore(generation, args=args.Composite(about=args.JsonRestore()))["about"]
        wanted = self._settings.fixed()
        for name, value in about["settings"].items():
            if wanted.get(name) != value:
                raise EvofoolError(
                    f"config.json does not match the checkpoints: {name} is {wanted.get(name)!r} there and "
                    f"{value!r} in the checkpoint of generation {generation}"
                )
        arrays = self._manager.restore(
            generation, args=args.Composite(state=args.StandardRestore(_to_host(template)))
        )["state"]
        if about["checksum"] != _checksum(arrays):
            raise ValueError("its checksum is wrong")
        return _to_device(arrays, template)

    def _set_aside(self, generation: int, reason: str) -> str:
        aside = self._folder.with_name("damaged-checkpoints")
        aside.mkdir(exist_ok=True)
        number = sum(1 for _ in aside.iterdir())
        target = aside / f"{generation}-{number}"
        (self._folder / str(generation)).rename(target)
        self._manager.reload()
        return f"the checkpoint of generation {generation} is damaged ({reason}); moved to {target}"

    def _cannot_write(self, error: Exception) -> EvofoolError:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        return EvofoolError(
            f"cannot write a checkpoint to {self._folder}: {reason}. Those before it are whole: make room "
            f"and go on with --resume {self._folder.parent}"
        )


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(state: Any) -> Any:
    """A copy in NumPy arrays, which the next generation cannot overwrite; PRNG keys as their words."""
    return jax.tree.map(lambda leaf: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf), state)


def _to_device(arrays: Any, template: Any) -> Any:
    def convert(array: np.ndarray, leaf: Any) -> Any:
        return jax.random.wrap_key_data(jnp.asarray(array)) if _is_key(leaf) else jnp.asarray(array)

    return jax.tree.map(convert, arrays, template)


def _ignore_abandoned_reads() -> None:
    """Silence the reads that Orbax abandons when one of them fails.

    Each of them finds its event loop closed and would print a traceback, whenever it ends.
    """
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = report_others


def _checksum(arrays: Any) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(arrays):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, checksum)
    return checksum
