"""Projected gradient descent that chooses its step size: the first two attacks of AutoAttack."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import (
    AttackResult,
    image_keys,
    in_parts,
    require_attackable,
    result_of,
    some,
    unattacked,
)
from evofool.attacks.balls import CommonNorm, lengths, of_rows, radius, require_ball, steepest, within
from evofool.attacks.goals import Goal, Untargeted, likeliest_others
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_choice, require_positive, require_seed
from evofool.numerics.random_numbers import fold_in_each
from evofool.numerics.rows import where_rows

Loss = Literal["ce", "dlr", "dlr-targeted"]
"""Cross-entropy, or the difference of logits ratio: away from the label, or towards other classes in turn."""

# Of the steps since the last check, the share that must raise the loss for the step size to stay.
_ENOUGH_RISES = 0.75
# The share of a step that is new; the rest is the step before it.
_NEW_SHARE = 0.75
_TINY = 1e-12


@dataclass(frozen=True)
class APGDOptions(AttackOptions):
    """The ball, the loss, and how often to start again.

    Attributes:
        epsilon: the size of the ball in its norm, 0 or more. For linf at most 1, and by default 0.3 for grey
            images (MNIST), 8/255 for colour (CIFAR-10). l2 has no default.
        norm: linf, the largest change of a value, or l2, the Euclidean length of the change.
        loss: ce, the cross-entropy; dlr, the difference of logits ratio; dlr-targeted, the same towards each
            of the likeliest other classes, one after the other.
        steps: the number of steps from each start, at least one.
        restarts: how many random starts an image gets at most (of dlr-targeted for each class), at least one.
        targets: of dlr-targeted: towards how many classes, at least one.
        seed: of the random starts.

    Raises:
        UsageError: a value is out of range.
    """

    epsilon: float | None = None
    norm: CommonNorm = "linf"
    loss: Loss = "ce"
    steps: int = 100
    restarts: int = 1
    targets: int = 9
    seed: int = 0
    goals = (Untargeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ball(self.epsilon, self.norm, get_args(CommonNorm))
        require_choice(get_args(Loss), loss=self.loss)
        require_positive(steps=self.steps, restarts=self.restarts, targets=self.targets)
        require_seed(self.seed)


def apgd(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: APGDOptions = APGDOptions(),
) -> AttackResult:
    r"""Auto-PGD (Croce & Hein, ICML 2020, algorithm 1).

    From a random point of the ball, projected steps with momentum raise the loss. The step size begins at
    2 epsilon. At checkpoints (22, 41, 57, 70, 80, 87, 93 and 99% of the steps) it is halved, and the search
    goes back to the best point so far, if fewer than 75% of the steps since the last checkpoint raised the
    loss, or if at the last checkpoint the step size stayed and the best loss has not grown since. The losses,
    with the logits z in descending order at pi:

    $$CE = -\log p_y, \quad
    DLR = -\frac{z_y - \max_{i \ne y} z_i}{z_{\pi_1} - z_{\pi_3}}, \quad
    DLR_t = -\frac{z_y - z_t}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}$$

    In place of CE, minus the log-odds of the label is raised, which CE grows with: its gradient does not
    vanish where the classifier is certain. With fewer than three classes (of DLR_t four) there is no
    denominator. An image that has left its label stops.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)`.
        options: the ball, the loss and the starts.

    Returns:
        The first image on the way that left its label, or where none did, that of the highest loss of the
        first start. Starts depend on the seed, the place of an image among the others and the number of the
        start, and on nothing else. An image without a gradient is left as it was.

    Raises:
        UsageError: as `deepfool`.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((2, 2, 2, 1), 0.5)
        >>> result = apgd(classifier, images, Untargeted([0, 1]), APGDOptions(epsilon=0.1, steps=10))
        >>> bool((result.linf <= 0.1 + 1e-6).all())
        True
    """
    require_attackable(classifier, images, goal, options.goals)
    chosen = replace(options, epsilon=radius(options.epsilon, options.norm, images.shape[1:]), seed=0)
    attack = partial(attack_keyed, classifier, chosen)
    keys = image_keys(options.seed, len(images))
    return in_parts(attack, images, goal, keys).against(classifier, goal, options)


class _Best(NamedTuple):
    """What all starts so far have found, and what the first of them ended with.

    Each image needed so many `looks`, a logit and a gradient each, of those that were made of all images.
    """

    images: Float[Array, "n h w c"]
    fooled: Bool[Array, " n"]
    had_gradient: Bool[Array, " n"]
    starts: Int[Array, ""]
    looks: Int[Array, " n"]
    made: Int[Array, ""]


@jax.jit
def attack_keyed(
    classifier: Classifier,
    options: APGDOptions,
    images: Float[Array, "n h w c"],
    goal: Goal,
    keys: Key[Array, " n"],
) -> AttackResult:
    """The attack without its checks, with epsilon and with a key for each image."""
    steps = options.affordable(options.steps, each=2, fixed=4)
    if not steps:
        return unattacked(classifier, images, goal)
    logits_before = classifier.logits(images)
    targeted = options.loss == "dlr-targeted"
    others = likeliest_others(logits_before, goal.classes, options.targets) if targeted else None
    starts = options.restarts * (1 if others is None else others.shape[1])
    starts = options.affordable(starts, each=2 * (steps + 1), fixed=2)

    def start(best: _Best) -> _Best:
        target = None if others is None else others[:, best.starts // options.restarts]
        raised = partial(_loss, classifier, options.loss, goal, target)
        from_here = fold_in_each(keys, best.starts)
        climb = _climb(classifier, options, steps, images, goal, from_here, raised, best.fooled)
        first = best.starts == 0
        take = ~best.fooled & (climb.fooled | (first & climb.had_gradient))
        return _Best(
            images=where_rows(take, climb.images, best.images),
            fooled=best.fooled | climb.fooled,
            had_gradient=best.had_gradient | climb.had_gradient,
            starts=best.starts + 1,
            looks=best.looks + climb.looks,
            made=best.made + 1 + climb.step,
        )

    left = goal.reached(logits_before)
    none = jnp.zeros(len(images), bool)
    best = _Best(images, left, none, jnp.int32(0), none.astype(jnp.int32), jnp.int32(0))
    best = jax.lax.while_loop(lambda best: (best.starts < starts) & ~best.fooled.all(), start, best)
    logits = classifier.logits(best.images)
    result = result_of(classifier, goal, images, best.images, logits_before, logits, best.had_gradient | left)
    return result.counting(2 + best.looks, best.looks, best.made - best.looks)


def checkpoints(steps: int) -> tuple[Bool[np.ndarray, " steps"], Int[np.ndarray, " steps"]]:
    """After which steps the step size is checked, and how many steps each of these checks looks back.

    Example:
        >>> due, window = checkpoints(100)
        >>> (1 + np.flatnonzero(due)).tolist(), window[due].tolist()
        ([22, 41, 57, 70, 80, 87, 93, 99], [22, 19, 16, 13, 10, 7, 6, 6])
    """
    length, shortest, shorter = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    due, window = np.zeros(steps, bool), np.zeros(steps, int)
    last = 0
    while last + length <= steps:
        last += length
        due[last - 1], window[last - 1] = True, length
        length = max(length - shorter, shortest)
    return due, window


Raised = Callable[[Float[Array, "n k"]], Float[Array, " n"]]


class _Climb(NamedTuple):
    """The way up from one start.

    Attributes:
        point, before: the latest two points.
        gradient, loss: at the latest point.
        best, best_gradient, best_loss: the point of the highest loss.
        step_size: of each image.
        rises: how many steps raised the loss since the last check.
        halved: whether the last check halved the step size.
        checked_loss: the highest loss at the last check.
        images: the first point that left the label, or else the best.
        fooled: whether there is such a point.
        had_gradient: whether there was a gradient anywhere.
        step: how many steps are made.
        looks: at how many points of each image the classifier had to be seen.
    """

    point: Float[Array, "n h w c"]
    before: Float[Array, "n h w c"]
    gradient: Float[Array, "n h w c"]
    loss: Float[Array, " n"]
    best: Float[Array, "n h w c"]
    best_gradient: Float[Array, "n h w c"]
    best_loss: Float[Array, " n"]
    step_size: Float[Array, " n"]
    rises: Int[Array, " n"]
    halved: Bool[Array, " n"]
    checked_loss: Float[Array, " n"]
    images: Float[Array, "n h w c"]
    fooled: Bool[Array, " n"]
    had_gradient: Bool[Array, " n"]
    step: Int[Array, ""]
    looks: Int[Array, " n"]


def _climb(
    classifier: Classifier,
    options: APGDOptions,
    steps: int,
    images: Float[Array, "n h w c"],
    goal: Goal,
    keys: Key[Array, " n"],
    raised: Raised,
    done: Bool[Array, " n"],
) -> _Climb:
    """The steps from one start; images that are done already are not waited for."""
    epsilon, norm = options.epsilon, options.norm
    assert epsilon is not None
    due, window = (jnp.asarray(each) for each in checkpoints(steps))
    confine = partial(within, images, norm=norm, epsilon=epsilon)
    look = partial(_look, classifier, goal, raised)

    def step(climb: _Climb) -> _Climb:
        size = of_rows(climb.step_size)
        moved = confine(climb.point + size * steepest(climb.gradient, norm))
        share = jnp.where(climb.step == 0, 1, _NEW_SHARE)
        moved = confine(
            climb.point + share * (moved - climb.point) + (1 - share) * (climb.point - climb.before)
        )
        gradient, loss, reached = look(moved)
        higher = loss > climb.best_loss
        now = climb._replace(
            point=moved,
            before=climb.point,
            gradient=gradient,
            loss=loss,
            best=where_rows(higher, moved, climb.best),
            best_gradient=where_rows(higher, gradient, climb.best_gradient),
            best_loss=jnp.where(higher, loss, climb.best_loss),
            rises=climb.rises + (loss > climb.loss),
            images=where_rows(reached & ~climb.fooled, moved, climb.images),
            fooled=climb.fooled | reached,
            had_gradient=climb.had_gradient | some(gradient),
            step=climb.step + 1,
            looks=climb.looks + ~(climb.fooled | done),
        )
        checked = _checked(now, window[climb.step])
        return jax.tree.map(partial(jnp.where, due[climb.step]), checked, now)

    start = start_of(keys, images, norm, epsilon)
    climb = _from(start, look(start), 2 * epsilon, done)
    climb = jax.lax.while_loop(lambda climb: (climb.step < steps) & ~(climb.fooled | done).all(), step, climb)
    return climb._replace(images=where_rows(climb.fooled, climb.images, climb.best))


class _Seen(NamedTuple):
    """Points as the classifier sees them: gradient and value of the loss, and whether the label is left."""

    gradient: Float[Array, "n h w c"]
    loss: Float[Array, " n"]
    reached: Bool[Array, " n"]


def _look(classifier: Classifier, goal: Goal, raised: Raised, points: Float[Array, "n h w c"]) -> _Seen:
    def total(points: Float[Array, "n h w c"]) -> tuple[Array, tuple[Array, Array]]:
        logits = classifier.logits(points)
        losses = raised(logits)
        return losses.sum(), (losses, goal.reached(logits))

    gradient, (losses, reached) = jax.grad(total, has_aux=True)(points)
    return _Seen(jnp.where(jnp.isnan(gradient), 0, gradient), losses, reached)


def _from(
    start: Float[Array, "n h w c"],
    seen: _Seen,
    step_size: float | Float[Array, ""],
    done: Bool[Array, " n"],
) -> _Climb:
    """The way up before its first step."""
    gradient, loss, reached = seen
    return _Climb(
        point=start,
        before=start,
        gradient=gradient,
        loss=loss,
        best=start,
        best_gradient=gradient,
        best_loss=loss,
        step_size=jnp.full(len(start), step_size),
        rises=jnp.zeros(len(start), jnp.int32),
        halved=jnp.ones(len(start), bool),
        checked_loss=loss,
        images=start,
        fooled=reached,
        had_gradient=some(gradient),
        step=jnp.int32(0),
        looks=(~done).astype(jnp.int32),
    )


def _checked(climb: _Climb, window: Int[Array, ""]) -> _Climb:
    """The search after a check of the step sizes."""
    halve = climb.rises <= _ENOUGH_RISES * window
    halve |= ~climb.halved & (climb.best_loss <= climb.checked_loss)
    return climb._replace(
        point=where_rows(halve, climb.best, climb.point),
        gradient=where_rows(halve, climb.best_gradient, climb.gradient),
        step_size=jnp.where(halve, climb.step_size / 2, climb.step_size),
        rises=jnp.zeros_like(climb.rises),
        halved=halve,
        checked_loss=climb.best_loss,
    )


def start_of(
    keys: Key[Array, " n"],
    images: Float[Array, "n h w c"],
    norm: CommonNorm,
    epsilon: float | Float[Array, ""],
) -> Float[Array, "n h w c"]:
    """A point on the surface of the ball around each image, in a random direction, clipped to [0, 1]."""

    def draw(key: Key[Array, ""]) -> Float[Array, "h w c"]:
        if norm == "linf":
            return jax.random.uniform(key, images.shape[1:], minval=-1, maxval=1)
        return jax.random.normal(key, images.shape[1:])

    directions = jax.vmap(draw)(keys)
    return jnp.clip(images + epsilon * directions / of_rows(lengths(directions, norm)), 0, 1)


def _loss(
    classifier: Classifier,
    loss: Loss,
    goal: Goal,
    target: Int[Array, " n"] | None,
    logits: Float[Array, "n k"],
) -> Float[Array, " n"]:
    """What is raised."""
    if loss == "ce":
        return goal.objective(classifier, logits)
    count = logits.shape[1]
    of_label = jnp.take_along_axis(logits, goal.classes[:, None], axis=1)[:, 0]
    ordered = -jnp.sort(-logits, axis=1)
    if target is None:
        others = jnp.where(jnp.arange(count) == goal.classes[:, None], -jnp.inf, logits)
        margin = of_label - others.max(axis=1)
        return -margin / (ordered[:, 0] - ordered[:, 2] + _TINY) if count > 2 else -margin
    margin = of_label - jnp.take_along_axis(logits, target[:, None], axis=1)[:, 0]
    if count < 4:
        return -margin
    return -margin / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + _TINY)
