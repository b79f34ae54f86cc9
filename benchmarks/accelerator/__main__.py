"""Check and measure evofool on the accelerator of this machine, in less than ten minutes.

One command that needs no files but the repository's. What needs the weights of real networks is left out
by name unless EVOFOOL_DATA names a folder that has them. A difference of bits is a finding, no failure.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.accelerator import bits, correctness, machine, speed
from benchmarks.accelerator.sections import Progress, Section, run_sections
from benchmarks.harness import Effort, Result, Table, environment, say
from benchmarks.report import dumps, markdown_table, renew_pages, result_path
from evofool.errors import EvofoolError, require_positive, unknown_name
from evofool.files import replacing, without_nan

SECTIONS: dict[str, Section] = {
    "environment": Section("What runs here?", 10, machine.steps),
    "golden": Section("Are the logits those of the references?", 45, correctness.golden_steps),
    "scored-again": Section("Have saved PNGs the saved confidences?", 35, correctness.scored_again_steps),
    "cppn": Section("Do the kernels draw what other platforms draw?", 30, correctness.cppn_steps),
    "precision": Section("How far are faster precisions from float32?", 20, correctness.precision_steps),
    "passes": Section("How fast is the bare pass in each precision?", 35, speed.passes_steps),
    "searches": Section("How fast is each search beside the bare pass?", 120, speed.searches_steps),
    "independent": Section("How fast are many runs in one program?", 50, speed.independent_steps),
    "parts": Section("What do the parts of a generation take?", 30, speed.parts_steps),
    "chunks": Section("What does the loop of chunks add?", 15, speed.chunks_steps),
    "checkpoint": Section("How long does a checkpoint take?", 15, speed.checkpoint_steps),
    "bits": Section("Which results have equal bits?", 75, bits.steps),
}
"""The sections in their order; their seconds are eight minutes together."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 1 if a step failed."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(arguments)
    # Processes share the device here, so none may take all of its memory at its start.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if not options.quick:  # compile times are measured
        jax.config.update("jax_enable_compilation_cache", False)
    try:
        return _run(options, ["python -m benchmarks.accelerator", *arguments])
    except EvofoolError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code


def parser() -> argparse.ArgumentParser:
    """What reads the command line."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        epilog="\n".join(["sections:", *(f"  {name:13} {each.about}" for name, each in SECTIONS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--sections", nargs="+", metavar="NAME", default=list(SECTIONS), help="all by default"
    )
    options.add_argument("--minutes", type=float, default=8.0, help="for all sections together (default: 8)")
    options.add_argument("--quick", action="store_true", help="small sizes, to check that everything works")
    options.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where to write the results (default: benchmarks/results/, named after the device; with --quick "
        "nowhere)",
    )
    return options


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    for name in options.sections:
        if name not in SECTIONS:
            raise unknown_name("section", name, SECTIONS)
    require_positive(minutes=options.minutes)
    chosen = {name: section for name, section in SECTIONS.items() if name in options.sections}
    path = options.json or (None if options.quick else result_path("accelerator"))
    progress = Progress(Result("accelerator", __doc__ or ""))
    environment()  # the commit before results make it dirty

    def write(complete: bool) -> None:
        if path is not None:
            _write(path, _to_json(progress, " ".join(command), options.quick, complete))

    def after_each(table: Table | None) -> None:
        if table is not None:
            print(f"\n**{table.title}**\n\n{markdown_table(vars(table))}", flush=True)
        write(complete=False)

    write(complete=False)
    run_sections(chosen, Effort(options.quick), options.minutes, progress, after_each)
    write(complete=True)
    print(_summary(progress), flush=True)
    if path is not None:
        say(f"kept as {path}")
    if path == result_path("accelerator"):
        renew_pages()
    return 1 if progress.failed else 0


def _to_json(progress: Progress, command: str, quick: bool, complete: bool) -> Mapping[str, Any]:
    return without_nan(
        {
            **progress.result.to_json(command, quick),
            "complete": complete,
            "skipped": progress.skipped,
            "failed": progress.failed,
            "seconds_of_steps": progress.seconds,
        }
    )


def _write(path: Path, result: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(dumps(result))
    except OSError as error:
        raise EvofoolError(f"cannot write {path}: {error.strerror}") from error


def _summary(progress: Progress) -> str:
    lines = [f"\n{len(progress.result.parts)} tables in {progress.result.seconds:.0f} s"]
    for word, found in (("skipped", progress.skipped), ("failed", progress.failed)):
        lines += [f"{word}: {label} ({reason})" for label, reason in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
