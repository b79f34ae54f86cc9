"""Figures of an attack: the images before and after, and how the probabilities changed step by step."""

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from evofool.errors import UsageError
from evofool.images import require_drawable
from evofool.report.contact_sheet import format_confidence
from evofool.report.figure import BLUE, VERMILION, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOP = 5
_MOST_ROWS = 6
_MOST_LINES = 8
_SHOWN_FROM = 0.05  # a class that never has more is not worth a line

_INK = "#1c1c1e"
_MUTED = "#8e8e93"
_BAR = "#c7c7cc"
_BEFORE, _AFTER = BLUE, VERMILION


class AttackedImage(NamedTuple):
    """One row of the figure of an attack.

    Attributes:
        name: what the image is called, its file name for instance.
        before: pixels in 0..255.
        after: pixels in 0..255, as saved.
        confidences_before: of every class, in 0..1.
        confidences: of every class for the image after, as saved.
        target: the class that was wanted, if one was.
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
    """A change of an image as an image: grey where nothing changed, brighter where it became brighter.

    Args:
        change: the difference of two images with values in [0, 1].
        factor: what the change is multiplied by; by default as much as shows its largest value in full.

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
    """Save a picture of attacked images: before, the change, and after, each with its likeliest classes.

    At most six images are drawn; the title of a figure that leaves some out says so.

    Args:
        rows: the images, at least one, of one size.
        class_names: the name of each class.
        path: the file, always a PNG; one that is there is replaced in one step.
        title: a line in larger type above the images.

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
    if len(shown) < len(rows):
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
    steps_label: str = "step",
) -> None:
    """Plot the probabilities of the classes that an image passes through against the step.

    A class is drawn if it is watched, the likeliest at some step, or above 5% at one; for each image at most
    eight, or as many as must be: the first, the last and the watched ones. At most six images are
    drawn, one panel each; the title of a figure that leaves some out says so.

    Args:
        names: what each image is called.
        trajectories: the confidences before the first step and after each, in 0..1.
        class_names: the name of each class.
        path: the file, always a PNG; one that is there is replaced in one step.
        watched: classes that are drawn whatever their confidences.
        title: a line in larger type above the panels.
        steps_label: what the horizontal axis counts.

    Raises:
        UsageError: there are no trajectories.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> way = np.linspace([[0.9, 0.1]], [[0.0, 1.0]], 11)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trajectory_plot(["panda"], way, ("panda", "vulture"), f"{folder}/it.png")
    """
    count = min(trajectories.shape[1], _MOST_ROWS)
    if not count:
        raise UsageError("there are no trajectories to plot")
    if count < len(names):
        title = _of_many(title, count, len(names))
    columns = 1 if count == 1 else 2
    lines = math.ceil(count / columns)
    width = 9.6 if columns == 1 else 13.4
    with figure(path, title, size=(width, 3.9 * lines + 0.4)) as drawn:
        panels = drawn.subplots(lines, columns, squeeze=False).ravel()
        for panel, name, way in zip(panels, names, trajectories[:, :count].swapaxes(0, 1), strict=False):
            _draw_way(panel, way, class_names, watched, steps_label)
            if count > 1:
                panel.set_title(name, parse_math=False)
        for panel in panels[count:]:
            panel.remove()


def _draw_row(cells: Any, row: AttackedImage, class_names: Sequence[str]) -> None:
    before, before_bars, change, after, after_bars = cells
    _show(before, row.before)
    _show(after, row.after)
    difference = (row.after.astype(np.float64) - row.before) / 255
    _show(change, amplified(difference))
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
    """The likeliest classes, each a name and a figure above a bar."""
    likeliest = np.argsort(-confidences, kind="stable")[:_TOP]
    for place, index in enumerate(likeliest):
        p = float(confidences[index])
        axes.barh(place, 1, height=0.2, color="#f2f2f4")
        axes.barh(place, p, height=0.2, color=colours.get(int(index), _BAR))
        ink = colours.get(int(index), _INK)
        name = class_names[index]
        name = name if len(name) <= 19 else f"{name[:18].rstrip()}…"
        axes.text(0, place - 0.2, name, va="bottom", ha="left", fontsize=8.5, color=ink, parse_math=False)
        figure = format_confidence(np.float32(p))
        axes.text(1, place - 0.2, figure, va="bottom", ha="right", fontsize=8.5, color=ink)
    axes.set_xlim(0, 1)
    axes.set_ylim(_TOP - 0.4, -0.75)
    axes.set_axis_off()


def _draw_way(
    axes: "Axes",
    way: Float[np.ndarray, "t k"],
    class_names: Sequence[str],
    watched: Sequence[int],
    steps_label: str,
) -> None:
    steps = np.arange(len(way))
    for index in _classes_on_the_way(way, watched):
        label = f"{class_names[index]}  {format_confidence(np.float32(way[-1, index]))}"
        axes.plot(steps, 100 * way[:, index], linewidth=2, label=label)
    axes.set_xlim(0, max(1, len(way) - 1))
    axes.set_ylim(-1, 102)
    axes.yaxis.set_major_formatter("{x:.0f}%")
    axes.set_xlabel(steps_label)
    axes.set_ylabel("probability")
    axes.locator_params(axis="x", integer=True)
    legend = axes.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), title="class, and at the end", alignment="left"
    )
    legend.get_title().set_color(_MUTED)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _classes_on_the_way(way: Float[np.ndarray, "t k"], watched: Sequence[int]) -> list[int]:
    """The classes at the start and at the end, the watched ones, then the others by what they reach."""
    first, last = int(np.argmax(way[0])), int(np.argmax(way[-1]))
    most = way.max(axis=0)
    leading = set(np.argmax(way, axis=1).tolist())
    others = [int(i) for i in np.argsort(-most, kind="stable") if most[i] >= _SHOWN_FROM or int(i) in leading]
    drawn = list(dict.fromkeys([first, last, *watched]))
    return list(dict.fromkeys([*drawn, *others]))[: max(_MOST_LINES, len(drawn))]


def _of_many(title: str | None, shown: int, count: int) -> str:
    return f"{title or ''} (the first {shown} of {count})".strip()
