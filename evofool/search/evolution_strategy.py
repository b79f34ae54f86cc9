"""Evolution strategies: one genome per class, moved towards the perturbations with higher rewards."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from evofool.caching import cached
from evofool.classifiers.classifier import Classifier
from evofool.encodings.encoding import Encoding, Estimator, Genomes
from evofool.errors import UsageError, require_choice, require_positive, unknown_name
from evofool.images import from_uint8, round_to_8_bits
from evofool.numerics.platform import computes_in_order, policies_in_a_block
from evofool.numerics.random_numbers import fold_in_each, normals
from evofool.numerics.reductions import mean
from evofool.numerics.rows import apart, each
from evofool.search.archive import Archive, compete, empty_archive
from evofool.search.search import Search, target_classes
from evofool.search.sharding import over_population, replicated

LITERAL = "literal"
"""The estimator of every encoding with real-valued genomes: a normal number for each gene."""


def _centred(rewards: Float[Array, " n"]) -> Float[Array, " n"]:
    # The mean of equal rewards may differ from them in the last bit, which a z-score would magnify.
    return jnp.where(rewards.max() > rewards.min(), rewards - mean(rewards), 0)


def _ranks(rewards: Float[Array, " n"]) -> Float[Array, " n"]:
    ordered = jnp.sort(rewards)
    first, after = (jnp.searchsorted(ordered, rewards, side) for side in ("left", "right"))
    return (first + after - len(rewards)) / (2 * max(1, len(rewards) - 1))


def _z_scores(rewards: Float[Array, " n"]) -> Float[Array, " n"]:
    centred = _centred(rewards)
    return centred / (jnp.sqrt(mean(centred**2)) + 1e-8)


ADVANTAGES: dict[str, Callable[[Float[Array, " n"]], Float[Array, " n"]]] = {
    "mean": _centred,
    "ranks": _ranks,
    "z-scores": _z_scores,
}
"""The advantage of a reward: reward minus mean (as in the source), centred ranks, or z-scores.

