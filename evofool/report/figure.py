"""What all plots share: figures that are saved atomically, the style, the palette, the certainty axis."""

import math
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from evofool.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colour-blind safe palette of Okabe and Ito, without its yellow and black.
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
PINK, ORANGE, SKY = "#cc79a7", "#e69f00", "#56b4e9"
INK, GREY = "#3a3a3c", "#8e8e93"
PALETTE = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, INK, GREY)
DASHES = ("-", "--", ":", "-.")
"""Lines cycle through the palette, then through the dashes."""

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
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
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
}

_TITLE_FROM_LEFT = 0.12  # inches
_TITLE_LETTERS_PER_INCH = 8
_LEGEND_LETTERS_PER_INCH = 13.6
_KEY_LETTERS = 8  # the width of a legend key and its gap
_CLOSEST_TO_CERTAIN = 1e-8  # a logarithmic axis cannot show a confidence of exactly 1


@contextmanager
def figure(
    path: str | os.PathLike[str], title: str | None = None, *, size: tuple[float | int, float | int]
) -> Iterator["Figure"]:
    """A figure to draw on, saved at the end of the block unless the block raises.

    Args:
        path: the PNG file. An existing file is replaced atomically.
        title: a heading above the panels; long ones are wrapped.
        size: width and height in inches, at 150 pixels per inch.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with figure(f"{folder}/line.png", "A line", size=(4, 3)) as drawn:
        ...         _ = drawn.subplots().plot([1, 2, 3])
        ...     os.listdir(folder)
        ['line.png']
    """
    import matplotlib  # the import takes a second
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    cycle = cycler(linestyle=DASHES) * cycler(color=PALETTE)
    with matplotlib.rc_context(_STYLE | {"axes.prop_cycle": cycle}):
        drawn = Figure(figsize=size, layout="constrained")
        if title:
            drawn.suptitle(
                textwrap.fill(title, int(_TITLE_LETTERS_PER_INCH * size[0])),
                x=_TITLE_FROM_LEFT / size[0],
                ha="left",
                fontsize=13,
                fontweight="bold",
                parse_math=False,
            )
        yield drawn
        with replacing(path) as temporary:
            # A smaller level takes a third of the time for a file a tenth larger.
            drawn.savefig(temporary, format="png", pil_kwargs={"compress_level": 3})


def legend_below(drawn: "Figure", handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add a legend below all panels, with as many columns as fit."""
    fitting = _LEGEND_LETTERS_PER_INCH * drawn.get_figwidth()
    lengths = np.array([len(label) + _KEY_LETTERS for label in labels])

    def width(columns: int) -> int:
        return sum(int(column.max()) for column in np.array_split(lengths, columns))

    most = next((columns for columns in range(len(labels), 1, -1) if width(columns) <= fitting), 1)
    columns = math.ceil(len(labels) / math.ceil(len(labels) / most))  # rows of equal length
    legend = drawn.legend(handles, labels, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)


def doubt(confidences: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The coordinate on a certainty axis: 1 - p, at least 1e-8; nan stays nan.

    Example:
        >>> doubt(np.array([0.0, 0.75, 1.0])).tolist()
        [1.0, 0.25, 1e-08]
    """
    return np.clip(1 - confidences, _CLOSEST_TO_CERTAIN, 1)


def set_certainty_axis(axes: "Axes", smallest: float, *, vertical: bool = True) -> None:
    """Make an axis logarithmic in 1 - p, certainty at the end, with ticks labelled by p.

    Args:
        axes: axes on which values of `doubt` are drawn.
        smallest: the smallest value drawn, in (0, 1]. The axis reaches at least 99.999%.
        vertical: whether it is the vertical axis, with certainty at the top; else at the right.
    """
    decades = max(5, math.ceil(-math.log10(smallest)))
    labels = [f"{100 - 10.0 ** (2 - nines):.{max(0, nines - 2)}f}%" for nines in range(decades + 1)]
    if smallest <= _CLOSEST_TO_CERTAIN:
        labels[-1] = f"≥ {labels[-1]}"
    name = "y" if vertical else "x"
    axis = axes.yaxis if vertical else axes.xaxis
    axes.set(**{f"{name}scale": "log", f"{name}lim": (1.1, 0.7 * 10.0**-decades)})
    axis.set_ticks([10.0**-nines for nines in range(decades + 1)], labels)
    axis.set_ticks([], minor=True)
