"""Plots of confidence and reward against the generation."""

import itertools
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from evofool.errors import UsageError
from evofool.report.contact_sheet import format_confidence
from evofool.report.figure import (
    BLUE,
    GREEN,
    INK,
    PALETTE,
    VERMILION,
    doubt,
    figure,
    legend_below,
    set_certainty_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ReportedMedian(NamedTuple):
    """A published result to compare a run with.

    Attributes:
        confidence: the median confidence over all classes, in 0..1.
        source: the publication and the setting.
    """

    confidence: float
    source: str


_INCHES = (10, 4.4)
_NARROW = (7.5, 4.2)
_MOST_DOTS = 500
_REWARDS, _PERCENT = (-0.02, 1.02), (-2, 102)  # keeps a line at 0 off the axis


def convergence_plot(
    records: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    reported: ReportedMedian | None = None,
    of: str = "class",
) -> None:
    """Plot the confidence over all classes against the generation: median, quartiles, minimum and maximum.

    The left panel is linear. The right panel is logarithmic in 1 - p, which resolves confidences close to 1.
    A dotted line marks a published median.

    Args:
        records: one mapping per logged generation, as in `metrics.jsonl`, with the numbers `generation`,
            `median_confidence`, `lower_quartile_confidence`, `upper_quartile_confidence`, `min_confidence`
            and `max_confidence`. Confidences are in 0..1, and not finite while no class has an image.
        path: the PNG file of 1500 x 660 pixels. An existing file is replaced atomically.
        title: a heading above the panels.
        reported: the published median to mark, if any.
        of: whose confidences these are, "class" or "run".

    Raises:
        UsageError: there are no records, or a record lacks one of these numbers.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> quantiles = {"min": 0.2, "lower_quartile": 0.5, "median": 0.9, "upper_quartile": 0.99, "max": 1.0}
        >>> record = {"generation": 1} | {f"{name}_confidence": p for name, p in quantiles.items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     convergence_plot([record], f"{folder}/convergence.png", title="LeNet")
    """
    generation = _column(records, "generation")
    confidence = {
        name: np.clip(_column(records, f"{name}_confidence"), 0, 1)
        for name in ("median", "lower_quartile", "upper_quartile", "min", "max")
    }
    with figure(path, title, size=_INCHES) as drawn:
        percent, certainty = drawn.subplots(1, 2)
        doubts = {name: doubt(p) for name, p in confidence.items()}
        _draw(percent, generation, {name: 100 * p for name, p in confidence.items()}, of)
        _draw(certainty, generation, doubts, of)
        if reported is not None:
            label = f"median {format_confidence(reported.confidence)} ({reported.source})"
            for axes, level in ((percent, 100 * reported.confidence), (certainty, 1 - reported.confidence)):
                axes.axhline(level, color=INK, linewidth=1, linestyle=":", zorder=4, label=label)
        _finish_panels(drawn, min(np.fmin.reduce(column, initial=1) for column in doubts.values()))


def _finish_panels(drawn: "Figure", smallest: float) -> None:
    """Titles, axes and the legend of a linear and a logarithmic panel of confidences."""
    percent, certainty = drawn.axes
    percent.set_title("Confidence, linear")
    percent.set_ylim(*_PERCENT)
    percent.yaxis.set_major_formatter("{x:.0f}%")
    certainty.set_title("Confidence, logarithmic in 1 \N{MINUS SIGN} p")
    set_certainty_axis(certainty, smallest)
    legend_below(drawn, *percent.get_legend_handles_labels())


def reward_plot(
    records: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
) -> None:
    """Plot the mean and the best reward of each class against the generation.

    The left panel is the figure of Frigeni's student and teacher, for all classes at once.

    Args:
        records: one mapping per logged generation, with `generation` and the lists `mean_rewards` and
            `max_rewards` of one reward in 0..1 per class.
        names: the names of the classes, in the order of the lists.
        path: the PNG file. An existing file is replaced atomically.
        title: a heading above the panels.

    Raises:
        UsageError: there are no records, or a record lacks these lists.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> records = [{"generation": 1, "mean_rewards": [0.1, 0.4], "max_rewards": [0.5, 0.6]}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     reward_plot(records, ["zero", "one"], f"{folder}/rewards.png")
    """
    generation = _column(records, "generation")
    captions = {"mean_rewards": "Mean reward of all policies", "max_rewards": "Reward of the best policy"}
    rewards = {caption: _column(records, key) for key, caption in captions.items()}
    dot = _dot(generation)
    with figure(path, title, size=_INCHES) as drawn:
        panels = drawn.subplots(1, 2, sharey=True)
        for axes, (caption, of_classes) in zip(panels, rewards.items(), strict=True):
            for name, reward in zip(names, of_classes.T, strict=True):
                axes.plot(generation, reward, linewidth=1.3, marker=dot, label=name)
            axes.set_title(caption)
            axes.set_xlabel("generation")
            axes.set_ylim(*_REWARDS)
            axes.set_xlim(0, 1.02 * max(1, generation.max()))
        legend_below(drawn, *panels[0].get_legend_handles_labels())


def _column(records: Sequence[Mapping[str, Any]], key: str) -> Float[np.ndarray, "n *classes"]:
    if not records:
        raise UsageError("there are no records to plot: no generation is finished")
    try:
        column = np.array([record[key] for record in records], float)
    except KeyError as error:
        raise UsageError(f"a record lacks {key!r}: no run of this kind logged it") from error
    return np.where(np.isfinite(column), column, np.nan)  # a gap in the line


def _draw(
    axes: "Axes", generation: Float[np.ndarray, " n"], level: Mapping[str, Float[np.ndarray, " n"]], of: str
) -> None:
    many = {"class": "classes", "run": "runs"}[of]
    line = partial(axes.plot, generation, marker=_dot(generation))
    line(level["max"], color=GREEN, linewidth=1, label=f"best {of}")
    line(level["median"], color=BLUE, linewidth=2.2, zorder=3, label=f"median {of}")
    quartiles = level["lower_quartile"], level["upper_quartile"]
    axes.fill_between(
        generation, *quartiles, color=BLUE, alpha=0.18, linewidth=0, label=f"middle half of {many}"
    )
    line(level["min"], color=VERMILION, linewidth=1, label=f"lowest {of}")
    axes.set_xlabel("generation")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", integer=True, nbins=7)
    axes.set_xlim(0, 1.02 * max(1, np.fmax.reduce(generation)))


def _dot(generation: Float[np.ndarray, " n"]) -> str | None:
    """The marker of a line: a single point is invisible without one."""
    return "o" if len(generation) == 1 else None


def steps_plot(
    lines: Mapping[str, Float[np.ndarray, "n 3"]],
    path: str | os.PathLike[str],
    *,
    label: str,
    title: str | None = None,
) -> None:
    """Plot confidences against a number of steps, each line with its range.

    Args:
        lines: the confidence after each step, from the first on, by the name of the line: the median, the
            lowest and the highest, in [0, 1]; nan where there is none.
        path: the PNG file. An existing file is replaced atomically.
        label: what a step is.
        title: a heading above the panels.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     steps_plot({"LeNet": np.array([[0.9, 0.8, 0.99]])}, f"{folder}/a.png", label="iteration")
    """
    with figure(path, title, size=_INCHES) as drawn:
        percent, certainty = drawn.subplots(1, 2)
        colours = itertools.cycle(PALETTE)
        for (name, values), colour in zip(lines.items(), colours, strict=False):
            steps = np.arange(1, len(values) + 1)
            for axes, heights in ((percent, 100 * values), (certainty, doubt(values))):
                axes.fill_between(steps, heights[:, 1], heights[:, 2], color=colour, alpha=0.2, linewidth=0)
                axes.plot(steps, heights[:, 0], color=colour, linestyle="-", marker="o", label=name)
        for axes in (percent, certainty):
            axes.set_xlabel(label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        _finish_panels(drawn, min(np.nanmin(doubt(values), initial=1) for values in lines.values()))


def confidence_strips(
    groups: Mapping[str, Float[np.ndarray, " _n"]],
    path: str | os.PathLike[str],
    *,
    threshold: float | None = None,
    title: str | None = None,
) -> None:
    """Plot the confidences of several groups as strips of dots, logarithmic in 1 - p.

    Of a group of more than 500, 500 at equal intervals of rank are drawn.

    Args:
        groups: confidences in [0, 1] by the name of the group, at least one of each.
        path: the PNG file. An existing file is replaced atomically.
        threshold: a confidence to mark, if any.
        title: a heading above the plot.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     confidence_strips({"noise": np.array([0.4, 0.9])}, f"{folder}/strips.png", threshold=0.8)
    """
    doubts = {
        name: doubt(np.quantile(values, np.linspace(0, 1, min(len(values), _MOST_DOTS))))
        for name, values in groups.items()
    }
    with figure(path, title, size=(_NARROW[0], 1.6 + 0.62 * len(groups))) as drawn:
        axes = drawn.subplots()
        for place, (values, colour) in enumerate(
            zip(doubts.values(), itertools.cycle(PALETTE), strict=False)
        ):
            # The fractional parts of the multiples of the golden ratio spread dots evenly.
            heights = place + 0.6 * (np.arange(len(values)) * 0.61803 % 1 - 0.5)
            axes.plot(values, heights, ".", color=colour, markersize=4, alpha=0.55, markeredgewidth=0)
            axes.plot(np.median(values), place, "|", color=INK, markersize=26, markeredgewidth=1.6)
        if threshold is not None:
            label = f"a threshold of {format_confidence(np.float32(threshold))}"
            line = axes.axvline(doubt(np.array([threshold]))[0], color=INK, linestyle=":", label=label)
            legend_below(drawn, [line], [label])
        set_certainty_axis(axes, min(values.min() for values in doubts.values()), vertical=False)
        axes.set_yticks(range(len(groups)), list(groups), parse_math=False)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(
            "highest confidence of each image, logarithmic in 1 \N{MINUS SIGN} p; bars are medians"
        )
