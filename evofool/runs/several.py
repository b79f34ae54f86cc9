"""Several runs in one directory: what is logged of them together, and what is written of each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree, Shaped, UInt8

from evofool.files import save_table
from evofool.report import contact_sheet, convergence_plot
from evofool.results import Results
from evofool.runs.metrics import Record
from evofool.runs.pictures import Drawn, Images, Pictures
from evofool.search import QUERIES, one_run

SEEDS, RUNS_TABLE = "seeds/", "seeds.csv"

_RUNS_ON_A_SHEET = 10
_CLASSES_ON_A_SHEET = 20


def over_runs(metrics: Mapping[str, Shaped[np.ndarray, "n r *_"]]) -> dict[str, Shaped[np.ndarray, "n *_"]]:
    """The metrics of several runs as those of one.

    Args:
        metrics: of `n` generations of `r` runs.

    Returns:
        In place of the confidences of the classes, the same statistics of the runs' medians; of the queries
        the sum; of all else the median over the runs.

    Example:
        >>> names = ("median", "lower_quartile", "upper_quartile", "mean", "min", "max")
        >>> metrics = {f"{name}_confidence": np.array([[0.1, 0.5, 0.9]]) for name in names}
        >>> found = over_runs(metrics)
        >>> found["median_confidence"].tolist(), found["max_confidence"].tolist()
        ([0.5], [0.9])
    """
    medians = metrics["median_confidence"]
    with np.errstate(invalid="ignore"):  # a run whose niches are empty has -inf
        lower, upper = np.quantile(medians, [0.25, 0.75], axis=1).astype(np.float32)
        medians_of = {name: np.median(values, axis=1) for name, values in metrics.items()}
        return medians_of | {
            **{name: metrics[name].sum(axis=1) for name in QUERIES if name in metrics},
            "lower_quartile_confidence": lower,
            "upper_quartile_confidence": upper,
            "mean_confidence": medians.mean(axis=1),
            "min_confidence": medians.min(axis=1),
            "max_confidence": medians.max(axis=1),
        }


def write_several(
    results: Results,
    drawn: Drawn,
    seeds: Sequence[int],
    state: PyTree,
    images: Images,
    records: Sequence[Record],
) -> None:
    """Write the elites of each run into a folder of its own, a table of the runs, a sheet and a plot.

    Args:
        results: of the runs.
        drawn: what the pictures say.
        seeds: of the runs.
        state: of all runs.
        images: of all elites, from `draw`, one run after the other.
        records: the metrics of all runs together.

    Raises:
        EvofoolError: something cannot be written.
    """
    pictures = Pictures(results, drawn)
    folder, table = results.add_all([SEEDS, RUNS_TABLE])
    images = images.reshape(len(seeds), -1, *images.shape[1:])
    archives = [jax.tree.map(np.asarray, one_run(state, index).archive) for index in range(len(seeds))]
    with results.writing("the elites"):
        for seed, archive, own in zip(seeds, archives, images, strict=True):
            pictures.write_elites(archive, own, folder / str(seed))
        save_table(
            table, [_row(seed, archive.confidences) for seed, archive in zip(seeds, archives, strict=True)]
        )
    confidences = np.stack([archive.confidences for archive in archives])
    runs = sheet_of_runs(images, pictures.names, confidences, [f"seed {seed}" for seed in seeds])
    sheet, plot = results.add_all(["elites.png", "convergence.png"])
    with results.writing("the elites"):
        contact_sheet(
            *(runs.images, runs.labels, runs.confidences, sheet),
            columns=runs.columns,
            title=drawn.title,
            subtitle=drawn.subtitle
            if runs.shown == len(seeds)
            else f"{drawn.subtitle}; the first {runs.shown}",
        )
    if records:
        with results.writing("the plots"):
            convergence_plot(records, plot, title=drawn.title, reported=drawn.reported, of="run")


class RunsOnSheet(NamedTuple):
    """The elites of several runs, one run after the other, as a sheet shows them.

    Attributes:
        images: of the runs that are shown.
        labels: of each image: its class and its run.
        confidences: of each image.
        columns: of the sheet.
        shown: how many runs.
    """

    images: Images
    labels: list[str]
    confidences: Float[np.ndarray, " n"]
    columns: int
    shown: int


def sheet_of_runs(
    images: UInt8[np.ndarray, "r k h w c"],
    names: Sequence[str],
    confidences: Float[np.ndarray, "r k"],
    runs: Sequence[str],
) -> RunsOnSheet:
    """The first ten runs, or the first alone if there are more classes than a row has room for.

    Args:
        images: of the elites.
        names: of their classes.
        confidences: of the elites.
        runs: what each run is called.

    Example:
        >>> images, confidences = np.zeros((2, 3, 8, 8, 1), np.uint8), np.ones((2, 3))
        >>> sheet_of_runs(images, "abc", confidences, ["seed 0", "seed 1"]).labels[:4]
        ['a, seed 0', 'b, seed 0', 'c, seed 0', 'a, seed 1']
    """
    shown = min(len(runs), _RUNS_ON_A_SHEET) if len(names) <= _CLASSES_ON_A_SHEET else 1
    return RunsOnSheet(
        images[:shown].reshape(-1, *images.shape[2:]),
        [f"{name}, {run}" for run in runs[:shown] for name in names],
        confidences[:shown].reshape(-1),
        min(len(names), _CLASSES_ON_A_SHEET),
        shown,
    )


def _row(seed: int, confidences: Shaped[np.ndarray, " k"]) -> dict[str, object]:
    with np.errstate(invalid="ignore"):
        return {
            "seed": seed,
            "median_confidence": np.median(confidences),
            "mean_confidence": confidences.mean(),
            "min_confidence": confidences.min(),
            "max_confidence": confidences.max(),
            "niches_over_0.99": int((confidences > 0.99).sum()),
            "niches_over_0.9999": int((confidences > 0.9999).sum()),
        }
