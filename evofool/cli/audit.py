"""`evofool audit`."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro
from rich.console import Console

from evofool.cli.forms import given_options, presented
from evofool.cli.results import print_present
from evofool.cli.resumable import ResumableCommand
from evofool.console import make_console
from evofool.errors import EvofoolError, UsageError, unknown_name
from evofool.results import Results
from evofool.studies.audit import FIGURES, AuditOptions, AuditResult, audit
from evofool.studies.audit.comparison import COMPARISON, save_comparison
from evofool.studies.audit.directory import AUDIT, Begun, begin_audit, read_begun, save_audit


def audit_command(args: Sequence[str]) -> Any:
    """The command as tyro parses it.

    Args:
        args: the words after `evofool`. The options of an audit that they resume are the defaults.

    Raises:
        UsageError: there is no audit to resume.
        EvofoolError: the record of that audit is damaged.
    """
    resumed = given_options(args).get("--resume")
    begun = Begun(AuditOptions(), shlex.join(["evofool", *args]))
    if resumed is not None:
        begun = read_begun(Path(resumed))
    made = dataclasses.make_dataclass(
        "AuditCommand",
        [("options", AuditOptions, dataclasses.field(default_factory=lambda: begun.options))],
        bases=(AuditCommand,),
        namespace={"begun": begun, "__doc__": AuditCommand.__doc__},
        frozen=True,
        kw_only=True,
    )
    return presented(made)


@dataclass(frozen=True, kw_only=True)
class AuditCommand(ResumableCommand):
    """How easily is a classifier fooled? One page says it, with everything that was tried.

    Attributes:
        compare: put two finished audits side by side, in place of auditing anything.
        fail_under: end with exit code 1 if a figure is lower, as in robust_accuracy=0.4; several are allowed.
            The names are those in audit.json.
        fail_over: the same if a figure is higher, as in cppn_above_99=0.5.
    """

    compare: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIRECTORY DIRECTORY")] = ()
    fail_under: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIGURE=VALUE...")] = ()
    fail_over: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIGURE=VALUE...")] = ()

    begun: ClassVar[Begun]
    if TYPE_CHECKING:
        options: AuditOptions  # a field of the command that is made for a command line

    def run(self) -> int:
        """Audit, or compare two audits; returns the exit code."""
        console = make_console(quiet=self.quiet)
        if self.compare:
            return self._compare(console)
        lowest, highest = _limits("--fail-under", self.fail_under), _limits("--fail-over", self.fail_over)
        results = self._results()
        begun = dataclasses.replace(self.begun, options=self.options)
        with self.working(results, partial(begin_audit, begun, results), console, "audit") as work:
            result = audit(self.options, work)
            work.begin()
            save_audit(result, begun, results)
        _print_audit(console, result)
        print_present(console, results)
        _require_within(result.figures, lowest, highest)
        return 0

    def _results(self) -> Results:
        if self.resume is None:
            return self.create_results(AUDIT, "audit", self.options.classifier)
        return self.resumed_results(AUDIT, self.options, self.begun.options)

    def _compare(self, console: Console) -> int:
        if len(self.compare) != 2:
            raise UsageError(f"--compare takes the directories of two audits, not {len(self.compare)}")
        if self.options != AuditOptions() or self.resume or self.fail_under or self.fail_over:
            raise UsageError("--compare takes two finished audits and nothing else but --out and --overwrite")
        first, second = self.compare
        results = self.create_results(COMPARISON, "audits", first.name, second.name)
        rows = save_comparison(first, second, results)
        for row in rows:
            console.print(f"{row['name']}: {' and '.join(row['shown'])}", soft_wrap=True)
        print_present(console, results)
        return 0


def _limits(option: str, words: Sequence[str]) -> dict[str, float]:
    """The values of figures by name.

    Raises:
        UsageError: there is no such figure, or its value is not a number.
    """
    limits = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in FIGURES:
            raise unknown_name(f"figure of {option}", name, FIGURES)
        try:
            limits[name] = float(value)
        except ValueError as error:
            raise UsageError(f"{option} takes a figure and a number, as in {name}=0.4, not {word}") from error
    return limits


def _require_within(
    figures: Mapping[str, float], lowest: Mapping[str, float], highest: Mapping[str, float]
) -> None:
    """Raise `EvofoolError` unless all figures were measured and are neither lower nor higher than these."""
    wrong = [f"{name} was not measured" for name in dict.fromkeys([*lowest, *highest]) if name not in figures]
    # Not the other way around, so that what is not a number fails.
    wrong += [
        f"{name} is {figures[name]:.4g}, below {limit:g}"
        for name, limit in lowest.items()
        if name in figures and not figures[name] >= limit
    ]
    wrong += [
        f"{name} is {figures[name]:.4g}, above {limit:g}"
        for name, limit in highest.items()
        if name in figures and not figures[name] <= limit
    ]
    if wrong:
        raise EvofoolError("; ".join(wrong))


def _print_audit(console: Console, result: AuditResult) -> None:
    for sentence in result.summary:
        console.print(sentence, soft_wrap=True)
    console.print()
    width = max(map(len, result.figures))
    for name, value in result.figures.items():
        kind = FIGURES[name]
        console.print(f"{name:{width}}  {kind.text(value):>10}  {kind.about}", soft_wrap=True)
    for part in result.not_run:
        console.print(f"Not run: {part.part}: {part.reason}", soft_wrap=True)
    console.print()
