"""The elites: for every class the genome with the highest confidence so far."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped

from evofool.encodings.encoding import Genomes
from evofool.numerics.platform import computes_in_order
from evofool.numerics.rows import where_rows
from evofool.search.sharding import replicated

_SMALL_ARCHIVE = 2**24
"""Bytes: below this size, rewriting the archive is faster than updating the niches that were won."""


_BLOCK = 32

RECORDED = ("confidences", "parents", "generations", "indices", "parent_generations", "parent_indices")
"""The fields of an archive that are recorded of each generation; the last four if elites have parents."""


class Archive(NamedTuple):
    """One elite per class (niche). Before a niche is filled its confidence is -inf.

    A genome is numbered by its generation and its index in it. Archives of several runs have an axis of runs
    in front of all others.

    Attributes:
        pool: the genomes of the elites, pytree with an axis of `k`. One that is the elite of many niches
            is there once, and what no niche refers to means nothing.
        slots: where in the pool the elite of each niche is.
        confidences: the classifier's confidence in the niche's class, in [0, 1].
        generations: the generation in which the elite was born, from 1; 0 while the niche is empty.
        indices: the index of the elite in its generation, from 0.
        parents: the niche of the elite's parent; -1 for a random genome.
        parent_generations: the generation in which its parent was born; 0 for a random genome.
        parent_indices: the index of its parent in that generation.
        replacements: how often the niche has been taken.
    """

    pool: Genomes
    slots: Int[Array, "*runs k"]
    confidences: Float[Array, "*runs k"]
    generations: Int[Array, "*runs k"]
    indices: Int[Array, "*runs k"]
    parents: Int[Array, "*runs k"]
    parent_generations: Int[Array, "*runs k"]
    parent_indices: Int[Array, "*runs k"]
    replacements: Int[Array, "*runs k"]

    @property
    def genomes(self) -> Genomes:
        """The elites' genomes in the order of the niches, pytree with an axis of `k`."""
        axis = self.slots.ndim - 1

        def in_order(leaf: Shaped[Array, "*_"]) -> Shaped[Array, "*_"]:
            slots = self.slots.reshape(*self.slots.shape, *(1,) * (leaf.ndim - axis - 1))
            return jnp.take_along_axis(leaf, slots, axis)

        return jax.tree.map(in_order, self.pool)

    def of(self, niches: Int[Array, "*n"]) -> Genomes:
        """The genomes of some niches' elites, pytree with the axes of `niches` in front."""
        slots = self.slots[niches]
        return jax.tree.map(lambda leaf: leaf[slots], self.pool)

    def __repr__(self) -> str:
        return f"Archive({len(self.confidences)} niches)"


def empty_archive(genome: Genomes, niches: int) -> Archive:
    """An archive whose niches are all empty.

    Args:
        genome: one genome, or its shapes (`jax.ShapeDtypeStruct`).
        niches: how many niches.

    Example:
        >>> empty_archive(jnp.zeros(3), niches=2).confidences.tolist()
        [-inf, -inf]
    """

    def filled(value: int) -> Int[Array, " k"]:
        # Each field has memory of its own, so that all can be updated in place.
        return jnp.full(niches, value, jnp.int32)

    return Archive(
        pool=jax.tree.map(lambda leaf: jnp.zeros((niches, *leaf.shape), leaf.dtype), genome),
        slots=jnp.arange(niches, dtype=jnp.int32),
        confidences=jnp.full(niches, -jnp.inf, jnp.float32),
        generations=filled(0),
        indices=filled(0),
        parents=filled(-1),
        parent_generations=filled(0),
        parent_indices=filled(0),
        replacements=filled(0),
    )


