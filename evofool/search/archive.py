"""The elites: for every class the genome with the highest confidence so far."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from evofool.encodings.encoding import Genomes

_SMALL_ARCHIVE = 2**24
"""Bytes: below this size, rewriting the archive is faster than updating the niches that were won."""


class Archive(NamedTuple):
    """One elite per class (niche). Before a niche is filled its confidence is -inf.

    Attributes:
        genomes: pytree with a leading axis of `k` niches.
        confidences: the classifier's confidence in the niche's class, in [0, 1].
        generations: the generation in which the elite was born, from 1; 0 while the niche is empty.
        parents: the niche of the elite's parent; -1 for a random genome.
        replacements: how often the niche has been taken.
        ids: the number of the elite among all genomes of the run, from 1; 0 while the niche is empty.
        parent_ids: the number of its parent; 0 for a random genome.
    """

    genomes: Genomes
    confidences: Float[Array, " k"]
    generations: Int[Array, " k"]
    parents: Int[Array, " k"]
    replacements: Int[Array, " k"]
    ids: Int[Array, " k"]
    parent_ids: Int[Array, " k"]


def empty_archive(genome: Genomes, niches: int) -> Archive:
    """An archive whose niches are all empty.

    Args:
        genome: one genome, or its shapes (`jax.ShapeDtypeStruct`).
        niches: how many niches.

    Example:
        >>> empty_archive(jnp.zeros(3), niches=2).confidences.tolist()
        [-inf, -inf]
    """
    return Archive(
        genomes=jax.tree.map(lambda leaf: jnp.zeros((niches, *leaf.shape), leaf.dtype), genome),
        confidences=jnp.full(niches, -jnp.inf, jnp.float32),
        generations=jnp.zeros(niches, jnp.int32),
        parents=jnp.full(niches, -1, jnp.int32),
        replacements=jnp.zeros(niches, jnp.int32),
        ids=jnp.zeros(niches, jnp.int32),
        parent_ids=jnp.zeros(niches, jnp.int32),
    )


def insert(
    archive: Archive,
    genomes: Genomes,
    confidences: Float[Array, "n k"],
    parents: Int[Array, " n"],
    generation: Int[Array, ""],
    ids: Int[Array, " n"] | None = None,
) -> Archive:
    """Let each of `n` genomes take every niche where its confidence is strictly higher than the elite's.

    Nguyen et al., CVPR 2015, section 2.2: an offspring competes for all classes. Inserting a batch at once
    gives the same archive as inserting its genomes one by one: of equal confidences the earliest wins, and
    every change of a niche counts as a replacement. A confidence that is not a number never wins.

    Args:
        archive: the elites so far.
        genomes: pytree with a leading axis of `n`.
        confidences: of each genome, in the class of each niche.
        parents: the niche of each genome's parent, -1 for none.
        generation: the generation of the genomes, from 1.
        ids: the numbers of the genomes in the run; if not given, the genomes must be a whole generation, and
            all generations of the same size.

    Returns:
        The archive after insertion.

    Example:
        >>> archive = empty_archive(jnp.zeros(()), niches=2)
        >>> confidences = jnp.array([[0.3, 0.9], [0.6, 0.9]])
        >>> archive = insert(archive, jnp.array([7.0, 8.0]), confidences, jnp.array([-1, -1]), jnp.array(1))
        >>> archive.genomes.tolist(), archive.replacements.tolist()
        ([8.0, 7.0], [2, 1])
    """
    confidences = jnp.where(jnp.isnan(confidences), -jnp.inf, confidences)
    if ids is None:
        ids = (generation - 1) * len(parents) + 1 + jnp.arange(len(parents))
    winners = jnp.argmax(confidences, axis=0)
    challenge = jnp.take_along_axis(confidences, winners[None], axis=0)[0]
    won = challenge > archive.confidences

    running = jax.lax.cummax(jnp.concatenate([archive.confidences[None], confidences]), axis=0)
    taken = jnp.sum(confidences > running[:-1], axis=0, dtype=archive.replacements.dtype)

    def keep_or_take(elites: Array, candidates: Array) -> Array:
        if elites.nbytes > _SMALL_ARCHIVE:
            return _updated_in_place(elites, candidates, won, winners)
        mask = won.reshape(-1, *(1,) * (elites.ndim - 1))
        return jnp.where(mask, candidates[winners], elites)

    return Archive(
        genomes=jax.tree.map(keep_or_take, archive.genomes, genomes),
        confidences=jnp.where(won, challenge, archive.confidences),
        generations=jnp.where(won, generation, archive.generations),
        parents=jnp.where(won, parents[winners], archive.parents),
        replacements=archive.replacements + taken,
        ids=jnp.where(won, ids[winners], archive.ids),
        parent_ids=jnp.where(
            won, jnp.where(parents < 0, 0, archive.ids[parents])[winners], archive.parent_ids
        ),
    )


def _updated_in_place(
    elites: Shaped[Array, "k *genome"],
    candidates: Shaped[Array, "n *genome"],
    won: Bool[Array, " k"],
    winners: Int[Array, " k"],
) -> Shaped[Array, "k *genome"]:
    """Put the winner into every niche that was won, in place; the other niches are not touched."""
    niches = jnp.argsort(~won)

    def take(index: Int[Array, ""], elites: Array) -> Array:
        niche = niches[index]
        return elites.at[niche].set(jnp.take(candidates, winners[niche][None], axis=0)[0])

    return jax.lax.fori_loop(0, won.sum(), take, elites)


def summarise(archive: Archive) -> dict[str, Array]:
    """The metrics of an archive.

    Returns:
        Scalars: quartiles, mean, minimum and maximum of the confidences over the niches, the number of niches
        above 0.99 and 0.9999, the replacements so far, and the goal switches, which are the share of elites
        with a parent from another niche.
    """
    niche = jnp.arange(len(archive.parents))
    lower, median, upper = jnp.quantile(archive.confidences, jnp.array([0.25, 0.5, 0.75]))
    return {
        "median_confidence": median,
        "mean_confidence": archive.confidences.mean(),
        "min_confidence": archive.confidences.min(),
        "lower_quartile_confidence": lower,
        "upper_quartile_confidence": upper,
        "max_confidence": archive.confidences.max(),
        "niches_over_0.99": jnp.sum(archive.confidences > 0.99),
        "niches_over_0.9999": jnp.sum(archive.confidences > 0.9999),
        "replacements": archive.replacements.sum(),
        "goal_switches": jnp.mean((archive.parents >= 0) & (archive.parents != niche)),
    }


def lineage(archive: Archive) -> dict[str, Array]:
    """The metrics that record the elite of each niche and its parent."""
    return {
        "elite_ids": archive.ids,
        "elite_parent_ids": archive.parent_ids,
        "elite_parents": archive.parents,
    }
