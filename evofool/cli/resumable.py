"""What commands share whose work goes on after it was stopped: studies and the audit."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evofool.cli.results import ResultsCommand, require_no_other_directory
from evofool.errors import UsageError
from evofool.registry import AnyOptions
from evofool.results import Kind, Results
from evofool.studies import Work


@dataclass(frozen=True, kw_only=True)
class ResumableCommand(ResultsCommand):
    """A command that leaves steps behind from which it goes on.

    Attributes:
        resume: go on in this directory, which keeps its options.
    """

    resume: Path | None = None

    def resumed_results(self, kind: Kind, options: AnyOptions, begun: AnyOptions) -> Results:
        """The results to go on with.

        Args:
            kind: of the results.
            options: that were given.
            begun: that the results have.

        Raises:
            UsageError: there are no results, they have other options, or a new directory is named too.
        """
        assert self.resume is not None
        require_no_other_directory(self.out, self.overwrite)
        if options != begun:
            raise UsageError(
                f"{kind.name} that is resumed keeps its options, and those in {self.resume} differ from the "
                "ones given: leave them out, or begin another with --out"
            )
        results = Results.open(self.resume, kind)
        results.hold()
        return results

    @contextmanager
    def working(
        self, results: Results, begin: Callable[[], None], console: Console, *command: str
    ) -> Iterator[Work]:
        """The work in a directory during a block, which tells how to go on if the user stops it.

        Args:
            results: the directory.
            begin: called before anything new is written, unless the work goes on.
            console: where progress is shown.
            command: the words after `evofool` that begin such work.
        """
        work = Work(results, None if self.resume else begin, console)
        try:
            yield work
        except KeyboardInterrupt:
            if work.begun:
                words = shlex.join(["evofool", *command, "--resume", str(results.path)])
                console.print(f"Stopped early. Continue with: {words}", soft_wrap=True)
            raise
        finally:
            work.close()
