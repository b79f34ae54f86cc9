"""One generation of a search, cut into parts that fit memory and devices."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt8

from evofool.classifiers.classifier import Classifier
from evofool.errors import require_positive
from evofool.images import round_to_8_bits
from evofool.numerics.platform import computes_in_order
from evofool.numerics.rows import merged
from evofool.search.archive import RECORDED
from evofool.search.parts import images_at_once, in_parts
from evofool.search.search import Kept, Search, State
from evofool.search.sharding import over_population, replicated


@dataclass(frozen=True)
class Cut:
    """How generations are cut up, which decides speed and memory and not the result.

    The result is bit-identical if the classifier's confidences do not depend on the size of the batch. On CPU
    those of evofool's networks do not, for batches of two or more, and no smaller ones are scored; a GPU may
    choose other kernels for other sizes.

    Attributes:
        mesh: devices to split each generation over (see `population_mesh`).
        microbatch: the most images that each device makes and scores at once, in whole groups of the search
            but at least one. By default the fastest: on a CPU what fits its cache, elsewhere the whole
            generation if it fits into memory.
    """

    mesh: Mesh | None = None
    microbatch: int | None = None


def generation(
    search: Search, state: State, classifier: Classifier, cut: Cut = Cut()
) -> tuple[State, dict[str, Array]]:
    """The state after another generation, and the statistics of its offspring.

    Args:
        search: the algorithm.
        state: of one run.
        classifier: what to fool.
        cut: how the generation is cut up.

    Raises:
        UsageError: a microbatch that is not positive.

    Example:
        >>> from evofool import direct, load_classifier, map_elites
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape))
        >>> state, _ = generation(search, search.init(jax.random.key(0), classifier), classifier)
        >>> int(state.generation)
        1
    """
    groups = search.individuals(classifier) // search.group
    together = search.together(classifier) // search.group if computes_in_order() else groups

    def tell(state: State, first: Int[Array, ""] | int) -> tuple[State, dict[str, Array]]:
        numbers = first + jnp.arange(together)
        return search.tell(state, _ask_and_score(search, state, classifier, numbers, cut), cut.mesh)

    if together == groups:
        state, statistics = tell(state, 0)
    else:
        state, statistics = jax.lax.scan(tell, state, jnp.arange(0, groups, together))
        statistics = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), statistics)
    if search.admit is not None:
        state = search.admit(state, *_score_current(search, state, classifier, cut))
    # After everything that reads it the number is changed in place.
    state = jax.lax.optimization_barrier(state)
    return replicated(state._replace(generation=state.generation + 1), cut.mesh), statistics


def _ask_and_score(
    search: Search, state: State, classifier: Classifier, groups: Int[Array, " g"], cut: Cut
) -> Kept:
    """What the search keeps of groups of individuals."""

    def device(groups: Int[Array, " g"], state: State, classifier: Classifier) -> Kept:
        most = individuals_at_once(search, classifier, cut, search.group * len(groups))

        def part(groups: Int[Array, " p"]) -> Kept:
            individuals = (groups[:, None] * search.group + jnp.arange(search.group)).reshape(-1)
            candidates = search.ask(state, individuals)
            return search.keep(candidates, _score(candidates.images, classifier))

        return in_parts(part, groups, most // search.group)

    return over_population(device, cut.mesh)(groups, state, classifier)


def _score_current(
    search: Search, state: State, classifier: Classifier, cut: Cut
) -> tuple[UInt8[Array, "k h w c"], Float[Array, "k classes"]]:
    """The levels and the confidences of the individuals that evolve beside the archive."""
    assert search.current is not None
    current, niches = search.current, len(state.archive.slots)

    def device(
        pairs: Int[Array, " p"], state: State, classifier: Classifier
    ) -> tuple[UInt8[Array, "n h w c"], Float[Array, "n classes"]]:
        most = individuals_at_once(search, classifier, cut, 2 * len(pairs))

        def part(pairs: Int[Array, " q"]) -> tuple[UInt8[Array, "n h w c"], Float[Array, "n classes"]]:
            numbers = (pairs[:, None] * 2 + jnp.arange(2)).reshape(-1)
            images = current(state, jnp.minimum(numbers, niches - 1))
            return jnp.round(images * 255).astype(jnp.uint8), _score(images, classifier)

        return in_parts(part, pairs, most // 2)

    # In pairs, because a batch of one image may be rounded differently.
    pairs = jnp.arange(-(-niches // 2))
    scored = over_population(device, cut.mesh)(pairs, state, classifier)
    return jax.tree.map(lambda leaf: leaf[:niches], replicated(scored, cut.mesh))


def record_of(
    search: Search, replacements: Int[Array, "*runs k"], state: State, statistics: dict[str, Array]
) -> dict[str, Array]:
    """What the host computes the metrics of a generation from.

    Args:
        search: the algorithm.
        replacements: those of the archive before the generation.
        state: after it.
        statistics: of its offspring.
    """
    fields = RECORDED if search.breeds else RECORDED[:2]
    archive = {f"elite_{name}": getattr(state.archive, name) for name in fields}
    return {
        **archive,
        "replacements": jnp.sum(state.archive.replacements - replacements, axis=-1),
        **statistics,
    }


def individuals_at_once(search: Search, classifier: Classifier, cut: Cut, individuals: int) -> int:
    """How many of a device's individuals are asked for and scored at once.

    Raises:
        UsageError: a microbatch that is not positive.
    """
    require_positive(microbatch=cut.microbatch)
    if cut.microbatch is not None:
        return cut.microbatch
    most = images_at_once(classifier, individuals)
    return min(most, search.at_once(classifier)) if search.at_once and computes_in_order() else most


@merged
def _score(images: Float[Array, "n h w c"], classifier: Classifier) -> Float[Array, "n classes"]:
    """The confidences of images as they are saved, with 8 bits."""
    return classifier(round_to_8_bits(images))
