"""Fooling images for MNIST: Figures 4 and 5 of Nguyen et al. (CVPR 2015), what they report beside.

Evolves images for the LeNet that was released with the paper (EVOFOOL_DATA says where its weights are), with
both encodings and several seeds, and prints a Markdown table. An interrupted run goes on where it was, and so
does a longer one.

    python scripts/reproduce_fooling_mnist.py --out runs/fooling-mnist

What differs from the paper: its mean image is not subtracted, and CPPNs are told coordinates in [-1, 1],
where the released code tells them the numbers of column and row (the third row).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from run import run

from evofool.cli.evolve import Evolve
from evofool.encodings import CPPNOptions, DirectOptions
from evofool.errors import unknown_name
from evofool.report import format_confidence
from evofool.runs import RunDirectory, RunSettings
from evofool.search import MapElitesOptions

CERTAIN = 0.9999


class Variant(NamedTuple):
    """One row of the table."""

    encoding: DirectOptions | CPPNOptions
    name: str
    reported: str


VARIANTS = {
    "direct": Variant(
        DirectOptions(), "direct", "by generation 50 each digit at 99.99 %, median 99.99 % at 200"
    ),
    "cppn": Variant(CPPNOptions(), "CPPN, coordinates in [-1, 1]", "99.99 % after a few generations"),
    "cppn-pixels": Variant(CPPNOptions(coordinates="pixels"), "CPPN, pixel numbers", "(the released code's)"),
}


@dataclass(frozen=True)
class Reproduction:
    """Evolve fooling digits with both encodings.

    Attributes:
        out: the folder of the runs.
        variants: which rows of the table to make.
        seeds: how many runs of each.
        generations: how long each run is; the paper's figures are of 200.
        batch_size: offspring per generation; the source's is 200.
    """

    out: Path
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: int = 5
    generations: int = 200
    batch_size: int = 200


def main(reproduction: Reproduction) -> None:
    """Run what is missing and print the table."""
    last = reproduction.generations
    early = min(50, last)
    columns = (
        "encoding",
        f"median at {early}",
        f"lowest at {early}",
        f"median at {last}",
        f"lowest at {last}",
    )
    lines = [f"| {' | '.join((*columns, 'median 99.99 % from', 'reported'))} |", "| --- " * 7 + "|"]
    for name in reproduction.variants:
        if name not in VARIANTS:
            raise unknown_name("variant", name, VARIANTS)
        runs = [records_of(reproduction, name, seed) for seed in range(reproduction.seeds)]
        cells = [
            spread([run[generation - 1][f"{metric}_confidence"] for run in runs])
            for generation in (early, last)
            for metric in ("median", "min")
        ]
        variant = VARIANTS[name]
        lines.append(f"| {' | '.join((variant.name, *cells, reached(runs), variant.reported))} |")
    print("\n".join(lines))
    print(
        f"\nMedian of {reproduction.seeds} seeds, lowest and highest in brackets; "
        f"{reproduction.batch_size} images a generation."
    )


def records_of(reproduction: Reproduction, name: str, seed: int) -> list[dict[str, float]]:
    """The metrics of a run, which is made or finished first."""
    path = reproduction.out / f"{name}-{seed}"
    settings = RunSettings(
        classifier="lenet-nguyen2015",
        encoding=VARIANTS[name].encoding,
        generations=reproduction.generations,
        search=MapElitesOptions(reproduction.batch_size),
        seed=seed,
    )
    begun = any(path.glob("checkpoints/[0-9]*"))
    where = {"resume": path} if begun else {"out": path, "overwrite": True}
    if code := Evolve(settings, **where, quiet=True).run():
        sys.exit(code)
    return RunDirectory.open(path).read_metrics()


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
    run(main)
