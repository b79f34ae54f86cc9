"""Fooling images for ImageNet: Figures 7 to 10 of Nguyen et al. (CVPR 2015), beside the paper's figures.

Evolves an image for each of the 1,000 classes with both encodings, and prints a Markdown table and the
differences from the paper. Interrupted runs resume; longer runs extend the shorter ones. OUT/RUN.png shows
the most certain images of each run, and a row from the highest to the lowest confidence.

    python scripts/reproduce_fooling_imagenet.py --out runs/fooling-imagenet --generations 5000 --ten-crop

The paper evolved CPPN images for 5,000 generations of 400 and direct ones for 20,000 generations of 200, at
256x256 with ten crops, against CaffeNet (`--classifiers caffenet`, if its weights are under EVOFOOL_DATA).

With finished run directories it evolves nothing. It prints when each run passed the paper's median, and saves
the curves of all runs (OUT/imagenet-curve.png) and a page of the first one (OUT/imagenet-cppn.png):

    python scripts/reproduce_fooling_imagenet.py --out docs --finished runs/imagenet-11 runs/imagenet-12
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fooling import Record, draw_elites, elites_of, finished_run, first_above, records_of
from PIL import Image
from run import run
from tables import confidence, markdown

from evofool.classifiers import Precision
from evofool.encodings import CPPNOptions, DirectOptions
from evofool.errors import EvofoolError, unknown_name
from evofool.report.figure import INK, figure
from evofool.runs import RunSettings
from evofool.search import MapElitesOptions

_COLUMNS = 10
_ON_PAGE = 60


class Paper(NamedTuple):
    """The figures that the paper reports for an encoding."""

    median: float
    result: str
    generations: int
    batch_size: int


PAPER = {
    "direct": Paper(0.2159, "21.59%, 45 classes over 99%", 20_000, 200),
    "cppn": Paper(0.8811, "88.11%", 5000, 400),
}


@dataclass(frozen=True)
class Reproduction:
    """Evolve an image for each of 1,000 classes.

    Attributes:
        out: folder of the runs and pictures.
        finished: directories of finished CPPN runs to report, in place of new runs.
        classifiers: the networks to fool.
        encodings: direct, cppn or both.
        generations: length of each run.
        batch_size: offspring per generation; by default as in the paper, 400 for CPPNs and 200 for direct.
        ten_crop: score 256x256 images by the mean over ten crops, as in the paper; otherwise one view.
        hidden_nodes: capacity of a CPPN for hidden nodes.
        connections: capacity of a CPPN for connections.
        precision: precision of the network in the search.
        microbatch: images scored at once.
        seeds: runs of each, seeded 0, 1, ...
    """

    out: Path
    finished: tuple[Path, ...] = ()
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
    """Report finished runs, or run what is missing and print the table."""
    if reproduction.finished:
        report(reproduction.finished, reproduction.out)
        return
    heading = (
        *("network", "encoding", "seed", "generations", "images", "median", "over 99%", "goal switches"),
        *("minutes", "reported median", "after images"),
    )
    rows = [
        row_of(reproduction, classifier, encoding, seed)
        for classifier in reproduction.classifiers
        for encoding in reproduction.encodings
        for seed in range(reproduction.seeds)
    ]
    print(markdown(heading, rows))
    print(f"\nDifferences from the paper: {'; '.join(differences(reproduction))}.")


def report(runs: tuple[Path, ...], out: Path) -> None:
    """Print when each run passed the paper's median; draw the curves of all and a page of the first."""
    records = {str(settings_of(run)["seed"]): records_of(run) for run in runs}
    paper = PAPER["cppn"]
    heading = ("seed", "images to 88.11%", "minutes", "images", "minutes in all", "median", "over 99%")
    rows = [milestones(seed, of_run, paper.median) for seed, of_run in records.items()]
    images, time = f"{paper.generations * paper.batch_size:,}", "about 4 days on 128 cores"
    rows.append(("Nguyen et al.", f"within {images}", time, images, "", paper.result, ""))
    print(markdown(heading, rows))
    out.mkdir(parents=True, exist_ok=True)
    draw_curves(records, paper, out / "imagenet-curve.png")
    draw_page(runs[0], out / "imagenet-cppn.png")


def settings_of(run: Path) -> dict[str, Any]:
    """The settings of a run, from its config.json.

    Raises:
        EvofoolError: there is no run.
    """
    try:
        return json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvofoolError(f"{run} does not hold a run: its config.json cannot be read") from error


def milestones(seed: str, records: list[Record], median: float) -> tuple[str, ...]:
    """A row of the report: when a run passed a median, and where it ended."""
    passed, last = first_above(records, median), records[-1]
    reached = ("never", "") if passed is None else (f"{passed['evaluations']:,}", minutes(passed))
    end = (f"{last['evaluations']:,}", minutes(last), confidence(last["median_confidence"]))
    return seed, *reached, *end, f"{last['niches_over_0.99']:,}"


