"""How the confidence of a run rose, generation by generation."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from evofool.errors import UsageError
from evofool.report.contact_sheet import format_confidence
from evofool.report.figure import BLUE, GREEN, INK, VERMILION, doubt, figure, legend_below, set_certainty_axis

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


_INCHES = (10, 4.4)
_REWARDS, _PERCENT = (-0.02, 1.02), (-2, 102)  # so that a line at 0 is not taken for the axis


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
    with figure(path, title, size=_INCHES) as drawn:
        percent, certainty = drawn.subplots(1, 2)
        doubts = {name: doubt(p) for name, p in confidence.items()}
        _draw(percent, generation, {name: 100 * p for name, p in confidence.items()})
        _draw(certainty, generation, doubts)
        if reported is not None:
            label = f"median {format_confidence(reported.confidence)} ({reported.source})"
            for axes, level in ((percent, 100 * reported.confidence), (certainty, 1 - reported.confidence)):
                axes.axhline(level, color=INK, linewidth=1, linestyle=":", zorder=4, label=label)
        percent.set_title("Confidence, linear")
        percent.set_ylim(*_PERCENT)
        percent.yaxis.set_major_formatter("{x:.0f}%")
        certainty.set_title("Confidence, logarithmic in 1 \N{MINUS SIGN} p")
        set_certainty_axis(certainty, min(np.fmin.reduce(column, initial=1) for column in doubts.values()))
        legend_below(drawn, *percent.get_legend_handles_labels())


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
    dot = _dot(generation)
    with figure(path, title, size=_INCHES) as drawn:
        panels = drawn.subplots(1, 2, sharey=True)
        captions = ("Reward, mean of all policies", "Reward, best policy")
        for axes, caption, key in zip(panels, captions, rewards, strict=True):
            for index, name in enumerate(names):
                axes.plot(generation, rewards[key][:, index], linewidth=1.3, marker=dot, label=name)
            axes.set_title(caption)
            axes.set_xlabel("generation")
            axes.set_ylim(*_REWARDS)
            axes.set_xlim(0, 1.02 * max(1, generation.max()))
        legend_below(drawn, *panels[0].get_legend_handles_labels())


def _column(records: Sequence[Mapping[str, Any]], key: str) -> Float[np.ndarray, " n"]:
    try:
        column = np.array([float(record[key]) for record in records])
    except KeyError as error:
        raise UsageError(f"a record to plot lacks {key!r}: it is not from a run's metrics.jsonl") from error
    return np.where(np.isfinite(column), column, np.nan)  # a gap in the line


def _draw(
    axes: "Axes", generation: Float[np.ndarray, " n"], level: Mapping[str, Float[np.ndarray, " n"]]
) -> None:
    dot = _dot(generation)
    axes.plot(generation, level["max"], color=GREEN, linewidth=1, marker=dot, label="best class")
    axes.plot(
        generation, level["median"], color=BLUE, linewidth=2.2, zorder=3, marker=dot, label="median class"
    )
    axes.fill_between(
        generation,
        level["lower_quartile"],
        level["upper_quartile"],
        color=BLUE,
        alpha=0.18,
        linewidth=0,
        label="middle half of classes",
    )
    axes.plot(generation, level["min"], color=VERMILION, linewidth=1, marker=dot, label="lowest class")
    axes.set_xlabel("generation")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", integer=True, nbins=7)
    axes.set_xlim(0, 1.02 * max(1, np.fmax.reduce(generation)))


def _dot(generation: Float[np.ndarray, " n"]) -> str | None:
    """The marker of a line, which needs two points to be seen without one."""
    return "o" if len(generation) == 1 else None
