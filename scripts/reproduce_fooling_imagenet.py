"""Fooling images for ImageNet: Figures 7 to 10 of Nguyen et al. (CVPR 2015), with the paper's figures beside.

Evolves an image for each of the 1,000 classes, with both encodings, against SqueezeNet 1.0 and MobileNet v1
(EVOFOOL_DATA says where their weights are; the paper's CaffeNet has other weights and another structure), and
prints a Markdown table. An interrupted run goes on where it was.

    python scripts/reproduce_fooling_imagenet.py --out runs/fooling-imagenet --generations 5000 --ten-crop

The paper evolved CPPN images for 5,000 generations and direct ones for 20,000, 256x256 with ten crops.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from evofool.classifiers import Precision
from evofool.cli.evolve import Evolve
from evofool.encodings import CPPNOptions
from evofool.errors import EvofoolError
from evofool.report import format_confidence
from evofool.runs import RunDirectory, RunSettings

PAPER = {
    "direct": "21.59 %; 45 classes over 99 % (20,000 generations of 200)",
    "cppn": "88.11 % (5,000 generations of 400)",
}


@dataclass(frozen=True)
class Reproduction:
    """Evolve an image for each of 1,000 classes.

    Attributes:
        out: the folder of the runs.
        classifiers: which networks to fool.
        encodings: direct, cppn or both.
        generations: how long each run is.
        batch_size: offspring per generation; the source's is 400 with CPPNs.
        ten_crop: 256x256 images scored as the mean over ten crops, as the source's; else one view.
        hidden_nodes: room for hidden nodes in a CPPN.
        connections: room for its connections.
        precision: of the network in the search.
        microbatch: how many images are scored at once.
        seed: seeds every random number.
    """

    out: Path
    classifiers: tuple[str, ...] = ("squeezenet-1.0", "mobilenet-v1-0.25")
    encodings: tuple[str, ...] = ("cppn", "direct")
    generations: int = 5000
    batch_size: int = 400
    ten_crop: bool = False
    hidden_nodes: int = 64
    connections: int = 256
    precision: Precision = "float32"
    microbatch: int | None = None
    seed: int = 0


def main() -> None:
    """Run what is missing and print the table."""
    reproduction = tyro.cli(Reproduction)
    rows = [
        "| network | encoding | generations | median | over 99 % | goal switches | minutes | reported |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for classifier in reproduction.classifiers:
        for encoding in reproduction.encodings:
            record = last_record_of(reproduction, classifier, encoding)
            cells = (
                f"{record['generation']:,} x {reproduction.batch_size}",
                format_confidence(np.float32(record["median_confidence"])),
                f"{record['niches_over_0.99']:,}",
                f"{record['goal_switches']:.1%}",
                f"{record['seconds'] / 60:.1f}",
            )
            rows.append(f"| {classifier} | {encoding} | {' | '.join(cells)} | {PAPER[encoding]} |")
    print("\n".join(rows))


def last_record_of(reproduction: Reproduction, classifier: str, encoding: str) -> dict[str, float]:
    """The last metrics of a run, which is made or finished first."""
    crops = "ten-crop" if reproduction.ten_crop else "one-view"
    path = reproduction.out / f"{classifier}-{encoding}-{crops}-{reproduction.seed}"
    settings = RunSettings(
        classifier=classifier,
        encoding=encoding,
        generations=reproduction.generations,
        batch_size=reproduction.batch_size,
        ten_crop=reproduction.ten_crop,
        precision=reproduction.precision,
        seed=reproduction.seed,
        cppn=CPPNOptions(hidden_nodes=reproduction.hidden_nodes, connections=reproduction.connections),
    )
    begun = any(path.glob("checkpoints/[0-9]*"))
    where = {"resume": path} if begun else {"out": path, "overwrite": True}
    if code := Evolve(settings, **where, microbatch=reproduction.microbatch).run():
        sys.exit(code)
    return RunDirectory.open(path).read_metrics()[-1]


if __name__ == "__main__":
    try:
        main()
    except EvofoolError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
