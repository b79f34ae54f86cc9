"""How the confidence of a run rose, generation by generation."""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from evofool.errors import UsageError
from evofool.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ReportedMedian(NamedTuple):
    """What a run is compared with.

    Attributes:
        confidence: the median over all classes, in 0..1.
        source: who reports it, and of what.
    """

    confidence: float
    source: str


STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8e8e93",
    "axes.grid": True,
    "axes.labelcolor": "#3a3a3c",
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": "#3a3a3c",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 10.5,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.wspace": 0.04,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#e9e9ec",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "savefig.dpi": 150,
    "text.color": "#1c1c1e",
    "xtick.color": "#8e8e93",
    "xtick.labelcolor": "#3a3a3c",
    "xtick.labelsize": 9,
    "ytick.color": "#8e8e93",
    "ytick.labelcolor": "#3a3a3c",
    "ytick.labelsize": 9,
}

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_MEDIAN = "#0072b2"
_BEST = "#009e73"
_LOWEST = "#d55e00"
_REFERENCE = "#3a3a3c"

_CLOSEST_TO_CERTAIN = 1e-8  # a confidence of exactly 1 has no place on the logarithmic axis
_INCHES = (10, 4.4)
_TITLE_LETTERS = 80  # in a line


def convergence_plot(
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    reported: ReportedMedian | None = None,
) -> None:
    """Plot the confidence of all classes against the generation: median, quartiles, best and lowest.

    The left panel shows it in percent. The right panel shows the distance from certainty, 1 - p, on a
    logarithmic axis on which up is better, for that is where the last nines are won. A dotted line marks what
    is reported elsewhere of such a run.

    Args:
        records: one mapping per generation shown, as the lines of a `metrics.jsonl`, with the numbers
            `generation`, `median_confidence`, `lower_quartile_confidence`, `upper_quartile_confidence`,
            `min_confidence` and `max_confidence`; confidences in 0..1, not finite where there is none yet.
        path: the file, always a PNG of 1500 x 660 pixels; one that is there is replaced in one step.
        title: a line in larger type above the panels.
        reported: the median that is reported of such a run; no line if there is none.

    Raises:
        UsageError: there are no records, or one lacks a number that is plotted.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> quantiles = {"min": 0.2, "lower_quartile": 0.5, "median": 0.9, "upper_quartile": 0.99, "max": 1.0}
        >>> record = {"generation": 1} | {f"{name}_confidence": p for name, p in quantiles.items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     convergence_plot([record], f"{folder}/convergence.png", title="LeNet")
    """
    if not records:
        raise UsageError("there are no records to plot: the run has not finished a generation")
    generation = _column(records, "generation")
    confidence = {
        name: np.clip(_column(records, f"{name}_confidence"), 0, 1)
        for name in ("median", "lower_quartile", "upper_quartile", "min", "max")
    }
    import matplotlib  # takes a second to import, which only who plots need pay
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        percent, certainty = figure.subplots(1, 2)
        _draw(percent, generation, {name: 100 * p for name, p in confidence.items()})
        doubt = {name: np.clip(1 - p, _CLOSEST_TO_CERTAIN, 1) for name, p in confidence.items()}
        _draw(certainty, generation, doubt)
        if reported is not None:
            label = f"{100 * reported.confidence:.2f} % ({reported.source})"
            for axes, level in ((percent, 100 * reported.confidence), (certainty, 1 - reported.confidence)):
                axes.axhline(level, color=_REFERENCE, linewidth=1, linestyle=":", zorder=4, label=label)
        _set_percent_axis(percent)
        _set_certainty_axis(certainty, doubt)
        if title:
            wrapped = textwrap.fill(title, _TITLE_LETTERS)
            figure.suptitle(wrapped, x=0.012, ha="left", fontsize=13, fontweight="bold", parse_math=False)
        figure.legend(*percent.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def reward_plot(
    records: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
) -> None:
    """Plot the reward of each class against the generation: of the mean policy, and of the best.

    The left panel is the figure of Frigeni's student and teacher, for all classes at once.

    Args:
        records: one mapping per generation shown, with `generation` and the lists `mean_rewards` and
            `max_rewards` of one reward in 0..1 per class.
        names: of the classes, in the order of the lists.
        path: the file, always a PNG; one that is there is replaced in one step.
        title: a line in larger type above the panels.

    Raises:
        UsageError: there are no records, or one lacks what is plotted.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> records = [{"generation": 1, "mean_rewards": [0.1, 0.4], "max_rewards": [0.5, 0.6]}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     reward_plot(records, ["zero", "one"], f"{folder}/rewards.png")
    """
    if not records:
        raise UsageError("there are no records to plot: the run has not finished a generation")
    generation = _column(records, "generation")
    try:
        rewards = {
            key: np.array([record[key] for record in records]) for key in ("mean_rewards", "max_rewards")
        }
    except KeyError as error:
        raise UsageError(f"a record to plot lacks {error}: it is not from an evolution strategy") from error
    import matplotlib
    from matplotlib.figure import Figure

    colours = matplotlib.colormaps["tab10" if len(names) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        captions = ("Reward, mean of all policies", "Reward, best policy")
        for axes, caption, key in zip(panels, captions, rewards, strict=True):
            for index, name in enumerate(names):
                dot = "o" if len(generation) == 1 else None
                axes.plot(
                    generation,
                    rewards[key][:, index],
                    color=colours[index],
                    linewidth=1.3,
                    marker=dot,
                    label=name,
                )
            axes.set_title(caption)
            axes.set_xlabel("generation")
            axes.set_ylim(0, 1.02)
            axes.set_xlim(0, 1.02 * max(1, generation.max()))
        if title:
            wrapped = textwrap.fill(title, _TITLE_LETTERS)
            figure.suptitle(wrapped, x=0.012, ha="left", fontsize=13, fontweight="bold", parse_math=False)
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(10, len(names))
        )
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def _column(records: Sequence[Mapping[str, Any]], key: str) -> Float[np.ndarray, " n"]:
    try:
        column = np.array([float(record[key]) for record in records])
    except KeyError as error:
        raise UsageError(f"a record to plot lacks {key!r}: it is not from a run's metrics.jsonl") from error
    return np.where(np.isfinite(column), column, np.nan)  # a gap in the line


def _draw(
    axes: "Axes", generation: Float[np.ndarray, " n"], level: Mapping[str, Float[np.ndarray, " n"]]
) -> None:
    dot = "o" if len(generation) == 1 else None  # a line needs two points to be seen
    axes.plot(generation, level["max"], color=_BEST, linewidth=1, marker=dot, label="best class")
    axes.plot(
        generation, level["median"], color=_MEDIAN, linewidth=2.2, zorder=3, marker=dot, label="median class"
    )
    axes.fill_between(
        generation,
        level["lower_quartile"],
        level["upper_quartile"],
        color=_MEDIAN,
        alpha=0.18,
        linewidth=0,
        label="middle half of classes",
    )
    axes.plot(generation, level["min"], color=_LOWEST, linewidth=1, marker=dot, label="lowest class")
    axes.set_xlabel("generation")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", integer=True, nbins=7)
    axes.set_xlim(0, 1.02 * max(1, np.fmax.reduce(generation)))


def _set_percent_axis(axes: "Axes") -> None:
    axes.set_title("Confidence, linear")
    axes.set_ylim(0, 102)
    axes.yaxis.set_major_formatter("{x:.0f} %")


def _set_certainty_axis(axes: "Axes", doubt: Mapping[str, Float[np.ndarray, " n"]]) -> None:
    axes.set_title("Confidence, logarithmic in 1 \N{MINUS SIGN} p")
    axes.set_yscale("log")
    smallest = min(np.fmin.reduce(column, initial=1) for column in doubt.values())
    decades = max(5, math.ceil(-math.log10(smallest)))
    axes.set_ylim(1, 0.7 * 10.0**-decades)
    axes.set_yticks([10.0**-nines for nines in range(decades + 1)], minor=False)
    axes.set_yticks([], minor=True)
    labels = [f"{100 - 10.0 ** (2 - nines):.{max(0, nines - 2)}f} %" for nines in range(decades + 1)]
    if smallest <= _CLOSEST_TO_CERTAIN:
        labels[-1] = f"≥ {labels[-1]}"
    axes.set_yticklabels(labels)