Equal rewards have equal advantages; if all rewards are equal, they are 0. Equal rewards share a mean rank.
"""

OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    name: getattr(optax, name) for name in ("sgd", "adam", "adamw", "adagrad", "lion", "rmsprop")
}
"""The optimisers that options can name; `evolution_strategy` takes any optimiser of optax."""

_PIXELS_AT_ONCE = 1 << 21
_NOISE_AT_ONCE = 1 << 27
_PIXELS_IN_BLOCK = 1 << 20

_NOISE_KEPT = 1 << 27
"""Bytes: up to this size the noise of a class is kept for the update; more is drawn again."""


@dataclass(frozen=True)
class StrategyOptions:
    """The settings of an evolution strategy, Frigeni's by default.

    Attributes:
        policies: perturbations per class and generation.
        sigma: standard deviation of the perturbations.
        learning_rate: learning rate of the optimiser.
        optimizer: sgd, adam, adamw, adagrad, lion or rmsprop.
        advantage: how rewards are weighted: mean (reward minus mean), ranks (centred) or z-scores.
        antithetic: draw policies in pairs with opposite noise.
        estimator: literal, or one of the encoding's own (student: marginalised, marginalised-pixels); by
            default the encoding's first.

    Raises:
        UsageError: a value that is not positive, fewer than two policies, an odd number of them in pairs, or
            an unknown name.
    """

    size: ClassVar = "policies"
    breeds: ClassVar = False

    policies: int = 50
    sigma: float = 0.1
    learning_rate: float = 0.1
    optimizer: str = "sgd"
    advantage: str = "mean"
    antithetic: bool = False
    estimator: str | None = None

    def __post_init__(self) -> None:
        require_positive(policies=self.policies, sigma=self.sigma, learning_rate=self.learning_rate)
        if self.policies < 2:
            raise UsageError("policies must be 2 or more, because they are compared with each other, not 1")
        require_choice(OPTIMIZERS, optimizer=self.optimizer)
        require_choice(ADVANTAGES, advantage=self.advantage)
        if self.antithetic and self.policies % 2:
            raise UsageError(f"policies must be even to come in antithetic pairs, not {self.policies}")


class EvolutionState(NamedTuple):
    """The state of an evolution strategy between two generations.

    Attributes:
        key: the key of the run; it determines every random number, with the class, generation and policy.
        generation: how many generations have been made.
        targets: the index of each target class.
        genomes: the current genome of each target class, a leading axis of `k`.
        optimizer: the optimiser's state for each of them.
        archive: the best image seen per class, as levels 0..255.
    """

    key: Key[Array, ""]
    generation: Int[Array, ""]
    targets: Int[Array, " k"]
    genomes: Genomes
    optimizer: PyTree
    archive: Archive

    def __repr__(self) -> str:
        return f"EvolutionState(generation {self.generation}, {self.archive})"


@cached
def evolution_strategy(
    encoding: Encoding,
    options: StrategyOptions = StrategyOptions(),
    *,
    sigma: optax.Schedule | None = None,
    optimizer: optax.GradientTransformation | None = None,
    targets: Sequence[int] | None = None,
) -> Search:
    r"""A Gaussian evolution strategy for each class, all of them in one compiled step.

    In each generation `policies` perturbations of a class's genome $\theta$ are rendered and scored; with
    $F_i$ the advantage of policy $i$ and $\epsilon_i$ its noise, the optimiser climbs along

    $$g = \frac{1}{N \sigma} \sum_i F_i \epsilon_i$$

    (Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017,
    algorithm 1; Frigeni's student and teacher use the same with plain gradient ascent). The reward is the
    classifier's confidence in the class; one that is not a number counts as 0. Classes are independent: each
    evolves as it would alone.

    Policies are asked for in blocks, of up to 1,024 on a CPU and of a sixteenth elsewhere, fewer of large
    images. The policies of a class are told together.

    Args:
        encoding: how a genome becomes an image; its genomes must be real-valued arrays.
        options: number and size of the perturbations, the weighting of rewards, and the optimiser.
        sigma: an optax schedule over generations, in place of the constant in `options`.
        optimizer: an optax optimiser, in place of the one named in `options`.
        targets: indices of the classes; all if not given.

    Raises:
        UsageError: an unknown estimator, genomes that are not real-valued, or, when `init` is called, bad
            targets.

    Example:
        >>> from evofool import evolution_strategy, load_classifier, run, student
        >>> classifier = load_classifier("lenet-digits", "sigmoid")
        >>> search = evolution_strategy(student(classifier.spec.input_shape), targets=(3,))
        >>> state = run(search, classifier, generations=5)
        >>> state.archive.confidences.shape
        (1,)
    """
    estimators = {**encoding.estimators, LITERAL: literal(encoding)}
    if options.estimator is not None and options.estimator not in estimators:
        raise unknown_name("estimator of this encoding", options.estimator, estimators)
    estimator = estimators[options.estimator or next(iter(estimators))]
    ascent = optax.chain(optax.scale(-1.0), optimizer or OPTIMIZERS[options.optimizer](options.learning_rate))
    blocks = _Blocks.of(options.policies, encoding, estimator)

    def init(key: Key[Array, ""], classifier: Classifier) -> EvolutionState:
        classes = jnp.array(target_classes(classifier, targets))
        # Keyed by the class, so that a genome does not depend on which others evolve beside it.
        genomes = encoding.init(fold_in_each(fold_in_each(key, 0), classes))
        archive = empty_archive(jax.ShapeDtypeStruct(classifier.spec.input_shape, jnp.uint8), len(classes))
        return EvolutionState(key, jnp.int32(0), classes, genomes, jax.vmap(ascent.init)(genomes), archive)

    def scale(generation: Int[Array, ""]) -> float | Float[Array, ""]:
        return options.sigma if sigma is None else sigma(generation)

    @apart
    def draw(
        moment: _Moment, target: Int[Array, ""], genome: Genomes, members: Int[Array, " b"]
    ) -> tuple[Float[Array, "b h w c"], PyTree]:
        key = fold_in_each(fold_in_each(moment.key, 1), target)
        key = fold_in_each(key, moment.generation + 1)
        keys = fold_in_each(key, members // 2 if options.antithetic else members)
        signs = jnp.where(options.antithetic & (members % 2 == 1), -1.0, 1.0)
        return estimator.sample(keys, signs, genome, scale(moment.generation))

    def ask(state: EvolutionState, individuals: Int[Array, " n"]) -> _Policies:
        moment = _Moment(state.key, state.generation)

        def block(number: Int[Array, ""]) -> tuple[Float[Array, "b h w c"], PyTree]:
            row = number // blocks.count
            genome = jax.tree.map(lambda leaf: leaf[row], state.genomes)
            return draw(moment, state.targets[row], genome, blocks.members(number % blocks.count))

        numbers = individuals[:: blocks.size] // blocks.size
        images, noise = each(block, numbers)
        return _Policies(
            images.reshape(-1, *images.shape[2:]),
            numbers,
            state.targets[numbers // blocks.count],
            noise if blocks.noise_is_kept else (),
        )

    def keep(policies: _Policies, confidences: Float[Array, "n classes"]) -> _Scored:
        # All classes are computed before one is taken: a product with one column would round with the batch
        # size.
        confidences = jax.lax.optimization_barrier(confidences)
        count = len(policies.numbers)
        own = jnp.take_along_axis(
            confidences.reshape(count, blocks.size, -1), policies.targets[:, None, None], axis=2
        )[..., 0]
        images = policies.images.reshape(count, blocks.size, *policies.images.shape[1:])
        members = jax.vmap(blocks.members)(policies.numbers % blocks.count)
        never_wins = jnp.isnan(own) | (members >= options.policies)
        winners = jnp.argmax(jnp.where(never_wins, -jnp.inf, own), axis=1)
        # Only the winners are rounded to levels, not all images.
        best = jax.vmap(lambda images, winner: images[winner])(images, winners)
        best = jnp.round(best * 255).astype(jnp.uint8)
        return _Scored(policies.numbers, own, best, policies.noise)

    @apart
    def learn(
        moment: _Moment, own: _Class, confidences: Float[Array, "m b"], best: UInt8[Array, "m h w c"]
    ) -> tuple[Archive, Float[Array, "m b"], dict[str, Array]]:
        """The niche of a class after its policies have competed for it, and their weights in the update."""
        confidences = confidences.reshape(-1)[: options.policies]
        niche = _challenge(own, confidences, best, blocks.size, moment.generation + 1)
        rewards = jnp.where(jnp.isnan(confidences), 0.0, confidences)
        weights = ADVANTAGES[options.advantage](rewards) / (options.policies * scale(moment.generation))
        weights = jnp.pad(weights, (0, blocks.padded - options.policies)).reshape(blocks.count, blocks.size)
        return niche, weights, {"mean_rewards": mean(rewards), "max_rewards": rewards.max()}

    @apart
    def combine(
        moment: _Moment,
        target: Int[Array, ""],
        genome: Genomes,
        members: Int[Array, " b"],
        noise: PyTree,
        weights: Float[Array, " b"],
    ) -> Genomes:
        """What a block adds to the gradient of its class."""
        if not blocks.noise_is_kept:
            noise = draw(moment, target, genome, members)[1]
        # The barrier keeps the sum from being merged with the drawing, which would change how it is rounded.
        return estimator.combine(*jax.lax.optimization_barrier((noise, weights)))

    @apart
    def update(own: _Class, parts: Genomes) -> tuple[Genomes, PyTree]:
        updates, optimizer = ascent.update(jax.tree.map(_sum, parts), own.optimizer, own.genome)
        return optax.apply_updates(own.genome, updates), optimizer

    def tell(
        state: EvolutionState, kept: _Scored, mesh: Mesh | None = None
    ) -> tuple[EvolutionState, dict[str, Array]]:
        moment = _Moment(state.key, state.generation)
        rows = kept.numbers[:: blocks.count] // blocks.count
        everything = (state.targets, state.genomes, state.optimizer, state.archive)
        own = _Class(rows, *_take(everything, rows))

        def of_classes(leaf: Shaped[Array, "g *_"]) -> Shaped[Array, "c m *_"]:
            return leaf.reshape(len(rows), blocks.count, *leaf.shape[1:])

        def combine_each(blocks_scored: PyTree, state: EvolutionState) -> Genomes:
            def one(block: tuple[Int[Array, ""], PyTree, Float[Array, " b"]]) -> Genomes:
                number, noise, weights = block
                row, members = number // blocks.count, blocks.members(number % blocks.count)
                genome = jax.tree.map(lambda leaf: leaf[row], state.genomes)
                return combine(moment, state.targets[row], genome, members, noise, weights)

            return each(one, blocks_scored)

        scored = jax.tree.map(of_classes, replicated((kept.confidences, kept.best), mesh))
        niches, weights, metrics = each(lambda one: learn(moment, *one), (own, *scored))
        # The noise stays on the device that drew it, and the sums of the blocks are added in one order.
        weights = weights.reshape(-1, blocks.size)
        parts = over_population(combine_each, mesh)((kept.numbers, kept.noise, weights), state)
        parts = jax.tree.map(of_classes, replicated(parts, mesh))
        genomes, optimizer = each(lambda one: update(*one), (own, parts))
        genomes, optimizer, archive = _put(everything[1:], (genomes, optimizer, niches), rows)
        return state._replace(genomes=genomes, optimizer=optimizer, archive=archive), metrics

    return Search(
        init,
        ask,
        keep,
        tell,
        group=blocks.size,
        individuals=lambda classifier: blocks.padded * len(target_classes(classifier, targets)),
        together=lambda classifier: blocks.padded,
        evaluations=lambda classifier: options.policies * len(target_classes(classifier, targets)),
        render=from_uint8,
        current=lambda state: round_to_8_bits(encoding.render(state.genomes)),
        at_once=lambda classifier: blocks.at_once * blocks.size,
    )


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


class _Moment(NamedTuple):
    """A generation of a run: the run's key, and how many generations were made before."""

    key: Key[Array, ""]
    generation: Int[Array, ""]


class _Policies(NamedTuple):
    """Policies that were asked for, in `m` blocks.

    Attributes:
        images: of all of them, in [0, 1].
        numbers: of the blocks, counted over all classes.
        targets: the class of each block.
        noise: what made the images, [m, b, ...], if it is kept.
    """

    images: Float[Array, "n h w c"]
    numbers: Int[Array, " m"]
    targets: Int[Array, " m"]
    noise: PyTree


class _Scored(NamedTuple):
    """Blocks of policies with their confidences in their own class, and the best image of each, as levels."""

    numbers: Int[Array, "*c m"]
    confidences: Float[Array, "*c m b"]
    best: UInt8[Array, "*c m h w c"]
    noise: PyTree


class _Class(NamedTuple):
    """What one class has of its own: its place among the targets, its genome and optimiser, and its niche."""

    row: Int[Array, ""]
    target: Int[Array, ""]
    genome: Genomes
    optimizer: PyTree
    niche: Archive


def _challenge(
    own: _Class,
    confidences: Float[Array, " n"],
    best: UInt8[Array, "m h w c"],
    block: int,
    generation: Int[Array, ""],
) -> Archive:
    """The niche of a class after its policies have competed for it, given the best image of each block."""
    niche = own.niche
    contest = compete(niche.confidences[None], confidences[:, None])
    winner, taken = contest.winners[0], contest.times_taken[0]
    taker = {
        "pool": best[winner // block],
        "confidences": contest.best[0],
        "generations": generation,
        "indices": own.row * len(confidences) + winner,
    }
    changed = {name: jnp.where(taken > 0, value, getattr(niche, name)) for name, value in taker.items()}
    return niche._replace(replacements=niche.replacements + taken, **changed)


def _sum(parts: Float[Array, "m *genome"]) -> Float[Array, "*genome"]:
    """The sum over blocks, on a CPU in their order."""
    if len(parts) == 1:
        return parts[0]
    if not computes_in_order():
        return parts.sum(axis=0)
    return jax.lax.scan(lambda total, part: (total + part, None), jnp.zeros_like(parts[0]), parts)[0]


def _take(tree: PyTree, rows: Int[Array, " c"]) -> PyTree:
    """Consecutive rows of all arrays."""
    return jax.tree.map(
        lambda leaf: (
            leaf if len(leaf) == len(rows) else jax.lax.dynamic_slice_in_dim(leaf, rows[0], len(rows))
        ),
        tree,
    )


def _put(tree: PyTree, changed: PyTree, rows: Int[Array, " c"]) -> PyTree:
    """All arrays with some consecutive rows changed."""
    return jax.tree.map(
        lambda leaf, new: (
            new if len(leaf) == len(rows) else jax.lax.dynamic_update_slice_in_dim(leaf, new, rows[0], 0)
        ),
        tree,
        changed,
    )


@dataclass(frozen=True)
class _Blocks:
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
    def of(cls, policies: int, encoding: Encoding, estimator: Estimator) -> "_Blocks":
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
