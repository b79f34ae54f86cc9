"""The second contract: how a genome becomes an image, and how it can be perturbed."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key

Genomes = Any
"""A pytree of arrays that share their leading axes: `n` genomes, or `p` pairs of them."""


class Estimator(NamedTuple):
    """How an evolution strategy perturbs one genome and learns from the rewards.

    Attributes:
        sample: `sample(keys [n], signs [n], genome, sigma) -> (images [n, h, w, c], noise [n, ...])`, the
            images of `n` perturbed genomes. The same key with signs +1 and -1 gives an antithetic pair.
        combine: `combine(noise [n, ...], weights [n]) -> genome`, the sum of the weighted perturbations in
            units of sigma, or of their conditional means given what was drawn.
    """

    sample: Callable[
        [Key[Array, " n"], Float[Array, " n"], Genomes, Any], tuple[Float[Array, "n h w c"], Any]
    ]
    combine: Callable[[Any, Float[Array, " n"]], Genomes]


class Encoding(NamedTuple):
    """How a genome becomes an image: three pure functions over whole populations.

    Every individual, or pair of them, comes with a key of its own, so that a result does not depend on how
    a population is split over chunks or devices. A key that a search passes to `init`, `vary` or an estimator
    is used for nothing else: an encoding may split it or fold in whatever it likes. An encoding that draws
    from one key in several ways must keep these apart itself, because `jax.random.split(key, n)[i]` is the
    same key as `jax.random.fold_in(key, i)`.

    Attributes:
        init: `init(keys [n]) -> genomes [n, ...]`, the random genomes of the first generation.
        vary: `vary(keys [p], pairs [p, 2, ...], generation []) -> offspring [p, 2, ...]`, two children for
            each pair of parents.
        render: `render(genomes [n, ...]) -> images [n, h, w, c]` in [0, 1].
        estimators: ways of perturbing this encoding's genomes that cost less than drawing a normal number for
            every gene, by name, the fastest first; none if it has no such structure.
        metrics: `metrics(genomes [n, ...]) -> scalars by name`, what is worth recording of the offspring of
            a generation; nothing by default.
    """

    init: Callable[[Key[Array, " n"]], Genomes]
    vary: Callable[[Key[Array, " p"], Genomes, Int[Array, ""]], Genomes]
    render: Callable[[Genomes], Float[Array, "n h w c"]]
    estimators: Mapping[str, Estimator] = MappingProxyType({})
    metrics: Callable[[Genomes], dict[str, Array]] = lambda genomes: {}
