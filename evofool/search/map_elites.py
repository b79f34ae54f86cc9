"""MAP-Elites over the classes of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.classifiers.classifier import Classifier
from evofool.encodings.encoding import Encoding, Genomes
from evofool.errors import require_positive
from evofool.images import round_to_8_bits
from evofool.numerics.random_numbers import centred_uniform
from evofool.search.archive import Archive, empty_archive, insert, lineage, summarise
from evofool.search.memory import images_at_once
from evofool.search.search import Search, target_classes
from evofool.search.sharding import over_population, replicated


@dataclass(frozen=True)
class MapElitesOptions:
    """The settings of MAP-Elites.

    Attributes:
        batch_size: offspring per generation. They come in pairs; of an odd number the last one is dropped.

    Raises:
        UsageError: a batch size that is not positive.
    """

    size: ClassVar = "batch_size"
    breeds: ClassVar = True

    batch_size: int = 200

    def __post_init__(self) -> None:
        require_positive(batch_size=self.batch_size)


class MapElitesState(NamedTuple):
    """Where a run of MAP-Elites stands: after `generation` generations these are the elites.

    Attributes:
        key: the key of the run; every random number comes from it, the generation and the individual.
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

    The first generation is random. In each later one, pairs of parents are drawn uniformly
    from the filled niches; the encoding makes two offspring of each; their images, rounded to 8 bits, are
    scored on all target classes; and each offspring takes every niche where its confidence is strictly
    higher than the elite's.

    Args:
        encoding: how a genome becomes an image.
        options: how many offspring a generation has.
        targets: indices of the classes to evolve images for; all if not given.
        mesh: devices to split each generation over (see `population_mesh`). The result is the same, to the
            last bit where the classifier's confidences do not depend on the batch they are computed in: on
            CPU with the networks of evofool they do not in batches of two or more, and never fewer are
            scored; a GPU may choose other kernels for other sizes.
        microbatch: at most how many images are made and scored at once on each device, at least a pair. It
            bounds the memory, and the result is the same as with `mesh`. If not given, as many as is fastest:
            on a CPU what fits its cache, elsewhere the whole generation.

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

    def breed(
        pairs: Int[Array, " p"], state: MapElitesState, classifier: Classifier
    ) -> tuple[Genomes, Int[Array, " n"], Float[Array, "n k"]]:
        """The offspring of the given pairs, the niches of their parents and their confidences."""
        first_key, later_key = jax.random.split(state.key)
        filled = state.archive.confidences > -jnp.inf

        def random_genomes() -> tuple[Genomes, Int[Array, " n"]]:
            individuals = (2 * pairs[:, None] + jnp.arange(2)).reshape(-1)
            genomes = encoding.init(_fold_in_each(first_key, individuals))
            return genomes, jnp.full(2 * len(pairs), -1, state.archive.parents.dtype)

        def offspring() -> tuple[Genomes, Int[Array, " n"]]:
            keys = _fold_in_each(jax.random.fold_in(later_key, state.generation), pairs)
            parent_keys, variation_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            parents = jax.vmap(lambda key: _draw_parents(key, filled))(parent_keys)
            elites = jax.tree.map(lambda leaf: leaf[parents], state.archive.genomes)
            children = encoding.vary(variation_keys, elites, state.generation)
            return jax.tree.map(_merge_pairs, children), parents.reshape(-1)

        genomes, parents = jax.lax.cond(filled.any(), offspring, random_genomes)
        images = round_to_8_bits(encoding.render(genomes))
        return genomes, parents, classifier(images)

    def breed_in_parts(
        pairs: Int[Array, " p"], state: MapElitesState, classifier: Classifier
    ) -> tuple[Genomes, Int[Array, " n"], Float[Array, "n k"]]:
        at_once = microbatch or images_at_once(classifier) or 2 * len(pairs)
        fewest = -(-len(pairs) // max(1, at_once // 2))
        if fewest == 1:
            return breed(pairs, state, classifier)
        # In so many parts that the last one lacks as few pairs as can be.
        parts = min(range(fewest, 2 * fewest), key=lambda count: -(-len(pairs) // count) * count)
        part = -(-len(pairs) // parts)
        # The last part is filled up with pairs that are made and then left out.
        padded = jnp.pad(pairs, (0, parts * part - len(pairs)), mode="edge").reshape(parts, part)
        bred = jax.lax.map(lambda pairs: breed(pairs, state, classifier), padded)
        return jax.tree.map(lambda leaf: _merge_pairs(leaf)[: 2 * len(pairs)], bred)

    def step(state: MapElitesState, classifier: Classifier) -> tuple[MapElitesState, dict[str, Array]]:
        # As many pairs for each device; what is too many is scored and then passed over.
        devices = 1 if mesh is None else mesh.size
        pairs = jnp.arange(-(-batch_size // (2 * devices)) * devices)
        genomes, parents, confidences = over_population(breed_in_parts, mesh)(pairs, state, classifier)
        parents, confidences = (replicated(rows, mesh)[:batch_size] for rows in (parents, confidences))
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


def _fold_in_each(key: Key[Array, ""], numbers: Int[Array, " n"]) -> Key[Array, " n"]:
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def _draw_parents(key: Key[Array, ""], filled: Bool[Array, " k"]) -> Int[Array, " 2"]:
    """Two niches drawn uniformly, with replacement, from the filled ones."""
    filled_so_far = jnp.cumsum(filled)
    uniform = centred_uniform(jax.random.bits(key, (2,)))
    ranks = jnp.floor(uniform * filled_so_far[-1])
    return jnp.searchsorted(filled_so_far, ranks, side="right")


def _merge_pairs(leaf: Any) -> Any:
    return leaf.reshape(-1, *leaf.shape[2:])