def insert(
    archive: Archive,
    genomes: Genomes,
    confidences: Float[Array, "n k"],
    parents: Int[Array, " n"],
    generation: Int[Array, ""],
    mesh: Mesh | None = None,
) -> Archive:
    """Let each of the `n` genomes of a generation take every niche where its confidence is strictly higher.

    Nguyen et al., CVPR 2015, section 2.2: an offspring competes for all classes. Inserting a batch at once
    gives the same elites as inserting its genomes one by one: of equal confidences the earliest wins, and
    every change of a niche counts as a replacement. A confidence that is not a number never wins.

    Args:
        archive: the elites so far.
        genomes: pytree with a leading axis of `n`, in the order of their indices.
        confidences: of each genome, in the class of each niche.
        parents: the niche of each genome's parent, -1 for none.
        generation: the generation of the genomes, from 1.
        mesh: devices that the genomes are split over.

    Returns:
        The archive after insertion.

    Example:
        >>> archive = empty_archive(jnp.zeros(()), niches=2)
        >>> confidences = jnp.array([[0.3, 0.9], [0.6, 0.9]])
        >>> archive = insert(archive, jnp.array([7.0, 8.0]), confidences, jnp.array([-1, -1]), jnp.array(1))
        >>> archive.genomes.tolist(), archive.replacements.tolist()
        ([8.0, 7.0], [2, 1])
    """
    contest = compete(archive.confidences, confidences, mesh)
    parents = parents[contest.winners]

    def of_parent(numbers: Int[Array, " k"]) -> Int[Array, " k"]:
        return jnp.where(parents < 0, 0, numbers[parents])

    born = of_parent(archive.generations), of_parent(archive.indices)
    # Where all of these are known before anything changes, a GPU updates the archive in place.
    winners, times_taken, born = jax.lax.optimization_barrier((contest.winners, contest.times_taken, born))
    won = times_taken > 0
    pool, slots = _store(archive, genomes, won, winners)
    taker = {
        "confidences": contest.best,
        "generations": generation,
        "indices": winners,
        "parents": parents,
        "parent_generations": born[0],
        "parent_indices": born[1],
    }
    changed = {name: jnp.where(won, value, getattr(archive, name)) for name, value in taker.items()}
    return Archive(
        pool,
        slots,
        replacements=archive.replacements + times_taken,
        **changed,
    )


class Contest(NamedTuple):
    """What comes out if genomes compete for niches one after the other.

    Attributes:
        best: the highest confidence in each niche.
        winners: the row of the genome that has it at the end; of no meaning where no genome took the niche.
        times_taken: how often each niche changed.
    """

    best: Float[Array, " k"]
    winners: Int[Array, " k"]
    times_taken: Int[Array, " k"]


def compete(
    elites: Float[Array, " k"], confidences: Float[Array, "n k"], mesh: Mesh | None = None
) -> Contest:
    """Let genomes compete for niches: a strictly higher confidence wins, one that is not a number never does.

    Args:
        elites: the confidences before.
        confidences: of each genome in the class of each niche.
        mesh: devices that the genomes are split over.

    Example:
        >>> contest = compete(jnp.array([0.2]), jnp.array([[0.1], [0.3], [0.3], [0.9]]))
        >>> contest.winners.tolist(), contest.times_taken.tolist()
        ([3], [2])
    """
    if computes_in_order():
        return _one_by_one(elites, confidences)
    return _all_at_once(elites, confidences, mesh)


def _one_by_one(elites: Float[Array, " k"], confidences: Float[Array, "n k"]) -> Contest:
    def genome(contest: Contest, row: tuple[Int[Array, ""], Float[Array, " k"]]) -> tuple[Contest, None]:
        index, challenge = row
        takes = challenge > contest.best
        best, winners = (
            jnp.where(takes, new, old) for new, old in ((challenge, contest.best), (index, contest.winners))
        )
        return Contest(best, winners, contest.times_taken + takes), None

    none = jnp.zeros(elites.shape, jnp.int32)
    rows = (jnp.arange(len(confidences), dtype=jnp.int32), confidences)
    return jax.lax.scan(genome, Contest(elites, none, none), rows)[0]


def _all_at_once(elites: Float[Array, " k"], confidences: Float[Array, "n k"], mesh: Mesh | None) -> Contest:
    # XLA takes minutes to try all ways to fuse what follows with the classifier.
    confidences = jax.lax.optimization_barrier(jnp.where(jnp.isnan(confidences), -jnp.inf, confidences))
    # In blocks, of which devices that share the genomes send each other the maxima only: all of them to all,
    # since a cumulative maximum over devices would take one message after the other.
    blocks = jnp.pad(confidences, ((0, -len(confidences) % _BLOCK), (0, 0)), constant_values=-jnp.inf)
    blocks = blocks.reshape(-1, _BLOCK, len(elites))
    maxima = replicated(jnp.concatenate([elites[None], blocks.max(axis=1)]), mesh)
    bests = replicated(jax.lax.cummax(maxima, axis=0), mesh)
    # The rows of a block that took a niche are the bits of a word, the last of them the highest.
    best, took = bests[:-1], jnp.zeros(blocks[:, 0].shape, jnp.uint32)
    for index in range(_BLOCK):
        took |= (blocks[:, index] > best).astype(jnp.uint32) << index
        best = jnp.maximum(best, blocks[:, index])
    ends = _BLOCK * jnp.arange(1, len(blocks) + 1, dtype=jnp.int32)[:, None]
    last = jnp.where(took > 0, ends - 1 - jax.lax.clz(took).astype(jnp.int32), 0)
    times_taken = jax.lax.population_count(took).astype(jnp.int32)
    return Contest(bests[-1], last.max(axis=0), times_taken.sum(axis=0, dtype=jnp.int32))


