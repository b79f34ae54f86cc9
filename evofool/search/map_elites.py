"""MAP-Elites over the classes of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.classifiers.classifier import Classifier
from evofool.encodings.encoding import Encoding, Genomes
from evofool.errors import require_positive
from evofool.images import round_to_8_bits
from evofool.numerics.random_numbers import centred_uniform, fold_in_each
from evofool.search.archive import Archive, empty_archive, insert, lineage, summarise
from evofool.search.parts import images_at_once, in_parts
from evofool.search.search import Search, target_classes
from evofool.search.sharding import over_population, replicated


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


def map_elites(
    encoding: Encoding,
    options: MapElitesOptions = MapElitesOptions(),
    *,
    targets: Sequence[int] | None = None,
    mesh: Mesh | None = None,
    microbatch: int | None = None,
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
        mesh: devices to split each generation over (see `population_mesh`). The result is bit-identical if
            the classifier's confidences do not depend on the size of the batch. On CPU those of evofool's
            networks do not, for batches of two or more, and no smaller ones are scored; a GPU may choose
            other kernels for other sizes.
        microbatch: the most images that each device makes and scores at once, at least a pair. It bounds the
            memory and keeps the result, as `mesh` does. By default the fastest: on a CPU what fits its cache,
            elsewhere the whole generation.

    Raises:
        UsageError: a microbatch that is not positive; when `init` is called, no targets, a target twice, or
            one that the classifier does not have.

    Example:
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites, run
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(batch_size=20))
        >>> state = run(search, classifier, generations=3)
        >>> state.archive.confidences.shape
        (10,)
    """
    require_positive(microbatch=microbatch)
    batch_size = options.batch_size

    def init(key: Key[Array, ""], classifier: Classifier) -> MapElitesState:
        genomes = jax.eval_shape(encoding.init, jax.random.split(key, 1))
        genome = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), genomes)
        niches = len(target_classes(classifier, targets))
        return MapElitesState(key, jnp.int32(0), empty_archive(genome, niches))

    def make_and_score(
        pairs: Int[Array, " p"], state: MapElitesState, classifier: Classifier
    ) -> tuple[_Offspring, Float[Array, "n k"]]:
        def part(pairs: Int[Array, " p"]) -> tuple[_Offspring, Float[Array, "n k"]]:
            offspring = _ask(encoding, state, pairs)
            return offspring, classifier(round_to_8_bits(encoding.render(offspring.genomes)))

        at_once = microbatch or images_at_once(classifier, 2 * len(pairs))
        return in_parts(part, pairs, at_once // 2)

    def step(state: MapElitesState, classifier: Classifier) -> tuple[MapElitesState, dict[str, Array]]:
        # Every device makes equally many pairs; the surplus is scored and dropped.
        devices = 1 if mesh is None else mesh.size
        pairs = jnp.arange(-(-batch_size // (2 * devices)) * devices)
        offspring, confidences = over_population(make_and_score, mesh)(pairs, state, classifier)
        genomes = offspring.genomes
        parents, confidences = (
            replicated(rows, mesh)[:batch_size] for rows in (offspring.parents, confidences)
        )
        if targets is not None:
            confidences = confidences[:, jnp.array(targets)]
        generation = state.generation + 1
        archive = replicated(insert(state.archive, genomes, confidences, parents, generation), mesh)
        metrics = {
            **summarise(archive),
            **lineage(archive),
            **encoding.metrics(jax.tree.map(lambda leaf: leaf[:batch_size], genomes)),
            "replacements": jnp.sum(archive.replacements - state.archive.replacements),
        }
        return MapElitesState(state.key, generation, archive), metrics

    return Search(init, step, evaluations=lambda classifier: batch_size, render=encoding.render)


class _Offspring(NamedTuple):
    """Genomes of a generation, two for each pair.

    Attributes:
        genomes: pytree with a leading axis of `n`.
        parents: the niche of each genome's parent, -1 for a random genome.
    """

    genomes: Genomes
    parents: Int[Array, " n"]


def _ask(encoding: Encoding, state: MapElitesState, pairs: Int[Array, " p"]) -> _Offspring:
    """The given pairs of the next generation: random genomes until a niche is filled, then offspring."""
    first_key, later_key = jax.random.split(state.key)
    filled = state.archive.confidences > -jnp.inf

    def random_genomes() -> _Offspring:
        individuals = (2 * pairs[:, None] + jnp.arange(2)).reshape(-1)
        genomes = encoding.init(fold_in_each(first_key, individuals))
        return _Offspring(genomes, jnp.full(2 * len(pairs), -1, state.archive.parents.dtype))

    def offspring() -> _Offspring:
        keys = fold_in_each(jax.random.fold_in(later_key, state.generation), pairs)
        parent_keys, variation_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        parents = jax.vmap(lambda key: _draw_parents(key, filled))(parent_keys)
        elites = jax.tree.map(lambda leaf: leaf[parents], state.archive.genomes)
        children = encoding.vary(variation_keys, elites, state.generation)
        merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), children)
        return _Offspring(merged, parents.reshape(-1))

    return jax.lax.cond(filled.any(), offspring, random_genomes)


def _draw_parents(key: Key[Array, ""], filled: Bool[Array, " k"]) -> Int[Array, " 2"]:
    """Two niches drawn uniformly, with replacement, from the filled ones."""
    filled_so_far = jnp.cumsum(filled)
    uniform = centred_uniform(jax.random.bits(key, (2,)))
    ranks = jnp.floor(uniform * filled_so_far[-1])
    return jnp.searchsorted(filled_so_far, ranks, side="right")
