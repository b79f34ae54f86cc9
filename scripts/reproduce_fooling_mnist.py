"""Fooling images for MNIST: Figures 4 and 5 of Nguyen et al. (CVPR 2015), beside the paper's figures.

Evolves images for the LeNet that was released with the paper (its weights are under EVOFOOL_DATA), with both
encodings and several seeds, and prints a Markdown table. Interrupted runs resume; longer runs extend the
shorter ones.

    python scripts/reproduce_fooling_mnist.py --out runs/fooling-mnist

Differences from the paper: the mean image is not subtracted. CPPNs receive coordinates in [-1, 1]; the third
row has the pixel numbers of the released code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fooling import Record, finished_run, first_above
from run import run
from tables import markdown, spread

from evofool.encodings import CPPNOptions, DirectOptions
from evofool.errors import unknown_name
from evofool.runs import RunSettings
from evofool.search import MapElitesOptions

CERTAIN = 0.9999


class Variant(NamedTuple):
    """One row of the table."""

    encoding: DirectOptions | CPPNOptions
    name: str
    reported: str


VARIANTS = {
    "direct": Variant(
        DirectOptions(), "direct", "every digit at 99.99% by generation 50, median 99.99% at 200"
    ),
    "cppn": Variant(CPPNOptions(), "CPPN, coordinates in [-1, 1]", "99.99% after a few generations"),
    "cppn-pixels": Variant(
        CPPNOptions(coordinates="pixels"), "CPPN, pixel numbers", "(coordinates of the released code)"
    ),
}


@dataclass(frozen=True)
class Reproduction:
    """Evolve fooling digits with both encodings.

    Attributes:
        out: the folder of the runs.
        variants: the rows of the table.
        seeds: runs per row, seeded 0, 1, ...
        generations: length of each run; 200 in the paper.
        batch_size: offspring per generation; 200 in the paper.
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
    measured = [f"{name} at {generation}" for generation in (early, last) for name in ("median", "lowest")]
    rows = []
    for name in reproduction.variants:
        if name not in VARIANTS:
            raise unknown_name("variant", name, VARIANTS)
        variant = VARIANTS[name]
        runs = [run_of(reproduction, name, seed) for seed in range(reproduction.seeds)]
        cells = [
            spread([records[generation - 1][f"{metric}_confidence"] for records in runs])
            for generation in (early, last)
            for metric in ("median", "min")
        ]
        rows.append((variant.name, *cells, reached(runs), variant.reported))
    print(markdown(("encoding", *measured, "median 99.99% from", "reported"), rows))
    print(
        f"\nMedian of {reproduction.seeds} seeds, lowest and highest in brackets; "
        f"{reproduction.batch_size} images per generation."
    )


def run_of(reproduction: Reproduction, name: str, seed: int) -> list[Record]:
    """The metrics of a run, which is started or resumed first."""
    settings = RunSettings(
        classifier="lenet-nguyen2015",
        encoding=VARIANTS[name].encoding,
        generations=reproduction.generations,
        search=MapElitesOptions(reproduction.batch_size),
        seed=seed,
    )
    return finished_run(reproduction.out / f"{name}-{seed}", settings, quiet=True)


def reached(runs: list[list[Record]]) -> str:
    """The generation from which the median class is certain; how many runs get there, if not all do."""
    records = [first_above(records, CERTAIN) for records in runs]
    known = [record["generation"] for record in records if record is not None]
    if len(known) < len(runs):
        return f"{len(known)} of {len(runs)} runs"
    return f"generation {spread(known, lambda generation: f'{int(generation)}')}"


if __name__ == "__main__":
    run(main)
