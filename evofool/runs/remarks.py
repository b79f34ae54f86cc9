"""What is wrong with the confidences of a run, class by class, as its archive shows it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from evofool.search import Archive

NO_NUMBER, NOTHING_BETTER = "confidence never a number", "no image above the first"

_NOTES = {
    NO_NUMBER: "{} of {} classes have no image: their confidence was never a number",
    NOTHING_BETTER: (
        "in {} of {} classes no image exceeds the confidence of the first one: "
        "it may be the same for all of them"
    ),
}


def remarks(archive: Archive) -> list[str]:
    """A remark on each class (of each run) whose confidences were of no use, an empty one on the others.

    Every image that exceeds all before it counts as a replacement, so one replacement in a whole run means
    that none of its images exceeded the first. A class at 100% from the start is in order.

    Args:
        archive: of the last generation.

    Example:
        >>> import jax.numpy as jnp
        >>> from evofool.search import empty_archive
        >>> remarks(empty_archive(jnp.zeros(3), niches=1))
        ['confidence never a number']
    """
    confidences, replacements = np.ravel(archive.confidences), np.ravel(archive.replacements)
    found = np.select([~np.isfinite(confidences), (replacements == 1) & (confidences < 1)], [1, 2])
    return [("", NO_NUMBER, NOTHING_BETTER)[index] for index in found]


def in_short(remarks: Sequence[str]) -> list[str]:
    """A line for each different remark, which says how many classes it is about.

    Example:
        >>> in_short([NO_NUMBER, "", NO_NUMBER])
        ['2 of 3 classes have no image: their confidence was never a number']
    """
    counts = Counter(filter(None, remarks))
    return [_NOTES[remark].format(count, len(remarks)) for remark, count in counts.items()]