def _store(
    archive: Archive, genomes: Genomes, won: Bool[Array, " k"], winners: Int[Array, " k"]
) -> tuple[Genomes, Int[Array, " k"]]:
    """The pool with the genomes that won a niche, and where each niche's genome is."""
    if sum(leaf.nbytes for leaf in jax.tree.leaves(archive.pool)) <= _SMALL_ARCHIVE:
        return where_rows(won, jax.tree.map(lambda leaf: leaf[winners], genomes), archive.pool), archive.slots

    count, niches = len(jax.tree.leaves(genomes)[0]), len(won)
    # Each genome that won is stored once, in a slot that no other niche refers to: there are enough of them.
    stored = jnp.zeros(count, bool).at[jnp.where(won, winners, count)].set(True, mode="drop")
    kept = jnp.zeros(niches, bool).at[jnp.where(won, niches, archive.slots)].set(True, mode="drop")
    most = min(count, niches)
    (rows,) = jnp.nonzero(stored, size=most, fill_value=count)
    (free,) = jnp.nonzero(~kept, size=most, fill_value=niches)
    slots = jnp.zeros(count, jnp.int32).at[rows].set(free.astype(jnp.int32), mode="drop")
    destinations = jnp.where(rows < count, free, niches)
    pool = jax.tree.map(
        lambda elites, candidates: _written(elites, candidates, rows, destinations, stored.sum()),
        archive.pool,
        genomes,
    )
    return pool, jnp.where(won, slots[winners], archive.slots)


def _written(
    pool: Shaped[Array, "k *genome"],
    candidates: Shaped[Array, "n *genome"],
    rows: Int[Array, " m"],
    destinations: Int[Array, " m"],
    count: Int[Array, ""],
) -> Shaped[Array, "k *genome"]:
    """The pool with the first `count` rows in their destinations, in place; the others go nowhere."""
    if not computes_in_order():
        taken = candidates[jnp.minimum(rows, len(candidates) - 1)]
        return pool.at[destinations].set(taken, mode="drop", unique_indices=True)

    def write(index: Int[Array, ""], pool: Shaped[Array, "k *genome"]) -> Shaped[Array, "k *genome"]:
        genome = jax.lax.dynamic_index_in_dim(candidates, rows[index])
        return jax.lax.dynamic_update_slice_in_dim(pool, genome, destinations[index], 0)

    return jax.lax.fori_loop(0, count, write, pool)


def summarise(record: Mapping[str, Shaped[np.ndarray, "n *_"]]) -> dict[str, np.ndarray]:
    """The metrics of generations.

    Args:
        record: arrays by name with a leading axis of generations; among them "elite_confidences" and
            "elite_parents", whose last axis is that of the niches.

    Returns:
        The record without the confidences, and in their place: quartiles, mean, minimum and maximum of the
        confidences over the niches, the number of niches above 0.99 and 0.9999, and the goal switches, which
        are the share of elites with a parent from another niche.
    """
    confidences, parents = record["elite_confidences"], record["elite_parents"]
    with np.errstate(invalid="ignore"):  # an empty niche has -inf
        lower, median, upper = np.quantile(confidences, [0.25, 0.5, 0.75], axis=-1).astype(np.float32)
    switched = (parents >= 0) & (parents != np.arange(parents.shape[-1]))
    return {
        "median_confidence": median,
        "mean_confidence": confidences.mean(axis=-1),
        "min_confidence": confidences.min(axis=-1),
        "lower_quartile_confidence": lower,
        "upper_quartile_confidence": upper,
        "max_confidence": confidences.max(axis=-1),
        "niches_over_0.99": (confidences > 0.99).sum(axis=-1),
        "niches_over_0.9999": (confidences > 0.9999).sum(axis=-1),
        "goal_switches": switched.mean(axis=-1).astype(np.float32),
        **{name: values for name, values in record.items() if name != "elite_confidences"},
    }
