"""The progress of a run: a live bar on a terminal and in a notebook, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evofool.classifiers import AnyClassifier
from evofool.console import make_console
from evofool.report import format_confidence
from evofool.search.search import Search, State

_SECONDS_BETWEEN_LINES = 5.0

OnChunk = Callable[[State, dict[str, np.ndarray]], bool | None]
"""What `evofool.run` calls after each chunk, with the state and the metrics."""


class RunProgress:
    """Shows generation, confidence, niches won, speed and time left while a run proceeds.

    Args:
        console: where to print; a quiet one shows nothing.
        generations: the number of the last generation.
        headline: the first line.
    """

    def __init__(self, console: Console, generations: int, headline: str) -> None:
        self._console = console
        self._generations = generations
        self._headline = headline
        self._last_line = 0.0
        self._bar: Progress | None = None

    def __enter__(self) -> "RunProgress":
        self._console.print(self._headline, soft_wrap=True)
        if _is_live(self._console):
            self._bar = Progress(
                TextColumn("generation"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task("compiling", total=self._generations)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, record: dict[str, Any]) -> None:
        """Show the metrics of the newest generation."""
        generation = record["generation"]
        text = (
            f"median {format_confidence(record['median_confidence'])}, "
            f"{record['niches_over_0.9999']:g} over 99.99%, {record['evaluations_per_second']:,.0f} images/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=generation, description=text)
        elif generation == self._generations or time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.print(f"generation {generation} of {self._generations}: {text}", soft_wrap=True)


@contextmanager
def watched(
    search: Search, classifier: AnyClassifier, generations: int, begun: State | None, on_chunk: OnChunk | None
) -> Iterator[OnChunk]:
    """Show the progress of `evofool.run` during a block.

    Args:
        search: the algorithm.
        classifier: what it fools.
        generations: the number of the last generation.
        begun: the state that it continues from, if any.
        on_chunk: what is to be called after each chunk, if anything.

    Returns:
        The function to call after each chunk.
    """
    evaluations = search.evaluations(classifier)
    headline = f"{classifier.spec.name}: {evaluations:,} images per generation"
    done, started = 0 if begun is None else int(begun.generation), time.perf_counter()
    with RunProgress(make_console(), generations, headline) as progress:

        def show(state: State, metrics: dict[str, np.ndarray]) -> bool | None:
            nonlocal done, started
            before, since = done, started
            done, started = int(state.generation), time.perf_counter()
            confidences = np.asarray(state.archive.confidences)
            images = evaluations * confidences[..., 0].size  # of all independent runs
            progress.update(
                {
                    "generation": done,
                    "median_confidence": float(np.median(confidences)),
                    "niches_over_0.9999": int(np.sum(confidences > 0.9999)),
                    "evaluations_per_second": (done - before) * images / (started - since),
                }
            )
            return on_chunk(state, metrics) if on_chunk is not None else None

        yield show


def _is_live(console: Console) -> bool:
    """Whether a bar can be redrawn in place."""
    in_notebook = console.is_jupyter and find_spec("ipywidgets") is not None
    return (console.is_terminal or in_notebook) and not console.quiet
