"""The distribution of the confidences of a run over its classes."""

import os

import numpy as np
from jaxtyping import Float

from evofool.errors import UsageError
from evofool.report.contact_sheet import format_confidence
from evofool.report.figure import BLUE, VERMILION, figure

_BINS = 20
_INCHES = (7.5, 4.2)


def confidence_histogram(
    confidences: Float[np.ndarray, " k"], path: str | os.PathLike[str], *, title: str | None = None
) -> None:
    """Save a histogram of the confidences of all classes, with their median.

    Args:
        confidences: the confidence of each class, in 0..1; nan or -inf for a class without an image, which is
            left out.
        path: the PNG file. An existing file is replaced atomically.
        title: a heading above the plot.

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
    with figure(path, title, size=_INCHES) as drawn:
        axes = drawn.subplots()
        axes.hist(100 * known, bins=_BINS, range=(0, 100), color=BLUE, edgecolor="white")
        label = f"median {format_confidence(median)}"
        axes.axvline(100 * median, color=VERMILION, linewidth=1.8, label=label)
        axes.set_xlim(0, 100)
        axes.set_xlabel("confidence in the target class")
        axes.xaxis.set_major_formatter("{x:.0f}%")
        axes.set_ylabel("classes")
        axes.locator_params(axis="y", integer=True)
        axes.legend(loc="best")
