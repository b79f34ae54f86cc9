"""How often a search asks its classifier, and after how many images it stops."""

import jax.numpy as jnp

from evofool.classifiers.black_box import AnyClassifier
from evofool.errors import UsageError
from evofool.search.search import Search

QUERIES = ("queries", "cached_queries", "failed_queries", "padded_queries")
"""The metrics of what was asked: images that a classifier was asked about, whose answer was known, that were
in requests that failed, and that only fill up a generation."""


def queries_of_compiled(search: Search, classifier: AnyClassifier) -> dict[str, int]:
    """The metrics in `QUERIES` of a generation that is compiled with its classifier.

    Args:
        search: the algorithm.
        classifier: what it fools.
    """
    individuals = search.individuals(classifier)
    padded = individuals - int(search.counts(jnp.arange(individuals)).sum())
    return dict(zip(QUERIES, (search.evaluations(classifier), 0, 0, padded), strict=True))


def generations_within(
    search: Search, classifier: AnyClassifier, generations: int, max_queries: int | None
) -> int:
    """After how many generations a run stops that may ask its classifier about so many images.

    A generation that would exceed the number is not begun. So the state is that of a whole generation, from
    which a run with a larger number goes on as if it had had that number from the start. An image counts
    whether its answer is known already or not, so that the end does not depend on what is remembered.

    Raises:
        UsageError: the number does not allow a single generation.

    Example:
        >>> from evofool import direct, load_classifier, map_elites
        >>> classifier = load_classifier("lenet-digits")
        >>> generations_within(map_elites(direct((28, 28, 1))), classifier, 200, 1100)
        5
    """
    if max_queries is None:
        return generations
    each = search.evaluations(classifier)
    if max_queries < each:
        raise UsageError(f"max_queries must allow a generation, which has {each:,} images, not {max_queries}")
    return min(generations, max_queries // each)
