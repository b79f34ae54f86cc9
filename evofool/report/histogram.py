"""How the confidence of a run is spread over its classes."""

import os
import textwrap

import numpy as np
from jaxtyping import Float

from evofool.errors import UsageError
from evofool.files import replacing
from evofool.report.contact_sheet import format_confidence
from evofool.report.plots import STYLE

_BAR = "#0072b2"
_MEDIAN = "#d55e00"
_BINS = 20
_INCHES = (7.5, 4.2)
_TITLE_LETTERS = 64


def confidence_histogram(
    confidences: Float[np.ndarray, " k"], path: str | os.PathLike[str], *, title: str | None = None
) -> None:
    """Save a histogram of the classes over confidence, with their median.

    Args:
        confidences: of each class, in 0..1; nan or -inf where it has no image, which is left out.
        path: the file, always a PNG; one that is there is replaced in one step.
        title: a line in larger type above.

    Raises:
        UsageError: no class has an image.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     confidence_histogram(np.linspace(0, 1, 1000), f"{folder}/histogram.png")
    """
    known = confidences[np.isfinite(confidences)]
    if not len(known):
        raise UsageError("there are no confidences to plot: no class has an image")
    median = np.median(known)
    import matplotlib  # takes a second to import, which only who plots need pay
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        axes.hist(100 * known, bins=_BINS, range=(0, 100), color=_BAR, edgecolor="white")
        axes.axvline(100 * median, color=_MEDIAN, linewidth=1.8, label=f"median {format_confidence(median)}")
        axes.set_xlim(0, 100)
        axes.set_xlabel("confidence in the class that the image was evolved for")
        axes.xaxis.set_major_formatter("{x:.0f} %")
        axes.set_ylabel("classes")
        axes.locator_params(axis="y", integer=True)
        axes.legend(loc="best")
        if title:
            wrapped = textwrap.fill(title, _TITLE_LETTERS)
            figure.suptitle(wrapped, x=0.02, ha="left", fontsize=13, fontweight="bold", parse_math=False)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