def minutes(record: Record) -> str:
    """The minutes of search until a record."""
    return f"{record['seconds'] / 60:.1f}"


def draw_curves(records: dict[str, list[Record]], paper: Paper, path: Path) -> None:
    """Plot the median confidence of each run against the images evaluated, with the paper's median."""
    title = "Median confidence over the classes of ImageNet, CPPN encoding"
    with figure(path, title, size=(8.6, 4.6)) as drawn:
        axes = drawn.subplots()
        for seed, of_run in records.items():
            images = np.array([record["evaluations"] for record in of_run])
            median = np.array([record["median_confidence"] for record in of_run])
            axes.plot(images, 100 * median, linewidth=1.8, label=f"seed {seed}")
        label = f"Nguyen et al.: {paper.result} after {paper.generations * paper.batch_size:,} images"
        axes.axhline(100 * paper.median, color=INK, linestyle=":", linewidth=1.2, label=label)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:.0f}%")
        axes.set_xlabel("images evaluated")
        axes.set_ylabel("median confidence")
        axes.legend(loc="lower right")


def draw_page(run: Path, path: Path) -> None:
    """Draw classes at equal intervals in ImageNet's order, none of them hand-picked, by confidence."""
    elites = elites_of(run)
    count = min(_ON_PAGE, len(elites))
    shown = [elites[index * len(elites) // count] for index in range(count)]
    shown.sort(key=lambda row: -float(row["confidence"]))
    subtitle = f"{count} of {len(elites):,} classes, at equal intervals in the order of their numbers"
    title = f"Images evolved for {settings_of(run)['classifier']}, CPPN encoding"
    draw_elites(run, shown, path, columns=_COLUMNS, title=title, subtitle=f"{subtitle}; sorted by confidence")
    with Image.open(path) as page:  # a palette makes the file a third as large
        page.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def row_of(reproduction: Reproduction, classifier: str, encoding: str, seed: int) -> tuple[str, ...]:
    """A row of the table, of a run that is started or resumed first and drawn."""
    if encoding not in PAPER:
        raise unknown_name("encoding", encoding, PAPER)
    paper = PAPER[encoding]
    crops = "ten-crop" if reproduction.ten_crop else "one-view"
    path = reproduction.out / f"{classifier}-{encoding}-{crops}-{seed}"
    capacity = CPPNOptions(hidden_nodes=reproduction.hidden_nodes, connections=reproduction.connections)
    settings = RunSettings(
        classifier=classifier,
        search=MapElitesOptions(reproduction.batch_size or paper.batch_size),
        encoding=capacity if encoding == "cppn" else DirectOptions(),
        generations=reproduction.generations,
        ten_crop=reproduction.ten_crop,
        precision=reproduction.precision,
        seed=seed,
    )
    record = finished_run(path, settings, microbatch=reproduction.microbatch)[-1]
    images = f"{record['evaluations']:,}"
    draw_extremes(path, f"Images evolved for {classifier}, {encoding} encoding, {images} evaluated")
    return (
        *(classifier, encoding, str(seed), f"{record['generation']:,}", images),
        *(confidence(record["median_confidence"]), f"{record['niches_over_0.99']:,}"),
        *(f"{record['goal_switches']:.1%}", minutes(record)),
        *(paper.result, f"{paper.generations * paper.batch_size:,}"),
    )


def draw_extremes(run: Path, title: str) -> None:
    """Draw two rows of the highest confidences, and one from the highest to the lowest."""
    elites = sorted(elites_of(run), key=lambda row: -float(row["confidence"]))
    across = [elites[round(rank)] for rank in np.linspace(0, len(elites) - 1, _COLUMNS)]
    subtitle = "The highest confidences; last row: from the highest to the lowest confidence"
    shown = [*elites[: 2 * _COLUMNS], *across]
    draw_elites(
        run, shown, run.with_name(f"{run.name}.png"), columns=_COLUMNS, title=title, subtitle=subtitle
    )


def differences(reproduction: Reproduction) -> list[str]:
    """The differences from the paper's runs, apart from their length."""
    networks = [name for name in reproduction.classifiers if name != "caffenet"]
    found = [f"{' and '.join(networks)} instead of CaffeNet"] if networks else []
    if not reproduction.ten_crop:
        found.append("one view of the network's own size instead of ten crops of 256x256")
    if reproduction.batch_size is not None:
        batches = " and ".join(f"{paper.batch_size} ({name})" for name, paper in PAPER.items())
        found.append(f"{reproduction.batch_size} images per generation instead of {batches}")
    if "cppn" in reproduction.encodings:
        found.append("CPPNs receive coordinates in [-1, 1] instead of pixel numbers")
    return found


if __name__ == "__main__":
    run(main)
