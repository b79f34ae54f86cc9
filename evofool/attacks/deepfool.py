"""The shortest step over the nearest decision boundary, as if the classifier were linear."""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import AttackResult, in_parts, require_attackable, result_of, unattacked
from evofool.attacks.balls import CommonNorm, of_rows
from evofool.attacks.goals import Goal, Untargeted, likeliest_others
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_choice, require_not_negative, require_positive
from evofool.images import round_to_8_bits
from evofool.numerics.rows import where_rows

# Keeps a step from ending on the boundary itself, where float32 decides; Foolbox adds the same.
_BEYOND_BOUNDARY = 1e-4


@dataclass(frozen=True)
class DeepFoolOptions(AttackOptions):
    """The norm and the limits of DeepFool.

    Attributes:
        norm: the size to keep small: l2, the Euclidean length, or linf, the largest change of a pixel.
        steps: the most steps that an image may take, at least one.
        overshoot: how far to go beyond the boundary, as a share of the change, 0 or more; the paper's is
            0.02.
        candidates: how many of the likeliest other classes are considered, at least one; the paper's is 10.
        eight_bit: see every image rounded to 8 bits on the way, so that its success survives saving.

    Raises:
        UsageError: a value is out of range.
    """

    norm: CommonNorm = "l2"
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10
    eight_bit: bool = False
    goals = (Untargeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(steps=self.steps, candidates=self.candidates)
        require_not_negative(overshoot=self.overshoot)
        require_choice(get_args(CommonNorm), norm=self.norm)


def deepfool(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: DeepFoolOptions = DeepFoolOptions(),
) -> AttackResult:
    r"""DeepFool (Moosavi-Dezfooli, Fawzi & Frossard, CVPR 2016, algorithm 2).

    With the logits f, the label y and `w_k = grad f_k - grad f_y`, each step goes to the nearest boundary of
    the linearised classifier:

    $$\hat{l} = \arg\min_{k \ne y} \frac{|f_k(x) - f_y(x)|}{\|w_k\|_q}, \quad
    r = \frac{|f_{\hat{l}} - f_y|}{\|w_{\hat{l}}\|_2^2} w_{\hat{l}} \;\text{(L2, q = 2)}, \quad
    r = \frac{|f_{\hat{l}} - f_y|}{\|w_{\hat{l}}\|_1} \text{sign}(w_{\hat{l}}) \;\text{(L-infinity, q = 1)}$$

    and the image is `clip(x_0 + (1 + overshoot) * (sum of all r))`. An image that is not classified as its
    label from the start is left as it is.

    The change is so small that rounding to 8 bits undoes most of it. With `eight_bit` every x is rounded, so
    that the sum of the steps grows until enough of it is left.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)`. The paper takes the predicted classes.
        options: the norm and the limits.

    Returns:
        The attacked images and the number of steps after which each left its label. There is no trajectory.

    Raises:
        UsageError: the goal is not untargeted, there are no images, they are not in [0, 1] or not of the
            classifier's size, there is not one label for each, or the classifier lacks one or has only one.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import predicted_classes
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> result = deepfool(classifier, images, Untargeted(predicted_classes(classifier, images)))
        >>> result.success.tolist(), result.first_step.tolist()
        ([True], [1])
    """
    require_attackable(classifier, images, goal, options.goals)
    candidates = min(options.candidates, len(classifier.spec.class_names) - 1)
    steps = options.affordable(options.steps, each=2 + candidates, fixed=3)
    fewer = replace(options, candidates=candidates, steps=max(1, steps), max_queries=None)
    attack = partial(_attack, classifier, fewer) if steps else partial(unattacked, classifier)
    return in_parts(attack, images, goal).against(classifier, goal, options)


@jax.jit
def _attack(
    classifier: Classifier, options: DeepFoolOptions, images: Float[Array, "n h w c"], goal: Goal
) -> AttackResult:
    logits_before = classifier.logits(images)
    crossing = cross_boundary(
        classifier,
        images,
        goal.classes,
        norm=options.norm,
        steps=options.steps,
        overshoot=options.overshoot,
        candidates=options.candidates,
        eight_bit=options.eight_bit,
    )
    logits = classifier.logits(crossing.images)
    result = result_of(
        classifier, goal, images, crossing.images, logits_before, logits, crossing.had_gradient
    )
    # Of each step the pass that is linearised, with a gradient per candidate, and the one after it.
    gradients, padded = options.candidates * crossing.steps, 2 * (crossing.most - crossing.steps)
    result = result.counting(2 * crossing.steps + 3, gradients, padded)
    return result._replace(first_step=jnp.where(result.success, crossing.steps, -1))


class Crossing(NamedTuple):
    """Images on their way over the boundary.

    Attributes:
        images: after the steps so far.
        change: the sum of the steps, before the overshoot and clipping.
        steps: how many each image has taken.
        left: whether each image has left its label.
        had_gradient: whether each image had a gradient to follow, or needed none.
        most: the steps of the image that has taken most.
    """

    images: Float[Array, "n h w c"]
    change: Float[Array, "n h w c"]
    steps: Int[Array, " n"]
    left: Bool[Array, " n"]
    had_gradient: Bool[Array, " n"]
    most: Int[Array, ""]


def cross_boundary(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    *,
    norm: CommonNorm,
    steps: int,
    overshoot: float | Float[Array, ""],
    candidates: int,
    eight_bit: bool = False,
) -> Crossing:
    """DeepFool without its checks, as part of a compiled function."""
    logits = classifier.logits(images)
    nearest = likeliest_others(logits, labels, candidates)

    def unfinished(crossing: Crossing) -> Bool[Array, ""]:
        return (crossing.most < steps) & ~crossing.left.all()

    def step(crossing: Crossing) -> Crossing:
        direction, had_gradient = _to_boundary(classifier, norm, crossing.images, labels, nearest)
        change = crossing.change + direction
        moved = jnp.clip(images + (1 + overshoot) * change, 0, 1)
        moved = round_to_8_bits(moved) if eight_bit else moved
        moved = where_rows(crossing.left, crossing.images, moved)
        return Crossing(
            images=moved,
            change=change,
            steps=crossing.steps + ~crossing.left,
            left=jnp.argmax(classifier.logits(moved), axis=1) != labels,
            had_gradient=crossing.had_gradient | had_gradient,
            most=crossing.most + 1,
        )

    left = jnp.argmax(logits, axis=1) != labels
    none = jnp.zeros(len(labels), jnp.int32)
    start = Crossing(images, jnp.zeros_like(images), none, left, left, jnp.int32(0))
    return jax.lax.while_loop(unfinished, step, start)


def _to_boundary(
    classifier: Classifier,
    norm: CommonNorm,
    images: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    candidates: Int[Array, "n k"],
) -> tuple[Float[Array, "n h w c"], Bool[Array, " n"]]:
    """The step of each image to the nearest boundary of the linearised classifier, and if there is one."""
    rows = jnp.arange(len(labels))
    logits, pull_back = jax.vjp(classifier.logits, images)

    def difference(candidate: Int[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, "n h w c"]]:
        cotangent = jnp.zeros_like(logits).at[rows, candidate].add(1).at[rows, labels].add(-1)
        return logits[rows, candidate] - logits[rows, labels], pull_back(cotangent)[0]

    f, w = jax.vmap(difference)(candidates.T)
    dual = jnp.sqrt(jnp.square(w).sum(axis=(2, 3, 4))) if norm == "l2" else jnp.abs(w).sum(axis=(2, 3, 4))
    flat = dual == 0
    distance = jnp.where(flat, jnp.inf, jnp.abs(f) / jnp.where(flat, 1, dual))
    closest = jnp.argmin(distance, axis=0)
    w, dual, distance = w[closest, rows], dual[closest, rows], distance[closest, rows]
    length = of_rows(jnp.where(jnp.isfinite(distance), distance + _BEYOND_BOUNDARY, 0))
    direction = w / of_rows(jnp.maximum(dual, jnp.finfo(dual.dtype).tiny))
    return length * (direction if norm == "l2" else jnp.sign(w)), ~flat.all(axis=0)
