"""`evofool study`: a subcommand per study."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from evofool.cli.choices import subcommands
from evofool.cli.results import ResultsCommand, print_present
from evofool.console import make_console
from evofool.registry import AnyOptions
from evofool.studies import STUDIES, StudyResult, save_study
from evofool.studies.study import KIND


def study_command() -> Any:
    """The union of all studies, as tyro parses it."""
    return subcommands(STUDIES, lambda name, entry: StudyCommand)


@dataclass(frozen=True, kw_only=True)
class StudyCommand(ResultsCommand):
    """Answer a question of the papers."""

    if TYPE_CHECKING:
        options: AnyOptions  # a field of the commands that are made for the entries

    def run(self) -> int:
        """Answer; returns the exit code."""
        console = make_console(quiet=self.quiet)
        results = self.create_results(KIND, "study", self.name)
        result = self.entry.build(self.options)
        save_study(result, self.options, results)
        _print_study(console, result)
        print_present(console, results)
        return 0


def _print_study(console: Console, result: StudyResult) -> None:
    for name, table in result.tables.items():
        headings = [column.heading for column in table.columns.values()]
        drawn = Table(*headings, box=None, pad_edge=False, title=name, title_justify="left")
        for row in table.rows:
            drawn.add_row(*table.texts(row), style="dim" if row.reported else None)
        console.print(drawn, "")
        for number, source in enumerate(table.sources, 1):
            console.print(f"[{number}] as reported: {source}", style="dim", soft_wrap=True)
    for sentence in result.differences:
        console.print(f"Note: {sentence}", soft_wrap=True)
    console.print()
