"""The third contract: an algorithm that fills an archive."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Key

from evofool.classifiers.classifier import Classifier

State = Any
"""A pytree with at least `key`, `generation` and `archive`."""


class Search(NamedTuple):
    """A search algorithm: two pure functions, compiled by `run`.

    Attributes:
        init: `init(key, classifier) -> state`, the state before the first generation.
        step: `step(state, classifier) -> (state, metrics)`, one generation; metrics are scalars by name,
            and what `evofool.search.archive.lineage` gives of an archive.
        evaluations: how many images one generation scores.
    """

    init: Callable[[Key[Array, ""], Classifier], State]
    step: Callable[[State, Classifier], tuple[State, dict[str, Array]]]
    evaluations: int
