"""The smallest change for a target: L-BFGS within the box of valid pixels, and a bisection over a weight."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import (
    AttackResult,
    Targeted,
    require_gradient,
    require_images,
    result_of,
)
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_positive

# By how much c changes until one value has succeeded and another failed.
_FACTOR = 10.0
# Of the decrease that the slope promises, the share that a step must bring (Armijo's condition).
_SUFFICIENT = 1e-4
# The whole batch waits for the row that backtracks most, so steps shrink fast and not often.
_BACKTRACK = 0.2
_MOST_TRIES = 4
# A row whose value falls by less than this share has arrived, as far as float32 can tell.
_LEAST_DECREASE = 1e-6
# A curvature pair below this share of |y|^2 would make the inverse Hessian worse, not better.
_LEAST_CURVATURE = 1e-6


def lbfgs(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    targets: Int[Array, " n"],
    *,
    searches: int = 12,
    iterations: int = 30,
    memory: int = 10,
    first_weight: float = 0.1,
) -> AttackResult:
    r"""Box-constrained L-BFGS (Szegedy et al., ICLR 2014, section 4.1).

    $$\min_r \; c |r|^2 - \log p_{target}(x + r) \quad \text{subject to} \quad x + r \in [0, 1]$$

    for the c of the smallest change that is still classified as the target. (The paper writes c |r|, which
    has no gradient at r = 0; any other r that is stationary with the one is so with the other, at another c.)
    The smaller c is, the easier the target is reached and the larger the change; so c is divided (or
    multiplied) by ten until one value has succeeded and another failed, and then bisected on a logarithmic
    scale. The best image of all searches is kept. Each image has its own c, and the whole batch is optimised
    at once: L-BFGS on the pixels that are not held at the end of their range (Byrd, Lu, Nocedal & Zhu, 1995),
    with a backtracking line search along the projected path.

    Args:
        classifier: what to fool.
        images: values in [0, 1].
        targets: the class that each image is to become, as an index.
        searches: how many values of c are tried, at least one.
        iterations: the most iterations of L-BFGS for each.
        memory: how many steps the inverse Hessian is estimated from.
        first_weight: the first c, above zero.

    Returns:
        The image of the smallest change found for each target, or where none was found, the last attempt.
        There is no trajectory.

    Raises:
        UsageError: there are no images, they are not in [0, 1] or not of the classifier's size, there is not
            one target for each, the classifier lacks one, or a setting is not above zero.
        NoGradientError: the gradient is zero at every image.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> target = jnp.argmin(classifier(images), axis=1)
        >>> lbfgs(classifier, images, target).success.tolist()
        [True]
    """
    goal = Targeted(targets)
    require_images(classifier, images, goal)
    require_positive(searches=searches, iterations=iterations, memory=memory, first_weight=first_weight)
    result, found = _attack(classifier, images, goal, first_weight, searches, iterations, memory)
    require_gradient(classifier, found, result)
    return result


class _Search(NamedTuple):
    """Where the bisection stands: the c to try, the largest that succeeded, the smallest that failed."""

    weight: Float[Array, " n"]
    succeeded: Float[Array, " n"]
    failed: Float[Array, " n"]
    best: Float[Array, "n d"]
    best_size: Float[Array, " n"]
    last: Float[Array, "n d"]


@partial(jax.jit, static_argnames=("searches", "iterations", "memory"))
def _attack(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Targeted,
    first_weight: float | Float[Array, ""],
    searches: int,
    iterations: int,
    memory: int,
) -> tuple[AttackResult, Bool[Array, ""]]:
    count = len(images)
    originals = images.reshape(count, -1)

    def logits_of(points: Float[Array, "n d"]) -> Float[Array, "n k"]:
        return classifier.logits(points.reshape(images.shape))

    def solve(start: Float[Array, "n d"], weight: Float[Array, " n"]) -> Float[Array, "n d"]:
        def objective(points: Float[Array, "n d"]) -> Float[Array, " n"]:
            size = jnp.square(points - originals).sum(axis=1)
            return weight * size - jax.nn.log_sigmoid(goal.objective(classifier, logits_of(points)))

        return _minimise(objective, start, iterations, memory)

    def search(state: _Search, _: None) -> tuple[_Search, None]:
        # The best image so far is nearer to the next solution than the original is.
        start = jnp.where(jnp.isfinite(state.best_size)[:, None], state.best, originals)
        last = solve(start, state.weight)
        reached = goal.reached(logits_of(last))
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
        ), None

    logits_before = classifier.logits(images)
    state = _Search(
        weight=jnp.full(count, first_weight),
        succeeded=jnp.zeros(count),
        failed=jnp.full(count, jnp.inf),
        best=originals,
        best_size=jnp.where(goal.reached(logits_before), 0, jnp.inf),
        last=originals,
    )
    state, _ = jax.lax.scan(search, state, length=searches)
    attacked = jnp.where(jnp.isfinite(state.best_size)[:, None], state.best, state.last).reshape(images.shape)
    logits = classifier.logits(attacked)
    result = result_of(classifier, goal, images, attacked, logits_before, logits)
    # Only a gradient of zero leaves the first attempt where it started.
    return result, (state.last != originals).any() | goal.reached(logits_before).all()


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


def _minimise(
    objective: Callable[[Float[Array, "n d"]], Float[Array, " n"]],
    start: Float[Array, "n d"],
    iterations: int,
    memory: int,
) -> Float[Array, "n d"]:
    """L-BFGS on each row of a batch, every value within [0, 1]."""

    def value_and_gradient(points: Float[Array, "n d"]) -> tuple[Array, Array]:
        values, pull_back = jax.vjp(objective, points)
        return values, pull_back(jnp.ones_like(values))[0]

    def iterate(carry: tuple[_State, Array]) -> tuple[_State, Array]:
        state, count = carry
        held = ((state.point <= 0) & (state.gradient > 0)) | ((state.point >= 1) & (state.gradient < 0))
        direction = _direction(jnp.where(held, 0, state.gradient), state.steps, state.changes, ~held)
        point, value, gradient, improved = _line_search(value_and_gradient, state, direction)
        # A row that no step improves starts again from the gradient alone; if that fails too it has arrived.
        memorised = jnp.any(state.steps != 0, axis=(0, 2))
        falling = state.value - value > _LEAST_DECREASE * jnp.abs(state.value)
        stuck = ~improved[:, None]
        return _State(
            point,
            value,
            gradient,
            jnp.where(stuck, 0, jnp.concatenate([state.steps[1:], (point - state.point)[None]])),
            jnp.where(stuck, 0, jnp.concatenate([state.changes[1:], (gradient - state.gradient)[None]])),
            state.moving & jnp.where(improved, falling, memorised),
        ), count + 1

    def unfinished(carry: tuple[_State, Array]) -> Bool[Array, ""]:
        state, count = carry
        return state.moving.any() & (count < iterations)

    history = jnp.zeros((memory, *start.shape))
    first = _State(start, *value_and_gradient(start), history, history, jnp.ones(len(start), bool))
    return jax.lax.while_loop(unfinished, iterate, (first, jnp.int32(0)))[0].point


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

    def newest_to_oldest(q: Array, pair: Any) -> tuple[Array, Array]:
        step, change, rho = pair
        alpha = rho * jnp.sum(step * q, axis=1)
        return q - alpha[:, None] * change, alpha

    def oldest_to_newest(r: Array, pair: Any) -> tuple[Array, None]:
        step, change, rho, alpha = pair
        beta = rho * jnp.sum(change * r, axis=1)
        return r + (alpha - beta)[:, None] * step, None

    q, alphas = jax.lax.scan(newest_to_oldest, gradient, (steps, changes, rho), reverse=True)
    # Without curvature to tell the scale, a step of at most one.
    length = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=1))
    unscaled = 1 / jnp.maximum(length, 1)
    scale = jnp.where(usable[-1], curvature[-1] / jnp.where(usable[-1], squared[-1], 1), unscaled)
    r, _ = jax.lax.scan(oldest_to_newest, scale[:, None] * q, (steps, changes, rho, alphas))
    descends = jnp.sum(r * gradient, axis=1) > 0
    return -jnp.where(free, jnp.where(descends[:, None], r, unscaled[:, None] * gradient), 0)


def _line_search(
    value_and_gradient: Callable[[Float[Array, "n d"]], tuple[Array, Array]],
    state: _State,
    direction: Float[Array, "n d"],
) -> tuple[Float[Array, "n d"], Float[Array, " n"], Float[Array, "n d"], Bool[Array, " n"]]:
    """Shorten each row's step until its value falls as it should; a row where it never does stays."""

    def searching(carry: Any) -> Bool[Array, ""]:
        *_, accepted, count = carry
        return ~accepted.all() & (count < _MOST_TRIES)

    def attempt(carry: Any) -> Any:
        length, point, value, gradient, accepted, count = carry
        tried = jnp.clip(state.point + length[:, None] * direction, 0, 1)
        tried_value, tried_gradient = value_and_gradient(tried)
        promised = jnp.sum(state.gradient * (tried - state.point), axis=1)
        falls = (tried_value < state.value) & (tried_value <= state.value + _SUFFICIENT * promised)
        taken = falls & ~accepted
        return (
            length * _BACKTRACK,
            jnp.where(taken[:, None], tried, point),
            jnp.where(taken, tried_value, value),
            jnp.where(taken[:, None], tried_gradient, gradient),
            accepted | falls,
            count + 1,
        )

    count = len(state.value)
    # Rows that have arrived are not searched, so that they cannot keep the others waiting.
    start = (jnp.ones(count), state.point, state.value, state.gradient, ~state.moving, jnp.int32(0))
    _, point, value, gradient, accepted, _ = jax.lax.while_loop(searching, attempt, start)
    return point, value, gradient, accepted & state.moving
