"""How the confidence of a run is spread over its classes."""

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
    with figure(path, title, size=_INCHES) as drawn:
        axes = drawn.subplots()
        axes.hist(100 * known, bins=_BINS, range=(0, 100), color=BLUE, edgecolor="white")
        label = f"median {format_confidence(median)}"
        axes.axvline(100 * median, color=VERMILION, linewidth=1.8, label=label)
        axes.set_xlim(0, 100)
        axes.set_xlabel("confidence in the class that the image was evolved for")
        axes.xaxis.set_major_formatter("{x:.0f}%")
        axes.set_ylabel("classes")
        axes.locator_params(axis="y", integer=True)
        axes.legend(loc="best")
