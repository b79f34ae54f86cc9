"""Measure the cost of a search beside the bare forward pass of its classifier, and beside its peers."""

import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from benchmarks import (
    attacks,
    autoattack,
    command_line,
    exchanges,
    independent,
    kernels,
    numerics,
    quality,
    queries,
    scaling,
    searches,
    training,
)
from benchmarks.harness import Curves, Effort, Result, Table, environment, say
from benchmarks.report import draw, dumps, renew_pages, save, show
from evofool.errors import EvofoolError, UsageError, require_positive, unknown_name

Case = Callable[[Effort], Iterable[Table | Curves]]

CASES: dict[str, Case] = {
    "map-elites": searches.map_elites,
    "cppn": searches.cppn,
    "student": searches.student,
    "direct-es": searches.direct_es,
    "imagenet-direct": searches.imagenet_direct,
    "imagenet-cppn": searches.imagenet_cppn,
    "batch-size": scaling.batch_size,
    "classes": scaling.classes,
    "image-size": scaling.image_size,
    "independent": independent.independent,
    "numerics": numerics.numerics,
    "kernels": kernels.kernels,
    "exchanges": exchanges.exchanges,
    "attacks": attacks.attacks,
    "autoattack": autoattack.auto,
    "queries": queries.queries,
    "training": training.training,
    "start-up": command_line.start_up,
    "checkpoints": command_line.checkpoints,
    "quality-map-elites": quality.map_elites,
    "quality-student": quality.student,
}
"""The cases by name; --help shows the first line of each docstring."""


@dataclass(frozen=True)
class Benchmarks:
    """What to measure, and where to keep it.

    Attributes:
        cases: the cases to run; all by default.
        json: also write all results to this file, and the plots next to it.
        quick: small sizes and few rounds, to check that everything works.
        rounds: how often each side is timed; by default each case decides.
        classifier: what `autoattack` attacks in place of the embedded LeNet, and `queries` beside it: a name
            or a file of `evofool train`, for images of MNIST's or CIFAR-10's size.
        save: keep each case in benchmarks/results, and update the tables of benchmarks/README.md and docs/.
        readme: measure nothing; only update these tables from benchmarks/results.
    """

    cases: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME ...]")]] = ()
    json: Path | None = None
    quick: bool = False
    rounds: int | None = None
    classifier: str | None = None
    save: bool = False
    readme: bool = False

    def __post_init__(self) -> None:
        for name in self.cases:
            if name not in CASES:
                raise unknown_name("case", name, CASES)
        require_positive(rounds=self.rounds)
        if self.quick and self.save:
            raise UsageError("results of --quick are not worth keeping: leave out --quick or --save")

    def run(self) -> int:
        """Measure; returns 1 if a case failed, and 0 otherwise."""
        if self.readme:
            renew_pages()
            return 0
        if self.json is not None:
            self._require_writable(self.json)
        console = Console(width=180, highlight=False)
        results, failed = [], []
        environment()
        effort = Effort(self.quick, self.rounds, self.classifier)
        chosen = self.cases or tuple(CASES)
        for number, name in enumerate(chosen, 1):
            say(f"{name} ({number} of {len(chosen)})")
            started = time.perf_counter()
            result = Result(name, _about(CASES[name]))
            try:
                for part in CASES[name](effort):
                    result.add(part)
                    if isinstance(part, Table):
                        show(vars(part), console)
                    if self.save:  # of a long case, what there is so far
                        save(self._measured(result, started))
            except Exception:
                # The other cases are still worth measuring.
                traceback.print_exc()
                failed.append(name)
                continue
            results.append(self._measured(result, started))
            held = results[-1]["peak_mib_of_the_process"]["host"]
            say(f"  took {result.seconds:.0f} s; the process held at most {held:,.0f} MiB so far")
            if self.save:
                say(f"  kept as {save(results[-1])}")
                renew_pages()
            if self.json is not None:
                self.json.write_text(dumps(results))
                draw(results[-1], self.json.with_name(f"{self.json.stem}-{name}.png"))
        if failed:
            say(f"failed: {', '.join(failed)}")
        return 1 if failed else 0

    def _measured(self, result: Result, started: float) -> dict[str, Any]:
        """What a case has measured so far, since this time."""
        result.seconds = time.perf_counter() - started
        return result.to_json(" ".join(["python -m benchmarks", *sys.argv[1:]]), self.quick)

    @staticmethod
    def _require_writable(path: Path) -> None:
        """Fail before the measurements if their results cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise EvofoolError(f"cannot write {path}: {error.strerror}") from error


def main() -> None:
    """Run the command line, and exit."""
    listed = "\n".join(f"- {name}: {_about(case).splitlines()[0]}" for name, case in CASES.items())
    try:
        chosen = tyro.cli(Benchmarks, prog="python -m benchmarks", description=f"{__doc__}\n{listed}")
        sys.exit(chosen.run())
    except EvofoolError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _about(case: Case) -> str:
    return inspect.getdoc(case) or ""


if __name__ == "__main__":
    main()
