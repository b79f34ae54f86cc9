"""Evolution strategies: one genome per class, moved towards the perturbations with higher rewards."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from evofool.classifiers.classifier import Classifier
from evofool.encodings.encoding import Encoding, Estimator, Genomes
from evofool.errors import UsageError, require_choice, require_positive, unknown_name
from evofool.images import from_uint8, round_to_8_bits
from evofool.numerics.random_numbers import fold_in_each, normals
from evofool.numerics.reductions import mean
from evofool.search.archive import Archive, empty_archive, insert, summarise
from evofool.search.search import Search, target_classes

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
_LARGEST_BLOCK = 1024


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
        genomes: the current genome of each target class, a leading axis of `k`.
        optimizer: the optimiser's state for each of them.
        archive: the best image seen per class, as levels 0..255.
    """

    key: Key[Array, ""]
    generation: Int[Array, ""]
    genomes: Genomes
    optimizer: PyTree
    archive: Archive


def evolution_strategy(
    encoding: Encoding,
    options: StrategyOptions = StrategyOptions(),
    *,
    sigma: optax.Schedule | None = None,
    optimizer: optax.GradientTransformation | None = None,
    targets: Sequence[int] | None = None,
    mesh: Mesh | None = None,
    microbatch: int | None = None,
) -> Search:
    r"""A Gaussian evolution strategy for each class, all of them in one compiled step.

    In each generation `policies` perturbations of a class's genome $\theta$ are rendered and scored; with
    $F_i$ the advantage of policy $i$ and $\epsilon_i$ its noise, the optimiser climbs along

    $$g = \frac{1}{N \sigma} \sum_i F_i \epsilon_i$$

    (Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017,
    algorithm 1; Frigeni's student and teacher use the same with plain gradient ascent). The reward is the
    classifier's confidence in the class; one that is not a number counts as 0. Classes are independent: each
    evolves as it would alone.

    Args:
        encoding: how a genome becomes an image; its genomes must be real-valued arrays.
        options: number and size of the perturbations, the weighting of rewards, and the optimiser.
        sigma: an optax schedule over generations, in place of the constant in `options`.
        optimizer: an optax optimiser, in place of the one named in `options`.
        targets: indices of the classes; all if not given.
        mesh: must be None, because an evolution strategy runs on one device.
        microbatch: the most policies of a class to score at once, rounded down to whole blocks but at least
            one. A block has up to 1,024 policies, fewer of large images. By default as many as take moderate
            memory. The result does not depend on it.

    Raises:
        UsageError: a mesh, a microbatch that is not positive, an unknown estimator, genomes that are not
            real-valued, or bad targets.

    Example:
        >>> from evofool import evolution_strategy, load_classifier, run, student
        >>> classifier = load_classifier("lenet-digits", "sigmoid")
        >>> search = evolution_strategy(student(classifier.spec.input_shape), targets=(3,))
        >>> state = run(search, classifier, generations=5)
        >>> state.archive.confidences.shape
        (1,)
    """
    require_positive(microbatch=microbatch)
    if mesh is not None:
        raise UsageError("an evolution strategy runs on one device, not on a mesh of several")
    estimators = {**encoding.estimators, LITERAL: literal(encoding)}
    if options.estimator is not None and options.estimator not in estimators:
        raise unknown_name("estimator of this encoding", options.estimator, estimators)
    ascent = optimizer or OPTIMIZERS[options.optimizer](options.learning_rate)
    rules = _Rules(
        options,
        estimators[options.estimator or next(iter(estimators))],
        ADVANTAGES[options.advantage],
        optax.chain(optax.scale(-1.0), ascent),
    )

    def init(key: Key[Array, ""], classifier: Classifier) -> EvolutionState:
        classes = target_classes(classifier, targets)
        # Keyed by the class, so that a genome does not depend on which others evolve beside it.
        genomes = encoding.init(fold_in_each(jax.random.split(key)[0], jnp.array(classes)))
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(genomes)):
            raise UsageError("an evolution strategy needs an encoding whose genomes are real-valued arrays")
        image = jax.ShapeDtypeStruct(classifier.spec.input_shape, jnp.uint8)
        archive = empty_archive(image, len(classes))
        return EvolutionState(key, jnp.int32(0), genomes, jax.vmap(rules.optimizer.init)(genomes), archive)

    def step(state: EvolutionState, classifier: Classifier) -> tuple[EvolutionState, dict[str, Array]]:
        number = state.generation + 1
        scale = options.sigma if sigma is None else sigma(state.generation)
        generation = _Generation(jax.random.split(state.key)[1], number, scale)
        genes = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(state.genomes))
        plan = _Plan.make(options.policies, classifier.spec.input_shape, genes, microbatch)

        classes = jnp.array(target_classes(classifier, targets))
        niches = jax.tree.map(lambda leaf: leaf[:, None], state.archive)
        evolve = partial(_evolve, rules, plan, generation, classifier)
        each, rewards = jax.lax.map(evolve, _Class(classes, state.genomes, state.optimizer, niches))
        archive = jax.tree.map(lambda leaf: leaf[:, 0], each.niche)
        metrics = {
            **summarise(archive),
            "replacements": jnp.sum(archive.replacements - state.archive.replacements),
            **rewards,
        }
        return EvolutionState(state.key, number, each.genome, each.optimizer, archive), metrics

    return Search(
        init,
        step,
        evaluations=lambda classifier: options.policies * len(target_classes(classifier, targets)),
        render=from_uint8,
        current=lambda state: round_to_8_bits(encoding.render(state.genomes)),
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


class _Rules(NamedTuple):
    """How the classes of a run evolve."""

    options: StrategyOptions
    estimator: Estimator
    advantages: Callable[[Float[Array, " n"]], Float[Array, " n"]]
    optimizer: optax.GradientTransformation


class _Generation(NamedTuple):
    """One generation: its number, its sigma, and the key from which its policies are drawn."""

    key: Key[Array, ""]
    number: Int[Array, ""]
    sigma: float | Float[Array, ""]


class _Class(NamedTuple):
    """What one class has of its own: its genome, the optimiser's state, and an archive of one niche."""

    target: Int[Array, ""]
    genome: Genomes
    optimizer: PyTree
    niche: Archive


def _evolve(
    rules: _Rules, plan: "_Plan", generation: _Generation, classifier: Classifier, own: _Class
) -> tuple[_Class, dict[str, Float[Array, ""]]]:
    """One generation of one class, and the metrics of its rewards."""
    draw = partial(_draw, rules, generation, own)
    score = partial(_score, rules, generation, classifier, own.target)
    nothing = jax.tree.map(jnp.zeros_like, own.genome)
    blocks = jnp.arange(plan.padded).reshape(-1, plan.block)
    if len(blocks) == 1:
        images, noise = draw(blocks[0])
        niche, rewards = score(own.niche, blocks[0], images)
        weights = _weights(rules, generation, rewards, blocks)
        gradient = _add(rules, nothing, noise, weights[0])
    else:

        def draw_and_score(niche: Archive, blocks: Int[Array, "m b"]) -> tuple[Archive, Array]:
            images = jax.lax.map(lambda block: draw(block)[0], blocks)
            return score(niche, blocks.reshape(-1), images.reshape(-1, *images.shape[2:]))

        chunks = blocks.reshape(-1, plan.chunk // plan.block, plan.block)
        niche, rewards = jax.lax.scan(draw_and_score, own.niche, chunks)
        rewards = rewards.reshape(-1)
        # The noise of all policies need not fit into memory: it is drawn again for the update.
        gradient, _ = jax.lax.scan(
            lambda total, each: (_add(rules, total, draw(each[0])[1], each[1]), None),
            nothing,
            (blocks, _weights(rules, generation, rewards, blocks)),
        )
    updates, optimizer = rules.optimizer.update(gradient, own.optimizer, own.genome)
    genome = optax.apply_updates(own.genome, updates)
    rewards = rewards[: rules.options.policies]
    metrics = {"mean_rewards": mean(rewards), "max_rewards": rewards.max()}
    return _Class(own.target, genome, optimizer, niche), metrics


def _draw(
    rules: _Rules, generation: _Generation, own: _Class, policies: Int[Array, " b"]
) -> tuple[Float[Array, "b h w c"], PyTree]:
    """The images of a block of policies and the noise that made them."""
    key = jax.random.fold_in(jax.random.fold_in(generation.key, own.target), generation.number)
    keys = fold_in_each(key, policies // 2 if rules.options.antithetic else policies)
    signs = jnp.where(rules.options.antithetic & (policies % 2 == 1), -1.0, 1.0)
    return rules.estimator.sample(keys, signs, own.genome, generation.sigma)


def _score(
    rules: _Rules,
    generation: _Generation,
    classifier: Classifier,
    target: Int[Array, ""],
    niche: Archive,
    policies: Int[Array, " n"],
    images: Float[Array, "n h w c"],
) -> tuple[Archive, Float[Array, " n"]]:
    """The niche with the best of the images, and the rewards of all of them."""
    # All classes are computed before one is taken: a product with one column would round with the batch size.
    confidences = jax.lax.optimization_barrier(classifier(round_to_8_bits(images)))
    rewards = confidences[:, target]
    counted = jnp.where(policies < rules.options.policies, rewards, -jnp.inf)
    parents = jnp.full(len(policies), -1, jnp.int32)
    ids = (generation.number - 1) * rules.options.policies + 1 + policies
    # Only the winner is rounded to levels, not all images.
    niche = niche._replace(genomes=from_uint8(niche.genomes))
    niche = insert(niche, images, counted[:, None], parents, generation.number, ids)
    niche = niche._replace(genomes=jnp.round(niche.genomes * 255).astype(jnp.uint8))
    return niche, jnp.where(jnp.isnan(rewards), 0.0, rewards)


def _weights(
    rules: _Rules, generation: _Generation, rewards: Float[Array, " n"], blocks: Int[Array, "m b"]
) -> Float[Array, "m b"]:
    """What the noise of every policy counts in the gradient; nothing for those that only fill a block."""
    weights = rules.advantages(rewards[: rules.options.policies]) / (
        rules.options.policies * generation.sigma
    )
    return jnp.pad(weights, (0, blocks.size - rules.options.policies)).reshape(blocks.shape)


def _add(rules: _Rules, total: Genomes, noise: PyTree, weights: Float[Array, " b"]) -> Genomes:
    """The gradient so far with a block of policies added."""
    # The barrier keeps the sum from being merged with the drawing, which would change how it is rounded.
    noise, weights = jax.lax.optimization_barrier((noise, weights))
    return jax.tree.map(jnp.add, total, rules.estimator.combine(noise, weights))


class _Plan(NamedTuple):
    """How the policies of a class are cut up, which decides speed and memory and not the result.

    Attributes:
        block: policies whose noise is summed at once. It depends only on their number and the size of the
            images, so that sums are rounded the same way however policies are cut up.
        chunk: policies that are drawn and scored at once, a multiple of the block.
        padded: policies in all, filled up to whole blocks.
    """

    block: int
    chunk: int
    padded: int

    @classmethod
    def make(
        cls, policies: int, image_shape: tuple[int, int, int], genes: int, microbatch: int | None
    ) -> "_Plan":
        pixels = math.prod(image_shape)
        largest = max(8, min(_LARGEST_BLOCK, _PIXELS_IN_BLOCK // pixels))
        block = -(-policies // -(-policies // largest))
        at_once = microbatch or max(1, min(_PIXELS_AT_ONCE // pixels, _NOISE_AT_ONCE // genes))
        blocks = -(-policies // block)
        # Chunks of equal length, so that the same blocks are made whatever the chunks.
        halves = [count for count in range(1, math.isqrt(blocks) + 1) if blocks % count == 0]
        divisors = [*halves, *(blocks // count for count in halves)]
        chunk = max((count for count in divisors if count * block <= at_once), default=1) * block
        return cls(block, chunk, blocks * block)
