"""Fooling images for ImageNet: Figures 7 to 10 of Nguyen et al. (CVPR 2015), with the paper's figures beside.

Evolves an image for each of the 1,000 classes, with both encodings, and prints a Markdown table and what the
runs differ in from the paper's. An interrupted run goes on where it was, and so does a longer one. Per run,
OUT/RUN.png shows the images of highest confidence and a row across all classes in the order of confidence.

    python scripts/reproduce_fooling_imagenet.py --out runs/fooling-imagenet --generations 5000 --ten-crop

The paper evolved CPPN images for 5,000 generations of 400 and direct ones for 20,000 of 200, 256x256 with ten
crops, against CaffeNet (`--classifiers caffenet` where its weights are under EVOFOOL_DATA). At less than that
budget the table says how far a run came, not whether the paper's figures are reached.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from run import run

from evofool.classifiers import Precision
from evofool.cli.evolve import Evolve
from evofool.encodings import CPPNOptions, DirectOptions
from evofool.errors import unknown_name
from evofool.images import read_png
from evofool.report import contact_sheet, format_confidence
from evofool.runs import RunDirectory, RunSettings
from evofool.search import MapElitesOptions

_COLUMNS = 10


class Paper(NamedTuple):
    """What is reported of an encoding."""

    result: str
    generations: int
    batch_size: int


PAPER = {
    "direct": Paper("21.59 %, 45 classes over 99 %", 20_000, 200),
    "cppn": Paper("88.11 %", 5000, 400),
}


@dataclass(frozen=True)
class Reproduction:
    """Evolve an image for each of 1,000 classes.

    Attributes:
        out: the folder of the runs.
        classifiers: which networks to fool.
        encodings: direct, cppn or both.
        generations: how long each run is.
        batch_size: offspring per generation; by default the source's, 400 with CPPNs and 200 else.
        ten_crop: 256x256 images scored as the mean over ten crops, as the source's; else one view.
        hidden_nodes: room for hidden nodes in a CPPN.
        connections: room for its connections.
        precision: of the network in the search.
        microbatch: how many images are scored at once.
        seeds: how many runs of each, seeded 0, 1, ...
    """

    out: Path
    classifiers: tuple[str, ...] = ("squeezenet-1.0", "mobilenet-v1-0.25")
    encodings: tuple[str, ...] = ("cppn", "direct")
    generations: int = 5000
    batch_size: int | None = None
    ten_crop: bool = False
    hidden_nodes: int = CPPNOptions.hidden_nodes
    connections: int = CPPNOptions.connections
    precision: Precision = "float32"
    microbatch: int | None = None
    seeds: int = 1


def main(reproduction: Reproduction) -> None:
    """Run what is missing and print the table."""
    rows = [
        "| network | encoding | seed | generations | images | median | over 99 % | goal switches | minutes "
        "| reported median | of images |",
        "| --- " * 11 + "|",
    ]
    for classifier in reproduction.classifiers:
        for encoding in reproduction.encodings:
            for seed in range(reproduction.seeds):
                run = finished_run(reproduction, classifier, encoding, seed)
                record, paper = run.read_metrics()[-1], PAPER[encoding]
                cells = (
                    classifier,
                    encoding,
                    str(seed),
                    f"{record['generation']:,}",
                    f"{record['evaluations']:,}",
                    format_confidence(np.float32(record["median_confidence"])),
                    f"{record['niches_over_0.99']:,}",
                    f"{record['goal_switches']:.1%}",
                    f"{record['seconds'] / 60:.1f}",
                    paper.result,
                    f"{paper.generations * paper.batch_size:,}",
                )
                rows.append(f"| {' | '.join(cells)} |")
                caption = f"Images evolved for {classifier}, {encoding} encoding, {cells[4]} images tried"
                draw(run, reproduction.out / f"{run.path.name}.png", caption)
    print("\n".join(rows))
    print(f"\nDiffers from the paper: {'; '.join(differences(reproduction))}.")


def differences(reproduction: Reproduction) -> list[str]:
    """What the runs differ in from the paper's, apart from their length."""
    networks = [name for name in reproduction.classifiers if name != "caffenet"]
    found = [f"{' and '.join(networks)} in place of CaffeNet"] if networks else []
    if not reproduction.ten_crop:
        found.append("one view of the network's own size in place of ten crops of 256x256")
    if reproduction.batch_size is not None:
        found.append(f"{reproduction.batch_size} images a generation in place of 400 (CPPN) and 200 (direct)")
    if "cppn" in reproduction.encodings:
        found.append("CPPNs are told coordinates in [-1, 1] in place of the numbers of column and row")
    return found


def finished_run(reproduction: Reproduction, classifier: str, encoding: str, seed: int) -> RunDirectory:
    """The directory of a run, which is made or finished first."""
    if encoding not in PAPER:
        raise unknown_name("encoding", encoding, PAPER)
    crops = "ten-crop" if reproduction.ten_crop else "one-view"
    path = reproduction.out / f"{classifier}-{encoding}-{crops}-{seed}"
    budgets = CPPNOptions(hidden_nodes=reproduction.hidden_nodes, connections=reproduction.connections)
    settings = RunSettings(
        classifier=classifier,
        search=MapElitesOptions(reproduction.batch_size or PAPER[encoding].batch_size),
        encoding=budgets if encoding == "cppn" else DirectOptions(),
        generations=reproduction.generations,
        ten_crop=reproduction.ten_crop,
        precision=reproduction.precision,
        seed=seed,
    )
    begun = any(path.glob("checkpoints/[0-9]*"))
    where = {"resume": path} if begun else {"out": path, "overwrite": True}
    if code := Evolve(settings, **where, microbatch=reproduction.microbatch).run():
        sys.exit(code)
    return RunDirectory.open(path)


def draw(run: RunDirectory, path: Path, title: str) -> None:
    """Two rows of images of the highest confidence, and one of every hundredth class in that order."""
    with (run.path / "elites.csv").open(newline="", encoding="utf-8") as file:
        elites: list[dict[str, Any]] = [row for row in csv.DictReader(file) if row["file"]]
    elites.sort(key=lambda row: -float(row["confidence"]))
    across = [elites[round(rank)] for rank in np.linspace(0, len(elites) - 1, _COLUMNS)]
    shown = [*elites[: 2 * _COLUMNS], *across]
    contact_sheet(
        np.stack([read_png(run.path / row["file"]) for row in shown]),
        [row["name"] for row in shown],
        np.array([row["confidence"] for row in shown], np.float32),
        path,
        columns=_COLUMNS,
        title=title,
        subtitle="The highest confidences; in the last row the classes from the highest to the lowest",
    )


if __name__ == "__main__":
    run(main)
