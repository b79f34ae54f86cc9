"""What an audit results in: sections for a reader, and figures by name for a program."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from evofool.report import format_confidence
from evofool.studies.study import Figure, Table

CURVES = "Accuracy against the size of the change"
"""The title of the section, the plot and the table of robust accuracy."""

ROBUST = "classified correctly"
"""What the shares in that plot are of."""


class Kind(NamedTuple):
    """A figure that an audit measures.

    Attributes:
        about: what it is, in a few words.
        text: how it is written.
        more_is_better: whether the larger of two classifiers' is the better one.
    """

    about: str
    text: Callable[[float], str]
    more_is_better: bool


def percent(share: float) -> str:
    """A share as a reader sees it."""
    return f"{share:.1%}"


def confidence_text(confidence: float | np.floating) -> str:
    """A confidence that was measured in single precision, as a reader sees it."""
    return format_confidence(np.float32(confidence))


def _number(value: float) -> str:
    return f"{value:.3g}"


FIGURES: Mapping[str, Kind] = {
    "clean_accuracy": Kind("test images that are classified correctly", percent, True),
    "robust_accuracy": Kind(
        "test images that no attack gets misclassified within epsilon, as saved with 8 bits", percent, True
    ),
    "robust_accuracy_asked": Kind("the same, by attacks that only ask", percent, True),
    "median_smallest_l2": Kind(
        "median Euclidean length of the smallest change that misleads (DeepFool)", _number, True
    ),
    "attacked_survives_saving": Kind(
        "images that mislead by the attack within epsilon that still do as saved with 8 bits", percent, False
    ),
    "deepfool_survives_saving": Kind(
        "DeepFool's images that still mislead as saved with 8 bits", percent, False
    ),
    "universal_fooling_rate": Kind(
        "held-out images whose class one change for all alters, within epsilon", percent, False
    ),
    "direct_above_99": Kind("classes with evolved pixels above 99%", percent, False),
    "direct_median_confidence": Kind("median confidence in evolved pixels", confidence_text, False),
    "cppn_above_99": Kind("classes with an evolved pattern above 99%", percent, False),
    "cppn_median_confidence": Kind("median confidence in evolved patterns", confidence_text, False),
    "uniform_noise_above_50": Kind("images of uniform noise above 50% in some class", percent, False),
    "gaussian_noise_above_50": Kind("images of Gaussian noise above 50% in some class", percent, False),
    "auroc_direct": Kind("AUROC of the confidence: test images and evolved pixels", _number, True),
    "auroc_cppn": Kind("AUROC of the confidence: test images and evolved patterns", _number, True),
    "auroc_uniform_noise": Kind("AUROC of the confidence: test images and uniform noise", _number, True),
    "auroc_gaussian_noise": Kind("AUROC of the confidence: test images and Gaussian noise", _number, True),
    "auroc_attacked": Kind("AUROC of the confidence: test images and changes along gradients", _number, True),
    "auroc_asked": Kind("AUROC of the confidence: test images and changes by asking", _number, True),
    "warned": Kind(
        "evolved images that a threshold would reject that keeps 95% of the test images", percent, True
    ),
}
"""The figures that an audit measures, by name."""


class Picture(NamedTuple):
    """An image with the words about it.

    Attributes:
        pixels: with 8 bits.
        alt: what it is, for those who do not see it.
        lines: the words below it.
    """

    pixels: UInt8[np.ndarray, "_h _w _c"]
    alt: str
    lines: tuple[str, ...]


class Section(NamedTuple):
    """A part of the report.

    Attributes:
        title: the heading.
        sentences: what was found.
        galleries: images in groups that belong together, by title.
        plots: by title.
        tables: by title.
    """

    title: str
    sentences: Sequence[str]
    galleries: Mapping[str, Sequence[Sequence[Picture]]] = {}
    plots: Mapping[str, Figure] = {}
    tables: Mapping[str, Table] = {}


class Survival(NamedTuple):
    """Images that misled a classifier, before and after they were saved.

    Attributes:
        by: what made them.
        made: how many misled it as computed, in single precision.
        saved: how many of these do so with 8 bits.
    """

    by: str
    made: int
    saved: int

    @property
    def share(self) -> float:
        """The share that survives; nan if none misled it."""
        return self.saved / self.made if self.made else float("nan")


class Balls(NamedTuple):
    """Which images an attack gets misclassified within balls of several sizes.

    Attributes:
        by: the attack.
        sizes: the most that a pixel changes, in [0, 1], in rising order.
        computed: whether each of the test images is misclassified, as computed in single precision; a
            smaller ball's change is in every larger ball too.
        saved: the same as saved with 8 bits.
    """

    by: str
    sizes: Sequence[float]
    computed: Bool[np.ndarray, "s n"]
    saved: Bool[np.ndarray, "s n"]


class Found(NamedTuple):
    """What one part of an audit found.

    Attributes:
        section: for the report.
        figures: by their names in `FIGURES`.
        queries: images that the classifier was shown, and gradients.
        confidences: the highest confidences in images that should not be recognised, by what they are.
        survival: of saving.
        balls: of an attack within balls.
    """

    section: Section
    figures: Mapping[str, float]
    queries: int
    confidences: Mapping[str, Float[np.ndarray, " _n"]] = {}
    survival: Sequence[Survival] = ()
    balls: Balls | None = None


class NotRun(NamedTuple):
    """What an audit left out.

    Attributes:
        part: its title.
        reason: why, in a few words.
    """

    part: str
    reason: str


class AuditResult(NamedTuple):
    """What an audit found.

    Attributes:
        name: of the classifier.
        summary: a few plain sentences.
        figures: the measured ones of `FIGURES`, by name.
        sections: in the order of the report.
        not_run: what was left out.
        about: what was audited, with what; by name.
    """

    name: str
    summary: Sequence[str]
    figures: Mapping[str, float]
    sections: Sequence[Section]
    not_run: Sequence[NotRun]
    about: Mapping[str, str]
