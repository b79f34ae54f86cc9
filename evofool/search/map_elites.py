"""MAP-Elites over the classes of a classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt32

from evofool.caching import cached
from evofool.classifiers.black_box import AnyClassifier
from evofool.encodings.encoding import Encoding, Genomes
from evofool.errors import require_positive
from evofool.numerics.platform import computes_in_order
from evofool.numerics.random_numbers import centred_uniform, fold_in_each, random_word
from evofool.numerics.rows import merged
from evofool.search.archive import Archive, empty_archive, insert
from evofool.search.search import Search, target_classes


@dataclass(frozen=True)
class MapElitesOptions:
    """The settings of MAP-Elites.

    Attributes:
        batch_size: offspring per generation. They are made in pairs; if the number is odd, the last one is
            dropped.

    Raises:
        UsageError: a batch size that is not positive.
    """

    size: ClassVar = "batch_size"
    breeds: ClassVar = True

    batch_size: int = 200

    def __post_init__(self) -> None:
        require_positive(batch_size=self.batch_size)


class MapElitesState(NamedTuple):
    """The state of MAP-Elites between two generations.

    Attributes:
        key: the key of the run; it determines every random number, with the generation and the individual.
        generation: how many generations have been made.
        archive: the elites, one niche per target class.
    """

    key: Key[Array, ""]
    generation: Int[Array, ""]
    archive: Archive

    def __repr__(self) -> str:
        return f"MapElitesState(generation {self.generation}, {self.archive})"


@cached
def map_elites(
    encoding: Encoding,
    options: MapElitesOptions = MapElitesOptions(),
    *,
    targets: Sequence[int] | None = None,
) -> Search:
    """MAP-Elites with one niche per class (Nguyen et al., CVPR 2015, section 2.2; Mouret & Clune, 2015).

    The first generation is random. In every later one, pairs of parents are drawn uniformly from the filled
    niches and the encoding makes two offspring of each pair. Their images are rounded to 8 bits and scored on
    all target classes. An offspring takes every niche where its confidence is strictly higher than the
    elite's.

    Args:
        encoding: how a genome becomes an image.
        options: how many offspring a generation has.
        targets: indices of the classes to evolve images for; all if not given.

    Raises:
        UsageError: when `init` is called, no targets, a target twice, or one that the classifier does not
            have.

    Example:
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites, run
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(batch_size=20))
        >>> state = run(search, classifier, generations=3)
        >>> state.archive.confidences.shape
        (10,)
    """
    algorithm = _MapElites(encoding, options.batch_size, targets)
    return Search(
        algorithm.init,
        algorithm.ask,
        algorithm.keep,
        algorithm.tell,
        group=2,
        individuals=lambda classifier: algorithm.individuals,
        together=lambda classifier: algorithm.individuals,
        evaluations=lambda classifier: options.batch_size,
        counts=algorithm.counts,
        render=encoding.render,
        breeds=True,
    )


class _Offspring(NamedTuple):
    """Individuals that were asked for, two for each pair.

    Attributes:
        images: in [0, 1].
        genomes: pytree with a leading axis of `n`.
        parents: the niche of each genome's parent, -1 for a random genome.
        individuals: their numbers.
    """

    images: Float[Array, "n h w c"]
    genomes: Genomes
    parents: Int[Array, " n"]
    individuals: Int[Array, " n"]


class _Scored(NamedTuple):
    """Offspring with their confidences in the class of each niche, in place of their images."""

    genomes: Genomes
    parents: Int[Array, " n"]
    confidences: Float[Array, "n k"]


@dataclass(frozen=True, eq=False)
class _MapElites:
    """The parts of MAP-Elites."""

    encoding: Encoding
    batch_size: int
    targets: Sequence[int] | None

    @property
    def individuals(self) -> int:
        """Those of a generation, in whole pairs."""
        return self.batch_size + self.batch_size % 2

    def init(self, key: Key[Array, ""], classifier: AnyClassifier) -> MapElitesState:
        niches = len(target_classes(classifier, self.targets))
        # Random genomes without a confidence, which are parents as long as no niche is filled.
        numbers = self.individuals + jnp.arange(niches)
        genomes = self.encoding.init(fold_in_each(fold_in_each(key, 0), numbers))
        genome = jax.tree.map(lambda leaf: leaf[0], genomes)
        return MapElitesState(key, jnp.int32(0), empty_archive(genome, niches)._replace(pool=genomes))

    def ask(self, state: MapElitesState, individuals: Int[Array, " n"]) -> _Offspring:
        genomes, parents = _choose(
            state.generation > 0,
            lambda: self._offspring(state, individuals),
            lambda: self._random(state, individuals),
        )
        render = merged(lambda genomes, nothing: self.encoding.render(genomes))
        return _Offspring(render(genomes, ()), genomes, parents, individuals)

    def counts(self, individuals: Int[Array, " n"]) -> Bool[Array, " n"]:
        return individuals < self.batch_size

    def keep(self, offspring: _Offspring, confidences: Float[Array, "n classes"]) -> _Scored:
        if self.targets is not None:
            confidences = confidences[:, jnp.array(self.targets)]
        # The last child of an odd batch takes no niche.
        confidences = jnp.where(self.counts(offspring.individuals)[:, None], confidences, -jnp.inf)
        return _Scored(offspring.genomes, offspring.parents, confidences)

    def tell(
        self, state: MapElitesState, kept: _Scored, mesh: Mesh | None = None
    ) -> tuple[MapElitesState, dict[str, Array]]:
        archive = insert(
            state.archive, kept.genomes, kept.confidences, kept.parents, state.generation + 1, mesh
        )
        counted = jax.tree.map(lambda leaf: leaf[: self.batch_size], kept.genomes)
        return state._replace(archive=archive), self.encoding.metrics(counted)

    def _random(
        self, state: MapElitesState, individuals: Int[Array, " n"]
    ) -> tuple[Genomes, Int[Array, " n"]]:
        """Genomes of the first generation, which have no parents."""
        init = merged(lambda keys, nothing: self.encoding.init(keys))
        genomes = init(fold_in_each(fold_in_each(state.key, 0), individuals), ())
        return genomes, jnp.full(len(individuals), -1, jnp.int32)

    def _offspring(
        self, state: MapElitesState, individuals: Int[Array, " n"]
    ) -> tuple[Genomes, Int[Array, " n"]]:
        """Genomes of a later generation, and the niche of each one's parent."""
        vary = merged(lambda rows, generation: self.encoding.vary(rows[0], rows[1], generation))
        key = fold_in_each(fold_in_each(state.key, 1), state.generation)
        parent_keys = fold_in_each(fold_in_each(key, individuals // 2), 0)
        words = random_word(parent_keys, individuals % 2)
        parents, of_elites = _draw_parents(words, state.archive.confidences > -jnp.inf)
        pairs = state.archive.of(parents.reshape(-1, 2))
        variation_keys = fold_in_each(fold_in_each(key, individuals[::2] // 2), 1)
        children = vary((variation_keys, pairs), state.generation)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), children), of_elites


def _choose(condition: Bool[Array, ""], so: Callable[[], PyTree], otherwise: Callable[[], PyTree]) -> PyTree:
    """One of two results. On accelerators both are cheaper than a host that waits for the condition."""
    if computes_in_order():
        return jax.lax.cond(condition, so, otherwise)
    return jax.tree.map(lambda yes, no: jnp.where(condition, yes, no), so(), otherwise())


def _draw_parents(
    words: UInt32[Array, " n"], filled: Bool[Array, " k"]
) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
    """A niche for each random word, drawn uniformly from the filled ones, or from all of them if none is.

    The second result is the same, but -1 if none is filled.
    """
    filled_so_far = jnp.cumsum(filled)
    method = "scan" if computes_in_order() else "compare_all"
    those_filled = jnp.searchsorted(filled_so_far, jnp.arange(len(filled)), side="right", method=method)
    count = filled_so_far[-1]
    ranks = jnp.floor(centred_uniform(words) * jnp.where(count > 0, count, len(filled))).astype(jnp.int32)
    drawn = those_filled[ranks]
    # Without the barrier XLA draws a parent again for each of its genes.
    return jax.lax.optimization_barrier((jnp.where(count > 0, drawn, ranks), jnp.where(count > 0, drawn, -1)))
