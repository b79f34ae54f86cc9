"""How an evolution strategy perturbs a genome: by which numbers, and in which blocks of policies."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from evofool.encodings.encoding import Encoding, Estimator, Genomes
from evofool.errors import UsageError
from evofool.numerics.platform import computes_in_order, policies_in_a_block
from evofool.numerics.random_numbers import normals

LITERAL = "literal"
"""The estimator of every encoding with real-valued genomes: a normal number for each gene."""

_PIXELS_AT_ONCE = 1 << 21
_NOISE_AT_ONCE = 1 << 27
_PIXELS_IN_BLOCK = 1 << 20

_NOISE_KEPT = 1 << 27
"""Bytes: up to this size the noise of a class is kept for the update; more is drawn again."""


def literal(encoding: Encoding) -> Estimator:
    """The estimator that perturbs every gene by a normal number of its own, as the sources do.

    Example:
        >>> from evofool import direct
        >>> sample, combine = literal(direct((4, 4, 1)))
        >>> keys = jax.random.split(jax.random.key(0), 6)
        >>> images, noise = sample(keys, jnp.ones(6), jnp.full(16, 0.5), 0.1)
        >>> images.shape, combine(noise, jnp.ones(6)).shape
        ((6, 4, 4, 1), (16,))
    """

    def sample(
        keys: Key[Array, " n"], signs: Float[Array, " n"], genome: Genomes, sigma: float | Float[Array, ""]
    ) -> tuple[Float[Array, "n h w c"], Genomes]:
        flat, unravel = ravel_pytree(genome)
        noise = jax.vmap(unravel)(signs[:, None] * normals(keys, flat.size))
        perturbed = jax.tree.map(lambda leaf, normal: leaf + sigma * normal, genome, noise)
        return encoding.render(perturbed), noise

    def combine(noise: Genomes, weights: Float[Array, " n"]) -> Genomes:
        return jax.tree.map(
            lambda leaf: jnp.einsum("n,n...->...", weights, leaf, precision=jax.lax.Precision.HIGHEST), noise
        )

    return Estimator(sample, combine)


@dataclass(frozen=True)
class Blocks:
    """The blocks that the policies of a class are asked for in.

    They depend only on the number of policies, the size of the images and the platform, so that sums are
    rounded the same way however a generation is cut up.

    Attributes:
        size: policies whose noise is summed at once.
        count: blocks of a class; the last one may have policies too many, which do not count.
        at_once: blocks that a processor should score at once.
        noise_is_kept: whether the noise of a class is kept until its update.
    """

    size: int
    count: int
    at_once: int
    noise_is_kept: bool

    @property
    def padded(self) -> int:
        """Policies of a class in whole blocks."""
        return self.size * self.count

    def members(self, block: Int[Array, ""]) -> Int[Array, " b"]:
        """The policies of a block."""
        return block * self.size + jnp.arange(self.size)

    @classmethod
    def of(cls, policies: int, encoding: Encoding, estimator: Estimator) -> "Blocks":
        """The blocks of a number of policies of each class.

        Raises:
            UsageError: the genomes of the encoding are not real-valued.
        """
        keys = jax.eval_shape(jax.random.split, jax.random.key(0))
        genomes = jax.eval_shape(encoding.init, keys)
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(genomes)):
            raise UsageError("an evolution strategy needs an encoding whose genomes are real-valued arrays")
        genome = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), genomes)
        images, noise = jax.eval_shape(estimator.sample, keys, jnp.ones(2), genome, 1.0)
        pixels = math.prod(images.shape[1:])
        numbers = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(noise))
        largest = max(8, min(policies_in_a_block(policies), _PIXELS_IN_BLOCK // pixels))
        count = -(-policies // largest)
        size = -(-policies // count)
        count = -(-policies // size)
        at_once = max(1, min(_PIXELS_AT_ONCE // pixels, _NOISE_AT_ONCE // numbers) // size)
        return cls(size, count, at_once, count == 1 or 4 * numbers * size * count <= _NOISE_KEPT)


def sum_of_blocks(parts: Float[Array, "m *genome"]) -> Float[Array, "*genome"]:
    """The sum over blocks, on a CPU in their order."""
    if len(parts) == 1:
        return parts[0]
    if not computes_in_order():
        return parts.sum(axis=0)
    return jax.lax.scan(lambda total, part: (total + part, None), jnp.zeros_like(parts[0]), parts)[0]
