"""The smallest change for a target: L-BFGS within the box of valid pixels, and a bisection over a weight."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import (
    AttackResult,
    in_parts,
    input_gradient,
    require_attackable,
    result_of,
    some,
    unattacked,
)
from evofool.attacks.goals import Goal, Targeted
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_positive
from evofool.images import round_to_8_bits
from evofool.numerics.rows import where_rows

# More passes than any attack takes, which 32 bits hold.
_MANY = 1 << 30
# The factor by which c changes until one value has succeeded and another failed.
_FACTOR = 10.0
# The share of the decrease promised by the slope that a step must bring (Armijo's condition).
_SUFFICIENT = 1e-4
# The whole batch waits for the row that backtracks most, so steps shrink fast and few times.
_BACKTRACK = 0.2
_MOST_TRIES = 4
# A row whose value falls by less than this share has arrived, as far as float32 can tell.
_LEAST_DECREASE = 1e-6
# A curvature pair below this share of |y|^2 would make the inverse Hessian worse, not better.
_LEAST_CURVATURE = 1e-6


@dataclass(frozen=True)
class LBFGSOptions(AttackOptions):
    """The limits of the search.

    Attributes:
        searches: how many weights c of the change are tried, at least one.
        iterations: the most iterations of L-BFGS for each, at least one.
        memory: how many steps the inverse Hessian is estimated from, at least one.
        first_weight: the first c, above zero.
        eight_bit: round the image that each search ends at to 8 bits, so that its success survives saving.

    Raises:
        UsageError: a value is not above zero.
    """

    searches: int = 12
    iterations: int = 30
    memory: int = 10
    first_weight: float = 0.1
    eight_bit: bool = False
    goals = (Targeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(searches=self.searches, iterations=self.iterations)
        require_positive(memory=self.memory, first_weight=self.first_weight)


def lbfgs(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: LBFGSOptions = LBFGSOptions(),
) -> AttackResult:
    r"""Box-constrained L-BFGS (Szegedy et al., ICLR 2014, section 4.1).

    $$\min_r \; c |r|^2 - \log p_{target}(x + r) \quad \text{subject to} \quad x + r \in [0, 1]$$

    for the c of the smallest change that is still classified as the target. (The paper writes c |r|, which
    has no gradient at r = 0; any other r that is stationary for one is stationary for the other, at another
    c.) The smaller c is, the easier the target is reached and the larger the change; so c is divided (or
    multiplied) by ten until one value has succeeded and another failed, and then bisected on a logarithmic
    scale. The best image of all searches is kept. Each image has its own c, and the whole batch is optimised
    at once: L-BFGS on the pixels that are not held at the end of their range (Byrd, Lu, Nocedal & Zhu, 1995),
    with a backtracking line search along the projected path.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Targeted(classes)`.
        options: the limits of the search.

    Returns:
        The image of the smallest change found for each target, or where none was found, the last attempt.
        There is no trajectory.

    Raises:
        UsageError: the goal is not targeted, there are no images, they are not in [0, 1] or not of the
            classifier's size, there is not one class for each, or the classifier does not have a class.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> lbfgs(classifier, images, Targeted(jnp.argmin(classifier(images), axis=1))).success.tolist()
        [True]
    """
    require_attackable(classifier, images, goal, options.goals)
    return in_parts(partial(_attack, classifier, options), images, goal).against(classifier, goal, options)


class _Search(NamedTuple):
    """The state of the bisection: the c to try, the largest that succeeded, the smallest that failed."""

    weight: Float[Array, " n"]
    succeeded: Float[Array, " n"]
    failed: Float[Array, " n"]
    best: Float[Array, "n d"]
    best_size: Float[Array, " n"]
    last: Float[Array, "n d"]


class _Passes(NamedTuple):
    """How often the classifier was seen.

    Attributes:
        looks: the points of each image whose objective and gradient it needed.
        searches: how many searches each image began.
        made: the points that were looked at of all images.
        done: the searches that were made of all images.
    """

    looks: Int[Array, " n"]
    searches: Int[Array, " n"]
    made: Int[Array, ""]
    done: Int[Array, ""]


@jax.jit
def _attack(
    classifier: Classifier, options: LBFGSOptions, images: Float[Array, "n h w c"], goal: Goal
) -> AttackResult:
    # The original and its gradient, and the result; of a search at least the first look and the last image.
    if not options.affordable(1, each=3, fixed=3):
        return unattacked(classifier, images, goal)
    originals = images.reshape(len(images), -1)
    most_looks = 1 + options.iterations * _MOST_TRIES
    most = options.affordable(min(_MANY, options.searches * (2 * most_looks + 1)), each=1, fixed=3)

    def logits_of(points: Float[Array, "n d"]) -> Float[Array, "n k"]:
        return classifier.logits(points.reshape(images.shape))

    def objective(weight: Float[Array, " n"], points: Float[Array, "n d"]) -> Float[Array, " n"]:
        size = jnp.square(points - originals).sum(axis=1)
        return weight * size - jax.nn.log_sigmoid(goal.objective(classifier, logits_of(points)))

    def affordable(passes: _Passes) -> Int[Array, " n"]:
        return (most - 2 * passes.looks - passes.searches - 1) // 2

    def unfinished(carry: tuple[_Search, _Passes]) -> Bool[Array, ""]:
        _, passes = carry
        return (passes.done < options.searches) & (affordable(passes) > 0).any()

    def search(carry: tuple[_Search, _Passes]) -> tuple[_Search, _Passes]:
        state, passes = carry
        left = affordable(passes)
        begun = left > 0
        # The best image so far is nearer to the next solution than the original is.
        start = jnp.where(jnp.isfinite(state.best_size)[:, None], state.best, originals)
        this = partial(objective, state.weight)
        last, looks, made = _minimise(this, start, left, options.iterations, options.memory)
        last = round_to_8_bits(last) if options.eight_bit else last
        searched = _bisect(state, last, originals, goal.reached(logits_of(last)))
        searched = where_rows(begun, searched, state)
        looks = passes.looks + looks
        return searched, _Passes(looks, passes.searches + begun, passes.made + made, passes.done + 1)

    gradient, logits_before = input_gradient(classifier, images, goal)
    state = _first_search(originals, options.first_weight, goal.reached(logits_before))
    none = jnp.zeros(len(images), jnp.int32)
    carry = state, _Passes(none, none, jnp.int32(0), jnp.int32(0))
    state, passes = jax.lax.while_loop(unfinished, search, carry)
    attacked = jnp.where(jnp.isfinite(state.best_size)[:, None], state.best, state.last).reshape(images.shape)
    logits = classifier.logits(attacked)
    result = result_of(classifier, goal, images, attacked, logits_before, logits, some(gradient))
    needed = passes.looks + passes.searches
    return result.counting(2 + needed, 1 + passes.looks, passes.made + passes.done - needed)


def _first_search(
    originals: Float[Array, "n d"], weight: float | Float[Array, ""], reached: Bool[Array, " n"]
) -> _Search:
    count = len(originals)
    return _Search(
        weight=jnp.full(count, weight),
        succeeded=jnp.zeros(count),
        failed=jnp.full(count, jnp.inf),
        best=originals,
        best_size=jnp.where(reached, 0, jnp.inf),
        last=originals,
    )


def _bisect(
    state: _Search, last: Float[Array, "n d"], originals: Float[Array, "n d"], reached: Bool[Array, " n"]
) -> _Search:
    """The state after a search ended at `last`."""
    size = jnp.square(last - originals).sum(axis=1)
    better = reached & (size < state.best_size)
    succeeded = jnp.where(reached, jnp.maximum(state.succeeded, state.weight), state.succeeded)
    failed = jnp.where(reached, state.failed, jnp.minimum(state.failed, state.weight))
    return _Search(
        weight=_next_weight(state.weight, succeeded, failed),
        succeeded=succeeded,
        failed=failed,
        best=jnp.where(better[:, None], last, state.best),
        best_size=jnp.where(better, size, state.best_size),
        last=last,
    )


def _next_weight(
    weight: Float[Array, " n"], succeeded: Float[Array, " n"], failed: Float[Array, " n"]
) -> Float[Array, " n"]:
    between = jnp.sqrt(succeeded * jnp.where(jnp.isinf(failed), 1, failed))
    unbounded = jnp.where(succeeded == 0, weight / _FACTOR, weight * _FACTOR)
    return jnp.where((succeeded == 0) | jnp.isinf(failed), unbounded, between)


class _State(NamedTuple):
    """An iterate with its value and gradient, and the latest changes of both, the newest last."""

    point: Float[Array, "n d"]
    value: Float[Array, " n"]
    gradient: Float[Array, "n d"]
    steps: Float[Array, "m n d"]
    changes: Float[Array, "m n d"]
    moving: Bool[Array, " n"]
    iteration: Int[Array, ""]
    looks: Int[Array, " n"]
    made: Int[Array, ""]


Objective = Callable[[Float[Array, "n d"]], Float[Array, " n"]]


def _minimise(
    objective: Objective,
    start: Float[Array, "n d"],
    most_looks: Int[Array, " n"],
    iterations: int,
    memory: int,
) -> tuple[Float[Array, "n d"], Int[Array, " n"], Int[Array, ""]]:
    """L-BFGS on each row of a batch, every value within [0, 1], with at most so many looks at the objective.

    Returns:
        The last points, the looks that each row took, and those of the whole batch.
    """

    def unfinished(state: _State) -> Bool[Array, ""]:
        return state.moving.any() & (state.iteration < iterations)

    history = jnp.zeros((memory, *start.shape))
    begun = most_looks > 0
    first = _State(
        start,
        *_value_and_gradient(objective, start),
        history,
        history,
        begun,
        jnp.int32(0),
        begun.astype(jnp.int32),
        jnp.int32(1),
    )
    last = jax.lax.while_loop(unfinished, partial(_iterate, objective, most_looks), first)
    return last.point, last.looks, last.made


def _value_and_gradient(
    objective: Objective, points: Float[Array, "n d"]
) -> tuple[Float[Array, " n"], Float[Array, "n d"]]:
    values, pull_back = jax.vjp(objective, points)
    return values, pull_back(jnp.ones_like(values))[0]


def _iterate(objective: Objective, most_looks: Int[Array, " n"], state: _State) -> _State:
    held = ((state.point <= 0) & (state.gradient > 0)) | ((state.point >= 1) & (state.gradient < 0))
    direction = _direction(jnp.where(held, 0, state.gradient), state.steps, state.changes, ~held)
    found = _line_search(objective, most_looks, state, direction)
    improved = found.accepted & state.moving
    # A row that no step improves starts again from the gradient alone; if that fails too it has arrived.
    memorised = jnp.any(state.steps != 0, axis=(0, 2))
    falling = state.value - found.value > _LEAST_DECREASE * jnp.abs(state.value)
    stuck = ~improved[:, None]
    steps = jnp.concatenate([state.steps[1:], (found.point - state.point)[None]])
    changes = jnp.concatenate([state.changes[1:], (found.gradient - state.gradient)[None]])
    return _State(
        point=found.point,
        value=found.value,
        gradient=found.gradient,
        steps=jnp.where(stuck, 0, steps),
        changes=jnp.where(stuck, 0, changes),
        moving=state.moving & jnp.where(improved, falling, memorised) & (found.looks < most_looks),
        iteration=state.iteration + 1,
        looks=found.looks,
        made=state.made + found.tries,
    )


def _direction(
    gradient: Float[Array, "n d"],
    steps: Float[Array, "m n d"],
    changes: Float[Array, "m n d"],
    free: Bool[Array, "n d"],
) -> Float[Array, "n d"]:
    """Minus the inverse Hessian times the gradient, of the free pixels (Nocedal & Wright, algorithm 7.4)."""
    steps, changes = jnp.where(free, steps, 0), jnp.where(free, changes, 0)
    curvature = jnp.sum(steps * changes, axis=2)
    squared = jnp.sum(jnp.square(changes), axis=2)
    usable = curvature > _LEAST_CURVATURE * squared
    rho = jnp.where(usable, 1 / jnp.where(usable, curvature, 1), 0)

    def newest_to_oldest(
        q: Float[Array, "n d"], pair: tuple[Array, Array, Array]
    ) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
        step, change, rho = pair
        alpha = rho * jnp.sum(step * q, axis=1)
        return q - alpha[:, None] * change, alpha

    def oldest_to_newest(
        r: Float[Array, "n d"], pair: tuple[Array, Array, Array, Array]
    ) -> tuple[Float[Array, "n d"], None]:
        step, change, rho, alpha = pair
        beta = rho * jnp.sum(change * r, axis=1)
        return r + (alpha - beta)[:, None] * step, None

    q, alphas = jax.lax.scan(newest_to_oldest, gradient, (steps, changes, rho), reverse=True)
    # Without curvature the scale is unknown: a step of at most one.
    length = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=1))
    unscaled = 1 / jnp.maximum(length, 1)
    scale = jnp.where(usable[-1], curvature[-1] / jnp.where(usable[-1], squared[-1], 1), unscaled)
    r, _ = jax.lax.scan(oldest_to_newest, scale[:, None] * q, (steps, changes, rho, alphas))
    descends = jnp.sum(r * gradient, axis=1) > 0
    return -jnp.where(free, jnp.where(descends[:, None], r, unscaled[:, None] * gradient), 0)


class _Line(NamedTuple):
    """The line search of each row: the length to try, and the best point so far."""

    length: Float[Array, " n"]
    point: Float[Array, "n d"]
    value: Float[Array, " n"]
    gradient: Float[Array, "n d"]
    accepted: Bool[Array, " n"]
    tries: Int[Array, ""]
    looks: Int[Array, " n"]


def _line_search(
    objective: Objective, most_looks: Int[Array, " n"], state: _State, direction: Float[Array, "n d"]
) -> _Line:
    """Shorten each row's step until its value falls enough; a row where it never does stays."""

    def looking(line: _Line) -> Bool[Array, " n"]:
        return ~line.accepted & (line.looks < most_looks)

    def unfinished(line: _Line) -> Bool[Array, ""]:
        return looking(line).any() & (line.tries < _MOST_TRIES)

    def attempt(line: _Line) -> _Line:
        tried = jnp.clip(state.point + line.length[:, None] * direction, 0, 1)
        value, gradient = _value_and_gradient(objective, tried)
        promised = jnp.sum(state.gradient * (tried - state.point), axis=1)
        falls = (value < state.value) & (value <= state.value + _SUFFICIENT * promised)
        taken = falls & looking(line)
        return _Line(
            length=line.length * _BACKTRACK,
            point=jnp.where(taken[:, None], tried, line.point),
            value=jnp.where(taken, value, line.value),
            gradient=jnp.where(taken[:, None], gradient, line.gradient),
            accepted=line.accepted | taken,
            tries=line.tries + 1,
            looks=line.looks + looking(line),
        )

    # Rows that have arrived count as accepted, so that they do not keep the others waiting.
    start = _Line(
        jnp.ones(len(state.value)),
        state.point,
        state.value,
        state.gradient,
        ~state.moving,
        jnp.int32(0),
        state.looks,
    )
    return jax.lax.while_loop(unfinished, attempt, start)
