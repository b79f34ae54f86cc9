"""Figures of an attack: images before and after, and the probabilities of the classes at each step."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from evofool.errors import UsageError
from evofool.images import require_drawable
from evofool.report.contact_sheet import format_confidence
from evofool.report.figure import BLUE, DASHES, INK, VERMILION, figure, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOP, _MOST_ROWS, _MOST_LINES = 5, 6, 8
_SHOWN_FROM = 0.05  # a class that stays below this gets no line

_INK, _MUTED, _BAR = "#1c1c1e", "#8e8e93", "#c7c7cc"
_BEFORE, _AFTER = BLUE, VERMILION


class AttackedImage(NamedTuple):
    """One row of the figure of an attack.

    Attributes:
        name: the name of the image, such as its file name.
        before: pixels in 0..255.
        after: pixels in 0..255, as saved.
        confidences_before: the confidence in every class before the attack, in 0..1.
        confidences: the confidence in every class for the saved image.
        target: the target class of a targeted attack.
    """

    name: str
    before: UInt8[np.ndarray, "h w c"]
    after: UInt8[np.ndarray, "h w c"]
    confidences_before: Float[np.ndarray, " k"]
    confidences: Float[np.ndarray, " k"]
    target: int | None = None


def amplified(
    change: Float[np.ndarray, "h w c"], factor: float | int | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """Render a perturbation as an image: grey where nothing changed, brighter where values increased.

    Args:
        change: the difference of two images with values in [0, 1].
        factor: the amplification; by default the largest one that does not clip.

    Example:
        >>> amplified(np.array([[[0.0], [0.01], [-0.01]]])).ravel().tolist()
        [128, 255, 0]
        >>> amplified(np.array([[[0.0], [0.002], [-0.002]]]), factor=50).ravel().tolist()
        [128, 153, 102]
    """
    if factor is None:
        largest = np.abs(change).max()
        factor = 0.5 / largest if largest > 0 else 1.0
    return np.rint(255 * np.clip(0.5 + factor * change, 0, 1)).astype(np.uint8)


def before_after_figure(
    rows: Sequence[AttackedImage],
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
) -> None:
    """Save a figure of attacked images: before, the perturbation, and after, with the most likely classes.

    At most six images are drawn. If there are more, the title says so.

    Args:
        rows: the images, at least one, all of the same size.
        class_names: the name of each class.
        path: the PNG file. An existing file is replaced atomically.
        title: a heading above the images.

    Raises:
        UsageError: there are no images, or they are neither grey nor RGB.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> black, white = np.zeros((8, 8, 1), np.uint8), np.full((8, 8, 1), 255, np.uint8)
        >>> row = AttackedImage("black", black, white, np.array([0.9, 0.1]), np.array([0.2, 0.8]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     before_after_figure([row], ("dark", "light"), f"{folder}/it.png")
    """
    if not rows:
        raise UsageError("there are no attacked images to draw")
    require_drawable(rows[0].before.shape)
    shown = rows[:_MOST_ROWS]
    title = _of_many(title, len(shown), len(rows))
    height = 2.45 * len(shown) + (0.95 if title else 0.5)
    with figure(path, title, size=(12.4, height)) as drawn:
        axes = drawn.subplots(len(shown), 5, width_ratios=(1.0, 0.85, 1.0, 1.0, 0.85), squeeze=False)
        for row, cells in zip(shown, axes, strict=True):
            _draw_row(cells, row, class_names)
        axes[0, 0].set_title("before")
        axes[0, 2].set_title("change, amplified")
        axes[0, 3].set_title("after, as saved")


def trajectory_plot(
    names: Sequence[str],
    trajectories: Float[np.ndarray, "t n k"],
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    watched: Sequence[int] = (),
    title: str | None = None,
) -> None:
    """Plot the probabilities of the classes along each image's trajectory, step by step.

    A class is drawn if it is watched, the most likely at some step, or above 5% at some step. A panel has at
    most eight lines, or more if the first, the last and the watched classes need them. At most six images
    are drawn, one panel each. If there are more, the title says so.

    Args:
        names: the name of each image.
        trajectories: the confidences before the first step and after each step, in 0..1.
        class_names: the name of each class.
        path: the PNG file. An existing file is replaced atomically.
        watched: classes that are always drawn.
        title: a heading above the panels.

    Raises:
        UsageError: there are no trajectories.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> trajectories = np.linspace([[0.9, 0.1]], [[0.0, 1.0]], 11)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trajectory_plot(["panda"], trajectories, ("panda", "vulture"), f"{folder}/it.png")
    """
    count = min(trajectories.shape[1], _MOST_ROWS)
    if not count:
        raise UsageError("there are no trajectories to plot")
    title = _of_many(title, count, len(names))
    columns = 1 if count == 1 else 2
    lines = math.ceil(count / columns)
    width = 9.6 if columns == 1 else 13.4
    with figure(path, title, size=(width, 3.9 * lines + 0.4)) as drawn:
        panels = drawn.subplots(lines, columns, squeeze=False).ravel()
        shown = trajectories[:, :count].swapaxes(0, 1)
        for panel, name, trajectory in zip(panels, names, shown, strict=False):
            _draw_trajectory(panel, trajectory, class_names, watched)
            if count > 1:
                panel.set_title(name, parse_math=False)
        for panel in panels[count:]:
            panel.remove()


def epsilon_plot(
    curves: Mapping[str, Float[np.ndarray, "_s 2"]],
    path: str | os.PathLike[str],
    *,
    label: str,
    marked: float | None = None,
    title: str | None = None,
) -> None:
    """Plot shares of images against the size of an attack.

    Args:
        curves: sizes, each with the share in [0, 1]; by the name of the line.
        path: the PNG file. An existing file is replaced atomically.
        label: what the shares are of.
        marked: a size to mark, if any.
        title: a heading above the panel.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     curves = {"as saved": np.array([[0, 0.9], [0.1, 0.4]])}
        ...     epsilon_plot(curves, f"{folder}/it.png", label="robust accuracy", marked=0.1)
    """
    with figure(path, title, size=(7.5, 4.2)) as drawn:
        axes = drawn.subplots()
        # Dashed, so that a line shows the one below it.
        for (name, curve), dashes in zip(curves.items(), itertools.cycle(DASHES), strict=False):
            sizes, shares = curve[np.argsort(curve[:, 0])].T
            axes.plot(sizes, 100 * shares, linestyle=dashes, marker="o", label=name)
        if marked is not None:
            axes.axvline(marked, color=INK, linewidth=1, linestyle=":", label=f"epsilon = {marked:.3g}")
        axes.set_xlim(0, None)
        axes.set_ylim(-2, 102)
        axes.yaxis.set_major_formatter("{x:.0f}%")
        axes.set_xlabel("epsilon, the size of the change")
        axes.set_ylabel(label)
        legend_below(drawn, *axes.get_legend_handles_labels())


def _draw_row(cells: "Sequence[Axes] | np.ndarray", row: AttackedImage, class_names: Sequence[str]) -> None:
    before, before_bars, change, after, after_bars = cells
    _show(before, row.before)
    _show(after, row.after)
    _show(change, amplified((row.after.astype(np.float64) - row.before) / 255))
    levels = np.abs(row.after.astype(int) - row.before).max()
    factor = f"\N{MULTIPLICATION SIGN}{127.5 / levels:.3g}" if levels else "no change"
    plural = "s" if levels != 1 else ""
    before.set_xlabel(row.name, fontsize=9, color=_MUTED, parse_math=False)
    change.set_xlabel(f"{factor}: at most {levels} level{plural} of 255", fontsize=9, color=_MUTED)
    source = int(np.argmax(row.confidences_before))
    _draw_bars(before_bars, row.confidences_before, class_names, {source: _BEFORE})
    end = int(np.argmax(row.confidences)) if row.target is None else row.target
    colours = {source: _BEFORE} if end == source else {source: _BEFORE, end: _AFTER}
    _draw_bars(after_bars, row.confidences, class_names, colours)


def _show(axes: "Axes", image: UInt8[np.ndarray, "h w c"]) -> None:
    shown = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(
        shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if len(image) < 100 else "antialiased"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#d6d6da")


def _draw_bars(
    axes: "Axes", confidences: Float[np.ndarray, " k"], class_names: Sequence[str], colours: dict[int, str]
) -> None:
    """Draw the most likely classes: name and confidence above a bar."""
    likeliest = np.argsort(-confidences, kind="stable")[:_TOP]
    places, drawn = range(len(likeliest)), [colours.get(int(index), _BAR) for index in likeliest]
    axes.barh(places, 1, height=0.2, color="#f2f2f4")
    axes.barh(places, confidences[likeliest], height=0.2, color=drawn)
    for place, index in enumerate(likeliest):
        p = float(confidences[index])
        ink = colours.get(int(index), _INK)
        # Within the panel, so the layout need not measure it.
        write = partial(axes.text, va="bottom", fontsize=8.5, color=ink, parse_math=False, in_layout=False)
        name = class_names[index]
        name = name if len(name) <= 19 else f"{name[:18].rstrip()}…"
        write(0, place - 0.2, name, ha="left")
        write(1, place - 0.2, format_confidence(np.float32(p)), ha="right")
    axes.set_xlim(0, 1)
    axes.set_ylim(_TOP - 0.4, -0.75)
    axes.set_axis_off()


def _draw_trajectory(
    axes: "Axes", trajectory: Float[np.ndarray, "t k"], class_names: Sequence[str], watched: Sequence[int]
) -> None:
    steps = np.arange(len(trajectory))
    for index in _drawn_classes(trajectory, watched):
        label = f"{class_names[index]}  {format_confidence(np.float32(trajectory[-1, index]))}"
        axes.plot(steps, 100 * trajectory[:, index], linewidth=2, label=label)
    axes.set_xlim(0, max(1, len(trajectory) - 1))
    axes.set_ylim(-1, 102)
    axes.yaxis.set_major_formatter("{x:.0f}%")
    axes.set_xlabel("step")
    axes.set_ylabel("probability")
    axes.locator_params(axis="x", integer=True)
    legend = axes.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), title="class, final probability", alignment="left"
    )
    legend.get_title().set_color(_MUTED)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _drawn_classes(trajectory: Float[np.ndarray, "t k"], watched: Sequence[int]) -> list[int]:
    """The first and the last most likely class, the watched ones, then the others by their maximum."""
    likeliest = np.argmax(trajectory, axis=1)
    required = list(dict.fromkeys([int(likeliest[0]), int(likeliest[-1]), *watched]))
    highest, leading = trajectory.max(axis=0), set(likeliest.tolist())
    others = [
        int(index)
        for index in np.argsort(-highest, kind="stable")
        if highest[index] >= _SHOWN_FROM or int(index) in leading
    ]
    return list(dict.fromkeys([*required, *others]))[: max(_MOST_LINES, len(required))]


def _of_many(title: str | None, shown: int, count: int) -> str | None:
    return title if shown == count else f"{title or ''} (the first {shown} of {count})".strip()
