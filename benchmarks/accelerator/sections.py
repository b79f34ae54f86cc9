"""Sections of named steps, each survived if it fails, within a budget of time."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.harness import Effort, NotInstalledError, Result, Table, say
from evofool.errors import EvofoolError

Step = Callable[[], Table]


@dataclass(frozen=True)
class Section:
    """A question.

    Attributes:
        about: the question.
        seconds: its share of eight minutes.
        steps: the steps by name; each gives a table.
    """

    about: str
    seconds: float
    steps: Callable[[Effort], Mapping[str, Step]]


@dataclass
class Progress:
    """What came of the steps so far, by "section: step".

    Attributes:
        result: the tables of those that ended well.
        seconds: how long each took.
        skipped: what was left out, and why.
        failed: the errors of those that failed, in one line.
    """

    result: Result
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run_sections(
    sections: Mapping[str, Section],
    effort: Effort,
    minutes: float,
    progress: Progress,
    after_each: Callable[[Table | None], None],
) -> None:
    """Run the steps of sections one after the other.

    The minutes are divided among the sections by their seconds. What a section leaves goes to the next ones;
    a step begins only in the time of its section.

    Args:
        sections: by name, in their order.
        effort: how much to measure.
        minutes: for all of them.
        progress: what to add to.
        after_each: called after each step with its table, if it has one.
    """
    began = time.perf_counter()
    share = 60 * minutes / sum(section.seconds for section in sections.values())
    deadline = began
    for name, section in sections.items():
        deadline += share * section.seconds
        try:
            steps = section.steps(effort)
        except Exception as error:
            _note(progress, name, error)
            continue
        for step_name, step in steps.items():
            label = f"{name}: {step_name}"
            started = time.perf_counter()
            if started >= deadline:
                progress.skipped[label] = "no time left"
                say(f"{label}: skipped, no time left")
                continue
            say(f"{label} ({started - began:.0f} s of {60 * minutes:.0f})")
            table = None
            try:
                table = step()
                progress.result.parts.append(table)
            except Exception as error:
                _note(progress, label, error)
            now = time.perf_counter()
            progress.seconds[label] = round(now - started, 1)
            progress.result.seconds = now - began
            after_each(table)


def _note(progress: Progress, label: str, error: Exception) -> None:
    """Record an error: what is missing is left out, and everything else is a failure."""
    missing = isinstance(error, EvofoolError | NotInstalledError | ImportError)
    line = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    (progress.skipped if missing else progress.failed)[label] = line
    say(f"{label}: {'skipped' if missing else 'FAILED'}, {line}")
