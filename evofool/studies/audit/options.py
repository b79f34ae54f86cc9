"""What an audit is asked to do, and how much of everything that is."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import tyro

from evofool.errors import require_positive, require_seed, require_share

_GREY, _COLOUR = 0.1, 8 / 255


class Effort(NamedTuple):
    """How much an audit does of everything.

    Attributes:
        images: test images.
        generations: of each evolution.
        batch_size: images that evolution scores in a generation.
        noise: images of each kind of noise.
        scales: the sizes of changes along gradients, as multiples of the one that the summary quotes.
        asked_scales: the sizes of changes by the attack that only asks.
        queries: its most queries for each image.
        learnt: images from which the change for all images is computed.
        passes: over these images.
    """

    images: int
    generations: int
    batch_size: int
    noise: int
    scales: tuple[float, ...]
    asked_scales: tuple[float, ...]
    queries: int
    learnt: int
    passes: int


_FULL = Effort(
    1000, 500, 200, 10_000, (0.125, 0.25, 0.5, 1.0, 1.5, 2.0), (0.25, 0.5, 1.0, 2.0), 1000, 1000, 20
)
_QUICK = Effort(100, 100, 100, 1000, (0.25, 0.5, 1.0), (1.0,), 200, 200, 5)


@dataclass(frozen=True)
class AuditOptions:
    """Which classifier is audited, on which images, and how thoroughly.

    Attributes:
        classifier: what is audited: a name (see evofool list classifiers), the file of a model or
            package.module:function, which is run (see evofool list models), or a composition of them.
        dataset: images of its classes: a name (see evofool list datasets), or a folder with a folder of
            images per class.
        count: test images that are classified and changed, at equal intervals; 1,000 by default, 100 if
            quick, and never more than there are.
        epsilon: the most that a change may alter a pixel, in [0, 1], where the summary quotes one number;
            by default 0.1 of grey images and 8/255 of images in colour, as papers do.
        max_queries: the most images that the classifier is shown in the whole audit; each gradient counts as
            one more. What does not fit is named in the report. No limit by default.
        quick: a first look: fewer images, generations and sizes; no attack that only asks where there are
            gradients to follow.
        seed: of everything that is random.

    Raises:
        UsageError: a value is out of range.
    """

    classifier: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|FILE|COMPOSITION")] = (
        "lenet-digits"
    )
    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    count: int | None = None
    epsilon: float | None = None
    max_queries: int | None = None
    quick: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(count=self.count, epsilon=self.epsilon, max_queries=self.max_queries)
        require_share(epsilon=self.epsilon)
        require_seed(self.seed)

    @property
    def effort(self) -> Effort:
        """How much of everything that is."""
        effort = _QUICK if self.quick else _FULL
        return effort if self.count is None else effort._replace(images=self.count)

    def size(self, channels: int) -> float:
        """The size of the changes that the summary quotes, for images of some channels."""
        if self.epsilon is not None:
            return self.epsilon
        return _GREY if channels == 1 else _COLOUR
