"""AutoAttack: four attacks in order, each on the images that the others left."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.apgd import APGDOptions, Loss
from evofool.attacks.apgd import attack_keyed as apgd_keyed
from evofool.attacks.attack import (
    AttackResult,
    assess,
    image_keys,
    in_parts,
    is_known,
    predicted_classes,
    require_attackable,
    unattacked,
)
from evofool.attacks.balls import CommonNorm, lengths, radius, require_ball
from evofool.attacks.fab import FABOptions
from evofool.attacks.fab import attack_until as fab_until
from evofool.attacks.goals import Goal, Untargeted
from evofool.attacks.options import AttackOptions
from evofool.attacks.query import SquareOptions, square
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_positive, require_seed
from evofool.numerics.random_numbers import fold_in_each
from evofool.numerics.rows import where_rows

MEMBERS = ("apgd-ce", "apgd-dlr-targeted", "fab", "square")
"""The attacks in their order; `AttackResult.fooled_by` counts from 0."""


# The queries of each image before the attacks and after them.
_AROUND = 3
# What the sum of an image and its change loses in single precision.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class AutoAttackOptions(AttackOptions):
    """The ball, and how long each attack takes; the defaults are those of the standard version.

    Attributes:
        epsilon: the size of the ball in its norm, 0 or more. For linf at most 1, and by default 0.3 for grey
            images (MNIST), 8/255 for colour (CIFAR-10). l2 has no default.
        norm: linf, the largest change of a value, or l2, the Euclidean length of the change.
        steps: of each start of APGD, and of FAB towards each class, at least one.
        targets: towards how many of the likeliest other classes APGD and FAB go, at least one.
        square_queries: of square for each image, at least one.
        seed: of all random numbers.

    Raises:
        UsageError: a value is out of range.
    """

    epsilon: float | None = None
    norm: CommonNorm = "linf"
    steps: int = 100
    targets: int = 9
    square_queries: int = 5000
    seed: int = 0
    goals = (Untargeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ball(self.epsilon, self.norm, get_args(CommonNorm))
        require_positive(steps=self.steps, targets=self.targets, square_queries=self.square_queries)
        require_seed(self.seed)


def autoattack(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: AutoAttackOptions = AutoAttackOptions(),
) -> AttackResult:
    """AutoAttack (Croce & Hein, ICML 2020, section 5), whose robust accuracy papers quote.

    In order: Auto-PGD on the cross-entropy; Auto-PGD on the targeted difference of logits ratio, towards the
    nine likeliest other classes; FAB towards the same; the square attack with 5,000 queries. Each attacks the
    images that are still classified correctly.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)`.
        options: the ball, and how long each attack takes.

    Returns:
        The image of the first attack that fooled the classifier within the ball, or the original where none
        did, with `fooled_by`. Random numbers depend on the seed and the place of an image among the others,
        and on nothing else.

    Raises:
        UsageError: as `apgd`, or inside a compiled function: the images that are left are counted on the way.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (4, 4, 1), tuple("abcd"))
        >>> images = jnp.full((2, 4, 4, 1), 0.5)
        >>> options = AutoAttackOptions(epsilon=0.3, steps=5, square_queries=10)
        >>> result = autoattack(classifier, images, Untargeted([0, 1]), options)
        >>> bool((result.linf <= 0.3 + 1e-6).all()), result.fooled_by.shape
        (True, (2,))
    """
    require_attackable(classifier, images, goal, options.goals)
    if not is_known(images):
        raise UsageError("AutoAttack cannot be part of a compiled function: it chooses images on the way")
    epsilon = radius(options.epsilon, options.norm, images.shape[1:])
    none = jnp.zeros(len(images), jnp.int32)
    if not options.affordable(1, each=1, fixed=_AROUND - 1):
        result = in_parts(partial(unattacked, classifier), images, goal)._replace(fooled_by=none - 1)
        return result.against(classifier, goal, options)
    members = [
        partial(_climb, classifier, options, epsilon, "ce", 0),
        partial(_climb, classifier, options, epsilon, "dlr-targeted", 1),
        partial(_approach, classifier, options, epsilon),
        partial(_ask, classifier, options, epsilon),
    ]
    found, fooled_by = images, np.full(len(images), -1)
    queries, gradients, padded = none + _AROUND, none, none
    left = np.asarray(predicted_classes(classifier, images)) == np.asarray(goal.classes)
    had_gradient = jnp.asarray(~left)
    for number, attack in enumerate(members):
        if not left.any():
            break
        budget = None
        if options.max_queries is not None:
            budget = options.max_queries - int((queries + gradients)[left].max())
            if budget < 1:
                break
        made = attack(_Remaining(images, goal, found, left, budget))
        queries += made.queries
        gradients += made.gradient_queries
        padded += made.padded_queries
        had_gradient |= made.had_gradient
        inside = lengths(made.images - images, options.norm) <= epsilon * (1 + _ROUNDING)
        fooled = left & np.asarray(made.success & inside)
        found = where_rows(jnp.asarray(fooled), made.images, found)
        fooled_by[fooled], left = number, left & ~fooled
    whole = assess(classifier, images, found, goal).counting(queries, gradients, padded)
    return whole._replace(
        fooled_by=jnp.asarray(fooled_by, jnp.int32), had_gradient=had_gradient, options=options
    )


class _Remaining(NamedTuple):
    """All images, and which are left.

    Attributes:
        images: the originals.
        goal: of each.
        found: the images that fooled the classifier, or else the originals.
        left: which images are classified correctly still.
        budget: how many queries and gradients each of these may take; None for no limit.
    """

    images: Float[Array, "n h w c"]
    goal: Goal
    found: Float[Array, "n h w c"]
    left: Bool[np.ndarray, " n"]
    budget: int | None


class _Found(NamedTuple):
    """What one attack made of all images: those that it did not attack have reached no goal."""

    images: Float[Array, "n h w c"]
    success: Bool[Array, " n"]
    had_gradient: Bool[Array, " n"]
    queries: Int[Array, " n"]
    gradient_queries: Int[Array, " n"]
    padded_queries: Int[Array, " n"]


def _climb(
    classifier: Classifier,
    options: AutoAttackOptions,
    epsilon: float,
    loss: Loss,
    number: int,
    remaining: _Remaining,
) -> _Found:
    """Auto-PGD on those that are left."""
    settings = APGDOptions(
        epsilon,
        options.norm,
        loss,
        options.steps,
        targets=options.targets,
        max_queries=remaining.budget,
    )
    keys = fold_in_each(image_keys(options.seed, len(remaining.images)), number)
    return _on_those_left(partial(apgd_keyed, classifier, settings), remaining, keys)


def _approach(
    classifier: Classifier, options: AutoAttackOptions, epsilon: float, remaining: _Remaining
) -> _Found:
    """FAB on those that are left."""
    settings = FABOptions(options.norm, options.steps, options.targets, max_queries=remaining.budget)
    return _on_those_left(partial(fab_until, classifier, settings, epsilon), remaining)


def _ask(classifier: Classifier, options: AutoAttackOptions, epsilon: float, remaining: _Remaining) -> _Found:
    """The square attack on all, of which those that are fooled already take one query.

    So that its random numbers depend on the place of an image among all.
    """
    most = options.square_queries
    most = most if remaining.budget is None else min(most, remaining.budget)
    settings = SquareOptions(options.norm, epsilon, seed=options.seed, max_queries=most)
    left = jnp.asarray(remaining.left)
    images = where_rows(left, remaining.images, remaining.found)
    result = square(classifier, images, remaining.goal, settings)
    assert result.queries is not None
    assert result.padded_queries is not None
    none = jnp.zeros(len(images), bool)
    return _Found(
        images=result.images,
        success=result.success,
        had_gradient=none,
        queries=jnp.where(left, result.queries, 0),
        gradient_queries=none.astype(jnp.int32),
        padded_queries=result.padded_queries + jnp.where(left, 0, result.queries),
    )


def _on_those_left(
    attack: Callable[..., AttackResult], remaining: _Remaining, *arguments: Key[Array, " n"]
) -> _Found:
    """Attack the images that are left; the others are as they were, and have reached no goal.

    The images are filled up to a power of two with copies, so that few programs are compiled.
    """
    rows = np.flatnonzero(remaining.left)
    filled = np.resize(rows, 1 << (len(rows) - 1).bit_length())
    chosen = jax.tree.map(lambda leaf: leaf[filled], (remaining.images, remaining.goal, *arguments))
    result = in_parts(attack, *chosen)
    none = jnp.zeros(len(remaining.images), jnp.int32)
    assert result.queries is not None
    assert result.padded_queries is not None
    asked = none.at[filled].add(result.queries + result.padded_queries)
    queries = none.at[rows].set(result.queries[: len(rows)])

    def placed(whole: Array, part: Array | None) -> Array:
        return whole if part is None else whole.at[rows].set(part[: len(rows)])

    return _Found(
        images=placed(remaining.images, result.images),
        success=placed(none.astype(bool), result.success),
        had_gradient=placed(none.astype(bool), result.had_gradient),
        queries=queries,
        gradient_queries=placed(none, result.gradient_queries),
        padded_queries=asked - queries,
    )
