"""How many generations are made between two moments at which the host sees the state."""

import numpy as np

LONGEST_CHUNK = 256
"""Generations: the device keeps the records of no more than these until the host fetches them."""

SECONDS_PER_CHUNK = 0.5
"""How long a chunk takes if its length is not given: short enough for a progress bar."""


def chunk_length(
    wanted: int, done: int, generations: int, pause_every: int | None, longest: int = LONGEST_CHUNK
) -> int:
    """The length of the next chunk: what is wanted, up to the end or the next pause.

    Example:
        >>> chunk_length(30, done=40, generations=200, pause_every=50)
        10
    """
    length = min(wanted, generations - done, longest)
    return min(length, pause_every - done % pause_every) if pause_every else length


def length_in_time(length: int, seconds: float) -> int:
    """The length of a chunk that takes about half a second, given what the last one took.

    Example:
        >>> length_in_time(10, 0.25), length_in_time(10, 0.001)
        (20, 20)
    """
    # At most doubled: the first chunk includes compilation, and other work may slow any chunk.
    return int(np.clip(length * SECONDS_PER_CHUNK / seconds, 1, 2 * length))
