"""The work of a study: what it has finished is kept, and how far it is can be seen."""

import hashlib
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from jaxtyping import Shaped
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evofool.classifiers import (
    AnyClassifier,
    Classifier,
    is_service,
    load_classifier,
    save_classifier,
    service,
    weights_digest,
)
from evofool.classifiers.weights import load_weights_file
from evofool.datasets import Dataset, load_dataset
from evofool.errors import EvofoolError
from evofool.files import replacing
from evofool.results import Results
from evofool.studies.directory import STEPS
from evofool.training import TrainingOptions, TrainingResult, train

Arrays = dict[str, np.ndarray]
Item = TypeVar("Item")

_INPUTS = f"{STEPS}inputs.json"
_SECONDS_BETWEEN_LINES = 5.0
# What NumPy and the standard library raise where the bytes of an archive are wrong.
_DAMAGED = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


class Work:
    """Where a study does its work.

    A study is cut into steps with names. A finished step is read from the study's directory and not computed
    again, so a study that was stopped at any moment goes on with the step that it was at. Without a directory
    nothing is kept.

    Args:
        results: the directory, which this process holds.
        begin: called once before anything is written to the directory.
        console: where progress is shown; None shows none.

    Example:
        >>> work = Work()
        >>> squares = work.arrays("squares", lambda: {"of": np.arange(3) ** 2})
        >>> [int(squares["of"][i]) for i in work.each(range(3), "square")]
        [0, 1, 4]
    """

    def __init__(
        self,
        results: Results | None = None,
        begin: Callable[[], None] | None = None,
        console: Console | None = None,
    ) -> None:
        self._results = results
        self._begin = begin
        self._console = console
        self._progress: Progress | None = None
        self._last_line = -_SECONDS_BETWEEN_LINES
        self._inputs: dict[str, str] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a directory from which the study can go on."""
        return self._results is not None and self._begin is None

    def arrays(self, step: str, compute: Callable[[], Mapping[str, Shaped[np.ndarray, "..."]]]) -> Arrays:
        """The arrays of a step, computed or read.

        Args:
            step: its name, with slashes between what it belongs to: "seed-0/iteration-3".
            compute: returns the arrays by name.

        Raises:
            EvofoolError: they were kept and are damaged, or cannot be written.
        """
        name = f"{STEPS}{step}.npz"
        if (path := self._kept(name)) is not None:
            try:
                with np.load(path) as stored:
                    return _Kept(path, {key: stored[key] for key in stored.files})
            except _DAMAGED as error:
                raise _damaged(path) from error
        arrays = {key: np.asarray(value) for key, value in compute().items()}
        if self._results is not None:
            path = self._add(name)
            with self._results.writing(), replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return arrays

    def trained(
        self,
        step: str,
        start: Callable[[], Classifier],
        dataset: Dataset,
        options: TrainingOptions,
    ) -> tuple[Classifier, float]:
        """A classifier that the study trains, and its accuracy on the test set to four digits.

        Args:
            step: its name, as of `arrays`.
            start: returns one of evofool's networks to train.
            dataset: what it learns.
            options: how.

        Raises:
            EvofoolError: training diverged, or the weights were kept and are damaged or cannot be written.
        """
        name = f"{STEPS}{step}.safetensors"
        if (path := self._kept(name)) is None:
            with self.bar(f"training {step}", options.epochs) as advance:
                result = train(start(), dataset, options, on_epoch=lambda epoch, loss: advance(1))
            if self._results is None:
                return result.classifier, round(result.test_accuracy, 4)
            path = self._save(name, dataset, result)
        try:
            classifier, metadata = load_weights_file(path)
            return classifier, float(metadata["test_accuracy"])
        except (EvofoolError, KeyError, ValueError) as error:
            raise _damaged(path) from error

    def load_classifier(self, name: str) -> Classifier:
        """A classifier by its name, which must have the same weights whenever the study goes on.

        Raises:
            UsageError: the name is unknown.
            EvofoolError: the weights are missing, damaged, or others than when the study began.
        """
        classifier = load_classifier(name)
        self._require_same(f"the weights of {name}", weights_digest(classifier))
        return classifier

    def load_any_classifier(self, name: str) -> AnyClassifier:
        """The same for a study that asks only: the name may be the address of a service."""
        if not is_service(name):
            return self.load_classifier(name)
        box = service(name)
        self._require_same(f"the classes of {name}", weights_digest(box))
        return box

    def load_dataset(self, name: str) -> Dataset:
        """A dataset by its name, which must be the same whenever the study goes on.

        Raises:
            UsageError: the name is unknown.
            EvofoolError: it is missing, damaged, or another than when the study began.
        """
        dataset = load_dataset(name)
        digest = hashlib.sha256()
        for part in dataset[2:]:
            # Images that do not fit into memory are not read only to be compared.
            if isinstance(part, np.ndarray):
                digest.update(np.ascontiguousarray(part).data)
        self._require_same(f"the images of {name}", digest.hexdigest())
        return dataset

    def each(self, items: Sequence[Item], label: str) -> Iterator[Item]:
        """The items one by one, with a bar that counts them.

        Args:
            items: any.
            label: what an item is, in the singular.
        """
        with self.bar(label, len(items)) as advance:
            for item in items:
                yield item
                advance(1)

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, now and then a line elsewhere.

        Args:
            label: what is done.
            total: the number of its parts.

        Returns:
            The function to call with the number of parts that were finished since the last call.
        """
        console = self._console
        if console is None or console.quiet:
            yield lambda parts: None
            return
        if not console.is_terminal:
            done = 0

            def print_line(parts: int) -> None:
                nonlocal done
                done += parts
                if time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
                    self._last_line = time.monotonic()
                    console.print(f"{label}: {done} of {total}", soft_wrap=True)

            yield print_line
            return
        with self._shown() as progress:
            task = progress.add_task(label, total=total)
            try:
                yield lambda parts: progress.advance(task, parts)
            finally:
                progress.remove_task(task)

    @contextmanager
    def _shown(self) -> Iterator[Progress]:
        """The display of all bars, which the outermost of them starts and stops."""
        if self._progress is not None:
            yield self._progress
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as self._progress:
            try:
                yield self._progress
            finally:
                self._progress = None

    def close(self) -> None:
        """Take the bars off the terminal, which an error in the work between them leaves there."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def begin(self) -> None:
        """Make the directory ready to be written to."""
        if self._begin is not None:
            begin, self._begin = self._begin, None
            begin()
            self._save_inputs()

    def _kept(self, name: str) -> Path | None:
        """The file of a step that is finished."""
        if self._results is None or self._begin is not None:
            return None
        path = self._results.path / name
        return path if path.is_file() else None

    def _add(self, name: str) -> Path:
        assert self._results is not None
        self.begin()
        return self._results.add(name)

    def _save(self, name: str, dataset: Dataset, result: TrainingResult) -> Path:
        path = self._add(name)
        assert self._results is not None
        with self._results.writing():
            save_classifier(
                path, result.classifier, training_data=dataset.name, test_accuracy=result.test_accuracy
            )
        return path

    def _require_same(self, what: str, digest: str) -> None:
        """Raise `EvofoolError` if something is no longer what it was when the study began."""
        if self._results is None:
            return
        if self._inputs is None:
            self._inputs = self._kept_inputs()
        if what not in self._inputs:
            self._inputs[what] = digest
            # What is in the directory stays until there is something to put in its place.
            if self.begun:
                self._save_inputs()
        if self._inputs[what] != digest:
            raise EvofoolError(f"{what} are not those that the study in {self._results.path} began with")

    def _kept_inputs(self) -> dict[str, str]:
        if (path := self._kept(_INPUTS)) is None:
            return {}
        try:
            return dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise EvofoolError(f"{path} is damaged, so the study cannot go on: begin it anew") from error

    def _save_inputs(self) -> None:
        if self._inputs and self._results is not None:
            with self._results.writing(), replacing(self._add(_INPUTS)) as temporary:
                temporary.write_text(json.dumps(self._inputs, indent=1))


class _Kept(Arrays):
    """The arrays of a file, which is damaged if it lacks any that is asked for."""

    def __init__(self, path: Path, arrays: Arrays) -> None:
        super().__init__(arrays)
        self._path = path

    def __missing__(self, name: str) -> NoReturn:
        raise _damaged(self._path)


def _damaged(path: Path) -> EvofoolError:
    return EvofoolError(f"{path} is damaged: remove it, and it is computed again")
