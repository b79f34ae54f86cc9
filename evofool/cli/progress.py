"""The progress of a run: a live bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evofool.report import format_confidence

_SECONDS_BETWEEN_LINES = 5.0


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
        if self._console.is_terminal and not self._console.quiet:
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
            f"{record['niches_over_0.9999']} over 99.99%, {record['evaluations_per_second']:,.0f} images/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=generation, description=text)
        elif generation == self._generations or time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.print(f"generation {generation} of {self._generations}: {text}", soft_wrap=True)
