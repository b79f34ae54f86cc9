"""`evofool study`: a subcommand per study."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from evofool.cli.choices import subcommands
from evofool.cli.forms import given_options
from evofool.cli.results import print_present
from evofool.cli.resumable import ResumableCommand
from evofool.console import make_console
from evofool.errors import UsageError
from evofool.registry import AnyOptions
from evofool.results import Results
from evofool.studies import STUDIES, StudyResult
from evofool.studies.directory import KIND, begin_study, options_of, save_study


def study_command(args: Sequence[str]) -> Any:
    """The union of all studies, as tyro parses it.

    Args:
        args: the words after `evofool`, which may name a study. The options of a study that they resume are
            its defaults.

    Raises:
        UsageError: there is no study to resume.
        EvofoolError: the options of that study are damaged.
    """
    resumed = given_options(args).get("--resume")
    begun = {} if resumed is None else dict([options_of(Path(resumed), STUDIES)])
    return subcommands(STUDIES, args, lambda name, entry: StudyCommand, begun)


@dataclass(frozen=True, kw_only=True)
class StudyCommand(ResumableCommand):
    """Answer a question of the papers."""

    if TYPE_CHECKING:
        options: AnyOptions  # a field of the commands that are made for the entries

    def run(self) -> int:
        """Answer; returns the exit code."""
        console = make_console(quiet=self.quiet)
        results = self._results()
        begin = partial(begin_study, self.name, self.options, results)
        with self.working(results, begin, console, "study", self.name) as work:
            result = self.entry.build(self.options, work)
            work.begin()
            save_study(result, self.name, self.options, results)
        _print_study(console, result)
        print_present(console, results)
        return 0

    def _results(self) -> Results:
        if self.resume is None:
            return self.create_results(KIND, "study", self.name)
        name, begun = options_of(self.resume, STUDIES)
        if name != self.name:
            raise UsageError(f"the study in {self.resume} is {name}, not {self.name}")
        return self.resumed_results(KIND, self.options, begun)


def _print_study(console: Console, result: StudyResult) -> None:
    for name, table in result.tables.items():
        headings = [column.heading for column in table.columns.values()]
        drawn = Table(*headings, box=None, pad_edge=False, title=name, title_justify="left")
        for row in table.rows:
            drawn.add_row(*table.texts(row, ranges=False), style="dim" if row.reported else None)
        console.print(drawn)
        console.print("Medians; tables.md has the lowest and the highest." if table.has_ranges else "", "")
        for number, source in enumerate(table.sources, 1):
            console.print(f"[{number}] as reported: {source}", style="dim", soft_wrap=True)
    for sentence in result.differences:
        console.print(f"Note: {sentence}", soft_wrap=True)
    console.print()
