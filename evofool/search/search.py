"""The third contract: an algorithm that fills an archive with elites."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Key

from evofool.classifiers.classifier import Classifier
from evofool.encodings.encoding import Genomes
from evofool.errors import UsageError

State = Any
"""A pytree with at least `key`, `generation` and `archive`."""


class Search(NamedTuple):
    """A search algorithm: pure functions, compiled by `run`.

    Attributes:
        init: `init(key, classifier) -> state`, the state before the first generation.
        step: `step(state, classifier) -> (state, metrics)`, one generation; metrics are arrays by name. If
            elites have parents, they include those of `evofool.search.archive.lineage`.
        evaluations: `evaluations(classifier)`, the number of images that a generation scores.
        render: `render(genomes [k, ...]) -> images [k, h, w, c]`, the images of the archive's genomes, in
            [0, 1].
        current: `current(state) -> images [k, h, w, c]`, the images of the individuals that evolve next, if
            the algorithm keeps one per class beside the archive.
    """

    init: Callable[[Key[Array, ""], Classifier], State]
    step: Callable[[State, Classifier], tuple[State, dict[str, Array]]]
    evaluations: Callable[[Classifier], int]
    render: Callable[[Genomes], Float[Array, "k h w c"]]
    current: Callable[[State], Float[Array, "k h w c"]] | None = None


def target_classes(classifier: Classifier, targets: Sequence[int] | None) -> tuple[int, ...]:
    """The classes that have a niche: the targets, or all classes if no targets are given.

    Raises:
        UsageError: the targets are empty, repeat a class, or name one that the classifier does not have.

    Example:
        >>> from evofool import load_classifier
        >>> target_classes(load_classifier("lenet-digits"), (7, 3))
        (7, 3)
    """
    classes = len(classifier.spec.class_names)
    chosen = tuple(range(classes) if targets is None else targets)
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= target < classes for target in chosen):
        raise UsageError(
            f"targets must name one or more of {classifier.spec.name}'s classes, 0 to {classes - 1}, each "
            f"once, not {list(chosen)}"
        )
    return chosen
