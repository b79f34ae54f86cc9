"""The direct encoding: one gene in [0, 1] per pixel, or three (hue, lightness, saturation) in colour."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from evofool.caching import cached
from evofool.encodings.colour import hls_to_rgb
from evofool.encodings.encoding import Encoding, Vary, require_grey_or_rgb, vary_by
from evofool.encodings.operators import iso_line_variation, polynomial_mutation, simulated_binary_crossover
from evofool.errors import UsageError, require_not_negative, require_positive, require_share
from evofool.numerics.random_numbers import fold_in_each, normals, random_words
from evofool.registry import Entry, Registry, choice

_ROUNDING = 1e-3
"""Levels by which a difference may be rounded, so that one of exactly epsilon is allowed."""


@dataclass(frozen=True)
class SourceVariation:
    """Crossover and mutation, with the rates of Nguyen et al. (CVPR 2015, section 2.2 and the released code).

    Attributes:
        mutation_rate: probability that a gene mutates, in [0, 1].
        mutation_eta: distribution index of the polynomial mutation, 0 or more; larger means smaller steps.
        mutation_halving: the mutation rate is halved every time this many generations have passed.
        crossover_rate: probability that a pair of parents is crossed and not copied, in [0, 1].
        crossover_eta: distribution index of the crossover, 0 or more; larger means nearer to the parents.

    Raises:
        UsageError: a value outside of its range.
    """

    mutation_rate: float = 0.1
    mutation_eta: float = 15.0
    mutation_halving: int = 1000
    crossover_rate: float = 0.5
    crossover_eta: float = 10.0

    def __post_init__(self) -> None:
        require_positive(mutation_halving=self.mutation_halving)
        require_share(mutation_rate=self.mutation_rate, crossover_rate=self.crossover_rate)
        require_not_negative(mutation_eta=self.mutation_eta, crossover_eta=self.crossover_eta)


@dataclass(frozen=True)
class IsoLineVariation:
    """Gaussian steps that are longer along the line to the other parent (see `iso_line_variation`).

    Attributes:
        iso_sigma: standard deviation of each gene's step, 0 or more.
        line_sigma: standard deviation of the step along the line, 0 or more, in units of the parents'
            distance.

    Raises:
        UsageError: a value outside of its range.
    """

    iso_sigma: float = 0.1
    line_sigma: float = 0.2

    def __post_init__(self) -> None:
        require_not_negative(iso_sigma=self.iso_sigma, line_sigma=self.line_sigma)


def _source(options: SourceVariation) -> Vary:
    def vary(
        keys: Key[Array, " p"], pairs: Float[Array, "p 2 g"], generation: Int[Array, ""]
    ) -> Float[Array, "p 2 g"]:
        genes = pairs.shape[-1]
        first, second = random_words(keys, 2 * genes)
        coins = jax.vmap(jax.random.uniform)(fold_in_each(keys, 1))
        # The mutation uses the upper 24 bits of each child's word, the crossover the lower 8 of both: 15 for
        # its spread and one to swap the children.
        left = (first & 255) << 8 | (second & 255)
        uniform, swap = ((left >> 1).astype(jnp.float32) + 0.5) * 2**-15, (left & 1).astype(bool)
        crossed = simulated_binary_crossover(pairs, uniform, swap, options.crossover_eta)
        children = jnp.where(coins[:, None, None] < options.crossover_rate, crossed, pairs)
        halvings = generation // options.mutation_halving
        rate = options.mutation_rate * jnp.exp2(-halvings.astype(jnp.float32))
        uniform = (jnp.stack([first, second], axis=1) >> 8).astype(jnp.float32) * 2**-24
        return polynomial_mutation(children, uniform, rate, options.mutation_eta)

    return vary


def _iso_line(options: IsoLineVariation) -> Vary:
    def vary(
        keys: Key[Array, " p"], pairs: Float[Array, "p 2 g"], generation: Int[Array, ""]
    ) -> Float[Array, "p 2 g"]:
        genes = pairs.shape[-1]
        normal = normals(keys, 2 * genes + 2)
        steps, reaches = normal[:, : 2 * genes].reshape(pairs.shape), normal[:, 2 * genes :]
        return iso_line_variation(pairs, steps, reaches, options.iso_sigma, options.line_sigma)

    return vary


_VARIATIONS = Registry(
    "variation",
    {
        "source": Entry("the source's crossover and mutation", SourceVariation, _source),
        "iso-line": Entry("Gaussian steps, longer along the parents' line", IsoLineVariation, _iso_line),
    },
)


@dataclass(frozen=True)
class DirectOptions:
    """How the direct encoding makes offspring.

    Attributes:
        variation: "source" for crossover and mutation as Nguyen et al. have, "iso-line" for Gaussian steps
            that are longer along the line to the other parent (Vassiliades & Mouret, GECCO 2018, equation 2).
    """

    variation: SourceVariation | IsoLineVariation | None = choice(_VARIATIONS, SourceVariation())


@cached
def direct(
    image_shape: tuple[int, int, int],
    options: DirectOptions = DirectOptions(),
    *,
    around: Float[Array | np.ndarray, "h w c"] | None = None,
    epsilon: float | None = None,
) -> Encoding:
    """One gene per pixel and channel (Nguyen et al., CVPR 2015, section 2.2).

    Genes start uniform in [0, 1]. In the source's variation a pair of parents is crossed by simulated binary
    crossover or copied; then genes of both children are changed by polynomial mutation. A pixel is
    `int(255 * gene)`; in colour the three genes of a pixel are hue, lightness and saturation, converted as
    OpenCV does with 8 bits. Genes outside of [0, 1], which an evolution strategy can make, are clipped. A
    genome is the flat vector of its genes, row by row.

    Args:
        image_shape: height, width and channels (1 grey, 3 RGB) of the images.
        options: how offspring are made; as in the source if not given.
        around: an image, in [0, 1], that all images are near. Then genes are levels of grey or of red, green
            and blue: 0 is the lowest and 1 the highest that epsilon allows.
        epsilon: the most that a value may differ from it, in (0, 1].

    Raises:
        UsageError: a size that is not positive, channels other than 1 and 3, or an image of another size or
            without epsilon.

    Example:
        >>> encoding = direct((28, 28, 1))
        >>> genomes = encoding.init(jax.random.split(jax.random.key(0), 5))
        >>> encoding.render(genomes).shape
        (5, 28, 28, 1)
        >>> near = direct((28, 28, 1), around=jnp.full((28, 28, 1), 0.5), epsilon=8 / 255)
        >>> bool((jnp.abs(near.render(genomes) - 0.5) <= 8 / 255).all())
        True
    """
    require_grey_or_rgb(image_shape)
    genes = math.prod(image_shape)

    # Genomes are flat: a compiled loop over the rows of an image would be too short for vectors.
    def init(keys: Key[Array, " n"]) -> Float[Array, "n g"]:
        return jax.vmap(lambda key: jax.random.uniform(key, (genes,)))(keys)

    def render(genomes: Float[Array, "n g"]) -> Float[Array, "n h w c"]:
        levels = jnp.floor(255 * jnp.clip(genomes, 0, 1)).reshape(-1, *image_shape)
        return (levels if image_shape[-1] == 1 else hls_to_rgb(levels)) / 255

    vary = vary_by(_VARIATIONS, options.variation)
    if around is not None or epsilon is not None:
        return Encoding(init, vary, _render_around(image_shape, around, epsilon))
    return Encoding(init, vary, render)


def _render_around(
    image_shape: tuple[int, int, int],
    around: Float[Array | np.ndarray, "h w c"] | None,
    epsilon: float | None,
) -> Callable[[Float[Array, "n g"]], Float[Array, "n h w c"]]:
    """The images of 8 bits in a ball around another.

    Raises:
        UsageError: there is no image or no ball, or the image is of another size.
    """
    if around is None or epsilon is None:
        raise UsageError("around, an image, requires epsilon, the size of the ball around it, and vice versa")
    require_positive(epsilon=epsilon)
    require_share(epsilon=epsilon)
    if around.shape != image_shape:
        raise UsageError(f"around must be an image of the shape {image_shape}, not {around.shape}")
    centre = 255 * np.asarray(around, np.float64)
    lowest = np.maximum(np.ceil(centre - 255 * epsilon - _ROUNDING), 0).astype(np.float32)
    highest = np.minimum(np.floor(centre + 255 * epsilon + _ROUNDING), 255).astype(np.float32)
    if (lowest > highest).any():
        raise UsageError(f"no image of 8 bits is as near as {epsilon} to the image")

    def render(genomes: Float[Array, "n g"]) -> Float[Array, "n h w c"]:
        genes = jnp.clip(genomes, 0, 1).reshape(-1, *image_shape)
        return jnp.minimum(lowest + jnp.floor(genes * (highest - lowest + 1)), highest) / 255

    return render
