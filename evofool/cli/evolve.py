"""`evofool evolve`."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from evofool.classifiers import BlackBox
from evofool.cli.forms import given_options, with_choices
from evofool.cli.results import default_path, print_present, require_no_other_directory
from evofool.console import make_console
from evofool.errors import EvofoolError, UsageError, shown
from evofool.processes import ProcessOptions, agreed, finish, is_first
from evofool.progress import RunProgress
from evofool.report import format_confidence
from evofool.runs import (
    RunDirectory,
    RunOptions,
    RunOutcome,
    RunSettings,
    evolve,
    prepare,
    require_same,
    take_part,
)
from evofool.runs.job import OWN, Job, headline
from evofool.runs.remarks import remarks
from evofool.search.search import State

_MOST_CLASSES_IN_TABLE = 20


@dataclass(frozen=True)
class Evolve:
    """Evolve one image per class that the classifier is certain about.

    With no options, MAP-Elites evolves digits for the embedded classifier, in less than a minute. Ctrl-C ends
    a run early and saves everything; --resume continues it.

    Attributes:
        settings: what decides the result.
        out: directory to write the run to; by default a new one under ./runs.
        resume: continue the run in this directory, up to --generations if that is more.
        overwrite: replace the run in --out.
        options: how the run is carried out.
        processes: how many processes carry it out.
        quiet: print nothing but errors.
    """

    settings: RunSettings = field(default_factory=RunSettings)
    out: Path | None = None
    resume: Path | None = None
    overwrite: bool = False
    options: RunOptions = field(default_factory=RunOptions)
    processes: ProcessOptions = field(default_factory=ProcessOptions)
    quiet: bool = False

    @classmethod
    def with_choices(cls, args: Sequence[str]) -> "Evolve":
        """The command with the algorithm and the encoding that `args` name, or those of the run to resume.

        Raises:
            UsageError: an unknown name, an option of another choice, or no run to resume.
            EvofoolError: the settings of the run are damaged.
        """
        given = given_options(args)
        processes = _processes(given)
        # Before the settings are known, because only process 0 needs the directory that may hold them.
        if processes.several and not {"--help", "-h"} & set(args):
            processes.connect()
        resume = given.get("--resume")
        if agreed(bool(resume)) != bool(resume):
            raise UsageError("--resume must be given to all processes or to none")
        return with_choices(cls(_settings_of(resume) if resume else RunSettings()), args)

    def run(self) -> int:
        """Evolve; returns the exit code."""
        self._require_named()
        job = prepare(self.settings, self.options.cut, asking=self.options.asking)
        last = self.options.last_generation(self.settings, job)
        if self.processes.several:
            require_same(self.settings, job, self.options)
        if not is_first():
            return self._take_part(job)
        console = make_console(quiet=self.quiet)
        directory = self._directory(job)
        with (
            _asked_to_stop() as signals,
            RunProgress(console, last, headline(self.settings, job)) as progress,
        ):
            try:
                outcome = evolve(
                    self.settings,
                    job,
                    directory,
                    resume=self.resume is not None,
                    options=self.options,
                    on_record=progress.update,
                    stop=lambda: bool(signals),
                )
            except EvofoolError as error:
                if not isinstance(job.scorer, BlackBox):
                    raise
                way = f"evofool evolve --resume {directory.path}"
                raise EvofoolError(f"{error}. What was found is kept: continue with {way}") from error
        for note in outcome.notes:
            console.print(f"Note: {note}", soft_wrap=True)
        _print_outcome(console, job, directory, outcome)
        code = self._exit_code(outcome.state, last, signals)
        if code:
            console.print(
                f"Stopped early. Continue with: evofool evolve --resume {directory.path}", soft_wrap=True
            )
        finish()
        return code

    def _take_part(self, job: Job) -> int:
        """Compute a share of the run of process 0; returns the exit code."""
        with _asked_to_stop() as signals:
            state = take_part(
                self.settings,
                job,
                resume=self.resume is not None,
                options=self.options,
                stop=lambda: bool(signals),
            )
            finish()
        return self._exit_code(state, self.options.last_generation(self.settings, job), signals)

    def _exit_code(self, state: State, last: int, signals: Sequence[int]) -> int:
        if int(state.generation) >= last:
            return 0
        return 128 + (signals[0] if signals else signal.SIGTERM)  # another process was signalled

    def _directory(self, job: Job) -> RunDirectory:
        if self.resume is None:
            settings = self.settings
            first, last = settings.all_seeds[0], settings.all_seeds[-1]
            seeds = f"seed{first}" if settings.seeds is None else f"seeds{first}-{last}"
            words = (settings.algorithm, settings.encoding_name, settings.classifier, seeds)
            path = self.out or default_path(*words)
            return RunDirectory.create(path, settings, job.classifier, overwrite=self.overwrite)
        require_no_other_directory(self.out, self.overwrite)
        directory = RunDirectory.open(self.resume)
        directory.require_same(self.settings, job.classifier)
        return directory

    def _require_named(self) -> None:
        """Raise if the classifier is one that only the program that made it can pass."""
        if self.settings.classifier != OWN:
            return
        if self.resume is None:
            raise UsageError(f"{OWN} stands for a classifier that a Python program made: name one to load")
        raise UsageError(
            f"{self.resume} fools a classifier that a Python program made: continue it there, with "
            f"evofool.fool(classifier, {str(self.resume)!r}, resume=True)"
        )


def _processes(given: Mapping[str, str]) -> ProcessOptions:
    """The processes that a command line names, before it is parsed as a whole."""
    numbers = {}
    for flag in ("--processes", "--process-id"):
        if (word := given.get(flag)) is not None:
            if not word.isdecimal():
                raise UsageError(f"{flag} must be a whole number, not {shown(word)}")
            numbers[flag] = int(word)
    return ProcessOptions(
        "--distributed" in given,
        given.get("--coordinator"),
        numbers.get("--processes"),
        numbers.get("--process-id"),
    )


def _settings_of(run: str) -> RunSettings:
    """The settings of the run in a directory, which process 0 reads for all."""
    values = RunDirectory.open(Path(run)).read_settings().to_json() if is_first() else None
    return RunSettings.from_json(agreed(values))


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """The signals received so far; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_outcome(console: Console, job: Job, directory: RunDirectory, outcome: RunOutcome) -> None:
    if record := outcome.record:
        if job.runs is None and len(job.targets) <= _MOST_CLASSES_IN_TABLE:
            console.print(_table_of_classes(job, outcome))
        whose = "median confidence" if job.runs is None else f"{job.runs} runs, whose median confidence is"
        console.print(
            f"\nGeneration {record['generation']:,}: {whose} "
            f"{format_confidence(record['median_confidence'])}, lowest "
            f"{format_confidence(record['min_confidence'])}; {record['niches_over_0.9999']:g} of "
            f"{len(job.targets)} over 99.99%; {record['evaluations']:,} evaluations in "
            f"{record['seconds']:.1f} s",
            soft_wrap=True,
        )
    print_present(console, directory.results)


def _table_of_classes(job: Job, outcome: RunOutcome) -> Table:
    archive = jax.tree.map(np.asarray, outcome.state.archive)
    headings = ["class", "confidence", "born in generation", "replacements"]
    found = remarks(outcome.state.archive)
    table = Table(*headings, *(["remark"] if any(found) else []), box=None, pad_edge=False)
    for niche, target in enumerate(job.targets):
        table.add_row(
            job.classifier.spec.class_names[target],
            format_confidence(archive.confidences[niche]),
            f"{int(archive.generations[niche]):,}",
            f"{int(archive.replacements[niche]):,}",
            *([found[niche]] if any(found) else []),
        )
    return table
