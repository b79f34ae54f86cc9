"""The direct encoding: one gene in [0, 1] per pixel, or three (hue, lightness, saturation) in colour."""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from evofool.encodings.colour import hls_to_rgb
from evofool.encodings.encoding import Encoding
from evofool.encodings.operators import iso_line_variation, polynomial_mutation, simulated_binary_crossover
from evofool.errors import UsageError, require_not_negative, require_positive, unknown_name
from evofool.numerics.random_numbers import normals, random_words

Variation = Literal["source", "iso-line"]
"""How offspring are made: crossover and mutation as in the source, or steps along the line of the parents."""


@dataclass(frozen=True)
class DirectOptions:
    """The operators' rates, those of Nguyen et al. (CVPR 2015, section 2.2 and the released code) by default.

    Attributes:
        mutation_rate: probability that a gene mutates, in [0, 1].
        mutation_eta: distribution index of the polynomial mutation, 0 or more; larger means smaller steps.
        mutation_halving: generations after which the mutation rate is halved, again and again.
        crossover_rate: probability that a pair of parents is crossed and not copied, in [0, 1].
        crossover_eta: distribution index of the crossover, 0 or more; larger means nearer to the parents.
        variation: "source" for the crossover and the mutation above, or "iso-line" for Gaussian steps, the
            same in all directions and longer along the line to the other parent (Vassiliades & Mouret, GECCO
            2018, equation 2), which none of the above concerns.
        iso_sigma: standard deviation of the iso-line variation's step of each gene, 0 or more.
        line_sigma: that of its step along the line, in distances between the parents, 0 or more.

    Raises:
        UsageError: a value outside of its range.
    """

    mutation_rate: float = 0.1
    mutation_eta: float = 15.0
    mutation_halving: int = 1000
    crossover_rate: float = 0.5
    crossover_eta: float = 10.0
    variation: Variation = "source"
    iso_sigma: float = 0.1
    line_sigma: float = 0.2

    def __post_init__(self) -> None:
        require_positive(mutation_halving=self.mutation_halving)
        for name in ("mutation_rate", "crossover_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        for name in ("mutation_eta", "crossover_eta"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        require_not_negative(iso_sigma=self.iso_sigma, line_sigma=self.line_sigma)
        if self.variation not in get_args(Variation):
            raise unknown_name("variation", self.variation, get_args(Variation))


def direct(image_shape: tuple[int, int, int], options: DirectOptions | None = None) -> Encoding:
    """One gene per pixel and channel (Nguyen et al., CVPR 2015, section 2.2).

    Genes start uniform in [0, 1]. A pair of parents is crossed by simulated binary crossover or copied; then
    genes of both children are changed by polynomial mutation. A pixel is `int(255 * gene)`; in colour the
    three genes of a pixel are hue, lightness and saturation, converted as OpenCV does with 8 bits. Genes
    outside of [0, 1], as an evolution strategy makes them, are rendered as the nearer end. A genome is the
    flat vector of its genes, row by row.

    Args:
        image_shape: height, width and channels (1 grey, 3 RGB) of the images.
        options: the operators' rates; the source's if not given.

    Raises:
        UsageError: a size that is not positive, or channels other than 1 and 3.

    Example:
        >>> encoding = direct((28, 28, 1))
        >>> genomes = encoding.init(jax.random.split(jax.random.key(0), 5))
        >>> encoding.render(genomes).shape
        (5, 28, 28, 1)
    """
    options = options or DirectOptions()
    height, width, channels = image_shape
    require_positive(height=height, width=width)
    if channels not in (1, 3):
        raise UsageError(f"images have 1 channel (grey) or 3 (RGB), not {channels}")

    genes = height * width * channels

    # Genomes are flat: a compiled loop over the rows of an image would be too short for vectors.
    def init(keys: Key[Array, " n"]) -> Float[Array, "n g"]:
        return jax.vmap(lambda key: jax.random.uniform(key, (genes,)))(keys)

    def iso_line(
        keys: Key[Array, " p"], pairs: Float[Array, "p 2 g"], generation: Int[Array, ""]
    ) -> Float[Array, "p 2 g"]:
        normal = normals(keys, 2 * genes + 2)
        steps, reaches = normal[:, : 2 * genes].reshape(pairs.shape), normal[:, 2 * genes :]
        return iso_line_variation(pairs, steps, reaches, options.iso_sigma, options.line_sigma)

    def vary(
        keys: Key[Array, " p"], pairs: Float[Array, "p 2 g"], generation: Int[Array, ""]
    ) -> Float[Array, "p 2 g"]:
        words = jax.vmap(lambda key: random_words(key, 2 * genes))(keys).reshape(pairs.shape)
        coins = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys)
        # A word's upper 24 bits are the mutation's number. The lower 8 of both words are the crossover's: one
        # of the 16 is the coin of the swap.
        left = (words[:, 0] & 255) << 8 | (words[:, 1] & 255)
        uniform, swap = ((left >> 1).astype(jnp.float32) + 0.5) * 2**-15, (left & 1).astype(bool)
        crossed = simulated_binary_crossover(pairs, uniform, swap, options.crossover_eta)
        children = jnp.where(coins[:, None, None] < options.crossover_rate, crossed, pairs)
        halvings = generation // options.mutation_halving
        rate = options.mutation_rate * jnp.exp2(-halvings.astype(jnp.float32))
        uniform = (words >> 8).astype(jnp.float32) * 2**-24
        return polynomial_mutation(children, uniform, rate, options.mutation_eta)

    def render(genomes: Float[Array, "n g"]) -> Float[Array, "n h w c"]:
        levels = jnp.floor(255 * jnp.clip(genomes, 0, 1)).reshape(-1, *image_shape)
        return (levels if channels == 1 else hls_to_rgb(levels)) / 255

    return Encoding(init, iso_line if options.variation == "iso-line" else vary, render)
