"""The second contract: how a genome becomes an image, and how it can be perturbed."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float, Int, Key, PyTree

from evofool.errors import UsageError, require_positive
from evofool.registry import AnyOptions, Registry

Genomes: TypeAlias = PyTree
"""A pytree of arrays that share their leading axes: `n` genomes, or `p` pairs of them."""

Noise: TypeAlias = PyTree
"""What an estimator drew for each of `n` perturbations."""

Vary = Callable[[Key[Array, " p"], Genomes, Int[Array, ""]], Genomes]
"""`vary(keys [p], pairs [p, 2, ...], generation []) -> offspring [p, 2, ...]`"""


class Estimator(NamedTuple):
    """How an evolution strategy perturbs one genome and learns from the rewards.

    Attributes:
        sample: `sample(keys [n], signs [n], genome, sigma) -> (images [n, h, w, c], noise [n, ...])`, the
            images of `n` perturbed genomes. The same key with signs +1 and -1 gives an antithetic pair.
        combine: `combine(noise [n, ...], weights [n]) -> genome`, the sum of the weighted perturbations in
            units of sigma, or of their conditional means given the noise that was drawn.
    """

    sample: Callable[
        [Key[Array, " n"], Float[Array, " n"], Genomes, float | Float[Array, ""]],
        tuple[Float[Array, "n h w c"], Noise],
    ]
    combine: Callable[[Noise, Float[Array, " n"]], Genomes]


class Encoding(NamedTuple):
    """How a genome becomes an image: three pure functions over whole populations.

    An encoding is a function `thing(image_shape, options)`. Options that only `vary` uses are grouped in a
    field `variation` of its options, which is None in runs of a search that does not breed.

    Every individual, or pair of them, comes with its own key, so that a result does not depend on how
    a population is split over chunks or devices. A key that a search passes to `init`, `vary` or an estimator
    is used for nothing else: an encoding may split it or fold in any number. An encoding that draws from one
    key in several ways must keep these apart itself, because `jax.random.split(key, n)[i]` is the same key as
    `jax.random.fold_in(key, i)`.

    Attributes:
        init: `init(keys [n]) -> genomes [n, ...]`, the random genomes of the first generation.
        vary: `vary(keys [p], pairs [p, 2, ...], generation []) -> offspring [p, 2, ...]`, two children for
            each pair of parents.
        render: `render(genomes [n, ...]) -> images [n, h, w, c]` in [0, 1].
        estimators: cheaper perturbations of this encoding's genomes than a normal number for every gene, by
            name, the fastest first; none if its structure offers none.
        metrics: `metrics(genomes [n, ...]) -> scalars by name`, statistics of the offspring of a generation
            to record; none by default.
    """

    init: Callable[[Key[Array, " n"]], Genomes]
    vary: Vary
    render: Callable[[Genomes], Float[Array, "n h w c"]]
    estimators: Mapping[str, Estimator] = MappingProxyType({})
    metrics: Callable[[Genomes], dict[str, Array]] = lambda genomes: {}


def vary_by(variations: Registry, options: AnyOptions | None) -> Vary:
    """The `vary` of an encoding: the variation with these options, or one that raises if there are none."""
    if options is None:
        return _no_variation
    return variations[variations.name_of(options)].build(options)


def _no_variation(keys: Key[Array, " p"], pairs: Genomes, generation: Int[Array, ""]) -> Genomes:
    raise UsageError("the options of the encoding have no variation, which this search needs")


def require_grey_or_rgb(image_shape: tuple[int, int, int]) -> None:
    """Raise `UsageError` unless images have a positive size and 1 or 3 channels."""
    height, width, channels = image_shape
    require_positive(height=height, width=width)
    if channels not in (1, 3):
        raise UsageError(f"images have 1 channel (grey) or 3 (RGB), not {channels}")
