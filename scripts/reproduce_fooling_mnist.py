"""Fooling images for MNIST: Figures 4 and 5 of Nguyen et al. (CVPR 2015), what they report beside.

Evolves images for the LeNet that was released with the paper (EVOFOOL_DATA says where its weights are), with
both encodings and several seeds, and prints a Markdown table. An interrupted run goes on where it was.

    python scripts/reproduce_fooling_mnist.py --out runs/fooling-mnist
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from evofool.cli.evolve import Evolve
from evofool.errors import EvofoolError
from evofool.report import format_confidence
from evofool.runs import RunDirectory, RunSettings

CERTAIN = 0.9999
PAPER = {
    "direct": "by generation 50 each digit at 99.99 %, median 99.99 % at 200",
    "cppn": "the same after a few generations",
}


@dataclass(frozen=True)
class Reproduction:
    """Evolve fooling digits with both encodings.

    Attributes:
        out: the folder of the runs.
        seeds: how many runs of each encoding.
        generations: how long each run is; the paper's figures are of 200.
        batch_size: offspring per generation; the source's is 200.
    """

    out: Path
    seeds: int = 5
    generations: int = 200
    batch_size: int = 200


def main() -> None:
    """Run what is missing and print the table."""
    reproduction = tyro.cli(Reproduction)
    print("| encoding | median at 50 | median at 200 | lowest at 200 | median 99.99 % from | reported |")
    print("| --- | --- | --- | --- | --- | --- |")
    for encoding, reported in PAPER.items():
        runs = [records_of(reproduction, encoding, seed) for seed in range(reproduction.seeds)]
        cells = [
            spread([value_at(run, generation, metric) for run in runs])
            for generation, metric in ((50, "median"), (200, "median"), (200, "min"))
        ]
        print(f"| {encoding} | {' | '.join(cells)} | {reached(runs)} | {reported} |")
    print(f"\nMedian of {reproduction.seeds} seeds, lowest and highest in brackets.")


def records_of(reproduction: Reproduction, encoding: str, seed: int) -> list[dict[str, float]]:
    """The metrics of a run, which is made or finished first."""
    path = reproduction.out / f"{encoding}-{seed}"
    settings = RunSettings(
        classifier="lenet-nguyen2015",
        encoding=encoding,
        generations=reproduction.generations,
        batch_size=reproduction.batch_size,
        seed=seed,
    )
    begun = any(path.glob("checkpoints/[0-9]*"))
    where = {"resume": path} if begun else {"out": path, "overwrite": True}
    if code := Evolve(settings, **where, quiet=True).run():
        sys.exit(code)
    return RunDirectory.open(path).read_metrics()


def value_at(records: list[dict[str, float]], generation: int, metric: str) -> float:
    """A confidence at a generation, or at the last one of a shorter run."""
    return records[min(generation, len(records)) - 1][f"{metric}_confidence"]


def spread(values: list[float]) -> str:
    """The median of several runs with the extremes."""
    low, middle, high = (format_confidence(np.float32(np.quantile(values, q))) for q in (0, 0.5, 1))
    return f"{middle} ({low} to {high})"


def reached(runs: list[list[dict[str, float]]]) -> str:
    """The generation from which on the median class is certain."""
    first = [next((r["generation"] for r in run if r["median_confidence"] >= CERTAIN), None) for run in runs]
    known = [generation for generation in first if generation is not None]
    if len(known) < len(runs):
        return f"{len(known)} of {len(runs)} runs"
    return f"generation {int(np.median(known))} ({int(min(known))} to {int(max(known))})"


if __name__ == "__main__":
    try:
        main()
    except EvofoolError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
