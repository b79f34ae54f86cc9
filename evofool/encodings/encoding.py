"""The second contract: how a genome becomes an image."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key

Genomes = Any
"""A pytree of arrays that share their leading axes: `n` genomes, or `p` pairs of them."""


class Encoding(NamedTuple):
    """How a genome becomes an image: three pure functions over whole populations.

    Every individual, or pair of them, comes with a key of its own, so that a result does not depend on how
    a population is split over chunks or devices.

    Attributes:
        init: `init(keys [n]) -> genomes [n, ...]`, the random genomes of the first generation.
        vary: `vary(keys [p], pairs [p, 2, ...], generation []) -> offspring [p, 2, ...]`, two children for
            each pair of parents.
        render: `render(genomes [n, ...]) -> images [n, h, w, c]` in [0, 1].
        metrics: `metrics(genomes [n, ...]) -> scalars by name`, what is worth recording of the offspring of
            a generation; nothing by default.
    """

    init: Callable[[Key[Array, " n"]], Genomes]
    vary: Callable[[Key[Array, " p"], Genomes, Int[Array, ""]], Genomes]
    render: Callable[[Genomes], Float[Array, "n h w c"]]
    metrics: Callable[[Genomes], dict[str, Array]] = lambda genomes: {}
