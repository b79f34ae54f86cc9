"""Evolution strategies: one genome per class, moved towards the perturbations with higher rewards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped, UInt8

from evofool.caching import cached
from evofool.classifiers.black_box import AnyClassifier
from evofool.encodings.encoding import Encoding, Estimator, Genomes
from evofool.errors import UsageError, require_choice, require_positive, unknown_name
from evofool.images import from_uint8
from evofool.numerics.random_numbers import fold_in_each
from evofool.numerics.reductions import mean
from evofool.numerics.rows import apart, each, merged, where_rows
from evofool.search.archive import Archive, compete, empty_archive
from evofool.search.policies import LITERAL, Blocks, literal, sum_of_blocks
from evofool.search.search import Search, target_classes
from evofool.search.sharding import over_population, replicated


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
    evolves as it would alone. After the step the image of $\theta$ itself, the mean of the next policies, is
    scored as well and competes for the elite: an evaluation more per class and generation, so a run ends with
    elites that are at least as good as what it draws last.

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
    strategy = _Strategy(
        encoding,
        estimator,
        options,
        Blocks.of(options.policies, encoding, estimator),
        sigma or optax.constant_schedule(options.sigma),
        optax.chain(optax.scale(-1.0), optimizer or OPTIMIZERS[options.optimizer](options.learning_rate)),
        targets,
    )
    return Search(
        strategy.init,
        strategy.ask,
        strategy.keep,
        strategy.tell,
        group=strategy.blocks.size,
        individuals=lambda classifier: strategy.blocks.padded * len(target_classes(classifier, targets)),
        together=lambda classifier: strategy.blocks.padded,
        evaluations=lambda classifier: (options.policies + 1) * len(target_classes(classifier, targets)),
        counts=lambda individuals: individuals % strategy.blocks.padded < options.policies,
        render=from_uint8,
        current=strategy.current,
        admit=strategy.admit,
        at_once=lambda classifier: strategy.blocks.at_once * strategy.blocks.size,
    )


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


@dataclass(frozen=True, eq=False)
class _Strategy:
    """The parts of an evolution strategy, and what they do together.

    What is computed `apart` rounds the same way for one run and for many at once.
    """

    encoding: Encoding
    estimator: Estimator
    options: StrategyOptions
    blocks: Blocks
    sigma: optax.Schedule
    ascent: optax.GradientTransformation
    targets: Sequence[int] | None

    def init(self, key: Key[Array, ""], classifier: AnyClassifier) -> EvolutionState:
        classes = jnp.array(target_classes(classifier, self.targets))
        # Keyed by the class, so that a genome does not depend on which others evolve beside it.
        genomes = self.encoding.init(fold_in_each(fold_in_each(key, 0), classes))
        archive = empty_archive(jax.ShapeDtypeStruct(classifier.spec.input_shape, jnp.uint8), len(classes))
        optimizer = jax.vmap(self.ascent.init)(genomes)
        return EvolutionState(key, jnp.int32(0), classes, genomes, optimizer, archive)

    def ask(self, state: EvolutionState, individuals: Int[Array, " n"]) -> _Policies:
        moment, count = _Moment(state.key, state.generation), self.blocks.count

        def block(number: Int[Array, ""]) -> tuple[Float[Array, "b h w c"], PyTree]:
            row = number // count
            genome = jax.tree.map(lambda leaf: leaf[row], state.genomes)
            members = self.blocks.members(number % count)
            return apart(self._draw)(moment, state.targets[row], genome, members)

        numbers = individuals[:: self.blocks.size] // self.blocks.size
        images, noise = each(block, numbers)
        return _Policies(
            images.reshape(-1, *images.shape[2:]),
            numbers,
            state.targets[numbers // count],
            noise if self.blocks.noise_is_kept else (),
        )

    def keep(self, policies: _Policies, confidences: Float[Array, "n classes"]) -> _Scored:
        # All classes are computed before one is taken: a product with one column would round with the batch
        # size.
        confidences = jax.lax.optimization_barrier(confidences)
        count, size = len(policies.numbers), self.blocks.size
        own = jnp.take_along_axis(
            confidences.reshape(count, size, -1), policies.targets[:, None, None], axis=2
        )[..., 0]
        images = policies.images.reshape(count, size, *policies.images.shape[1:])
        members = jax.vmap(self.blocks.members)(policies.numbers % self.blocks.count)
        never_wins = jnp.isnan(own) | (members >= self.options.policies)
        winners = jnp.argmax(jnp.where(never_wins, -jnp.inf, own), axis=1)
        # Only the winners are rounded to levels, not all images.
        best = jax.vmap(lambda images, winner: images[winner])(images, winners)
        best = jnp.round(best * 255).astype(jnp.uint8)
        return _Scored(policies.numbers, own, best, policies.noise)

    def tell(
        self, state: EvolutionState, kept: _Scored, mesh: Mesh | None = None
    ) -> tuple[EvolutionState, dict[str, Array]]:
        moment, count = _Moment(state.key, state.generation), self.blocks.count
        rows = kept.numbers[::count] // count
        everything = (state.targets, state.genomes, state.optimizer, state.archive)
        own = _Class(rows, *_take(everything, rows))

        def of_classes(leaf: Shaped[Array, "g *_"]) -> Shaped[Array, "c m *_"]:
            return leaf.reshape(len(rows), count, *leaf.shape[1:])

        def combine_each(blocks_scored: PyTree, state: EvolutionState) -> Genomes:
            def one(block: tuple[Int[Array, ""], PyTree, Float[Array, " b"]]) -> Genomes:
                number, noise, weights = block
                row, members = number // count, self.blocks.members(number % count)
                genome = jax.tree.map(lambda leaf: leaf[row], state.genomes)
                return apart(self._combine)(moment, state.targets[row], genome, members, noise, weights)

            return each(one, blocks_scored)

        scored = jax.tree.map(of_classes, replicated((kept.confidences, kept.best), mesh))
        niches, weights, metrics = each(lambda one: apart(self._learn)(moment, *one), (own, *scored))
        # The noise stays on the device that drew it, and the sums of the blocks are added in one order.
        weights = weights.reshape(-1, self.blocks.size)
        parts = over_population(combine_each, mesh)((kept.numbers, kept.noise, weights), state)
        parts = jax.tree.map(of_classes, replicated(parts, mesh))
        genomes, optimizer = each(lambda one: apart(self._update)(*one), (own, parts))
        genomes, optimizer, archive = _put(everything[1:], (genomes, optimizer, niches), rows)
        return state._replace(genomes=genomes, optimizer=optimizer, archive=archive), metrics

    def current(self, state: EvolutionState, niches: Int[Array, " n"]) -> Float[Array, "n h w c"]:
        render = merged(lambda genomes, nothing: self.encoding.render(genomes))
        return render(jax.tree.map(lambda leaf: leaf[niches], state.genomes), ())

    def admit(
        self, state: EvolutionState, levels: UInt8[Array, "k h w c"], confidences: Float[Array, "k classes"]
    ) -> EvolutionState:
        confidences = jax.lax.optimization_barrier(confidences)  # as in `keep`
        own = jnp.take_along_axis(confidences, state.targets[:, None], axis=1)[:, 0]
        archive, count = state.archive, len(state.targets)
        takes = own > archive.confidences
        taker = {
            "confidences": own,
            "generations": state.generation + 1,
            "indices": self.options.policies * count + jnp.arange(count),  # after all policies
        }
        changed = {name: jnp.where(takes, value, getattr(archive, name)) for name, value in taker.items()}
        pool = where_rows(takes, levels, archive.pool)
        archive = archive._replace(pool=pool, replacements=archive.replacements + takes, **changed)
        return state._replace(archive=archive)

    def _draw(
        self, moment: _Moment, target: Int[Array, ""], genome: Genomes, members: Int[Array, " b"]
    ) -> tuple[Float[Array, "b h w c"], PyTree]:
        """The images of the policies of a block, and the noise that made them."""
        key = fold_in_each(fold_in_each(moment.key, 1), target)
        key = fold_in_each(key, moment.generation + 1)
        keys = fold_in_each(key, members // 2 if self.options.antithetic else members)
        signs = jnp.where(self.options.antithetic & (members % 2 == 1), -1.0, 1.0)
        return self.estimator.sample(keys, signs, genome, self.sigma(moment.generation))

    def _learn(
        self, moment: _Moment, own: _Class, confidences: Float[Array, "m b"], best: UInt8[Array, "m h w c"]
    ) -> tuple[Archive, Float[Array, "m b"], dict[str, Array]]:
        """The niche of a class after its policies have competed for it, and their weights in the update."""
        policies, blocks = self.options.policies, self.blocks
        confidences = confidences.reshape(-1)[:policies]
        niche = _challenge(own, confidences, best, blocks.size, moment.generation + 1)
        rewards = jnp.where(jnp.isnan(confidences), 0.0, confidences)
        weights = ADVANTAGES[self.options.advantage](rewards) / (policies * self.sigma(moment.generation))
        weights = jnp.pad(weights, (0, blocks.padded - policies)).reshape(blocks.count, blocks.size)
        return niche, weights, {"mean_rewards": mean(rewards), "max_rewards": rewards.max()}

    def _combine(
        self,
        moment: _Moment,
        target: Int[Array, ""],
        genome: Genomes,
        members: Int[Array, " b"],
        noise: PyTree,
        weights: Float[Array, " b"],
    ) -> Genomes:
        """What a block adds to the gradient of its class."""
        if not self.blocks.noise_is_kept:
            noise = apart(self._draw)(moment, target, genome, members)[1]
        # The barrier keeps the sum from being merged with the drawing, which would change how it is rounded.
        return self.estimator.combine(*jax.lax.optimization_barrier((noise, weights)))

    def _update(self, own: _Class, parts: Genomes) -> tuple[Genomes, PyTree]:
        """The genome of a class and its optimiser after a step along the sum of what the blocks add."""
        updates, optimizer = self.ascent.update(jax.tree.map(sum_of_blocks, parts), own.optimizer, own.genome)
        return optax.apply_updates(own.genome, updates), optimizer


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
