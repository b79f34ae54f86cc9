"""Many small steps of equal size in every pixel: from panda to vulture."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import (
    AttackResult,
    Goal,
    first_true,
    input_gradient,
    require_gradient,
    require_images,
    result_of,
)
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_not_negative, require_positive


def iterated_gradient_sign(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    *,
    steps: int,
    step_size: float,
    epsilon: float | None = None,
    key: Key[Array, ""] | None = None,
    watch: Int[Array, "n m"] | None = None,
) -> AttackResult:
    r"""Iterated gradient sign steps, within a ball or free, from the image or from a random start.

    $$x_{i+1} = \text{clip}_{B}(x_i + \alpha \, \text{sign}(\nabla_x J(x_i, y))), \quad
    B = [0, 1] \cap [x_0 - \epsilon, x_0 + \epsilon]$$

    with `J = -log p(y)` of the label for an `Untargeted` goal, and `J = log p(y)` for a `Targeted` one.
    Without a ball these are the steps of J. Evans, whose panda becomes a vulture by 100 steps of 0.9 / 100 of
    a grey level; with one, the basic iterative method (Kurakin, Goodfellow & Bengio, 2017, section 2.2); with
    a ball and a random start, projected gradient descent (Madry et al., ICLR 2018, section 2.1).

    Args:
        classifier: what to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        steps: how many, at least one.
        step_size: the alpha, by which every pixel changes in one step, in [0, 1] units; 0 or more.
        epsilon: the most by which a pixel may differ from its original; no limit if not given.
        key: start at a point drawn uniformly from the ball, instead of at the image.
        watch: the classes of each image whose confidences the trajectory records; all if not given.

    Returns:
        The images after the last step, with the trajectory and the first step that reached the goal.

    Raises:
        UsageError: as `fast_gradient_sign`, or no steps, or a random start without a ball.
        NoGradientError: the gradient is zero at every start.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Targeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> goal = Targeted(jnp.array([1]))
        >>> result = iterated_gradient_sign(classifier, images, goal, steps=10, step_size=0.01)
        >>> result.trajectory.shape, result.distortion.round(6).tolist()
        ((11, 1, 2), [0.10000000149011612])
    """
    require_images(classifier, images, goal)
    require_positive(steps=steps)
    require_not_negative(step_size=step_size, epsilon=0.0 if epsilon is None else epsilon)
    if key is not None and epsilon is None:
        raise UsageError("a random start needs a ball to be drawn from: give epsilon, 0.1 for instance")
    radius = jnp.inf if epsilon is None else epsilon
    result, found = _iterate(classifier, images, goal, steps, step_size, radius, key, watch)
    require_gradient(classifier, found, result)
    return result


@partial(jax.jit, static_argnames="steps")
def _iterate(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    steps: int,
    step_size: float | Float[Array, ""],
    radius: float | Float[Array, ""],
    key: Key[Array, ""] | None,
    watch: Int[Array, "n m"] | None,
) -> tuple[AttackResult, Bool[Array, ""]]:
    lowest, highest = jnp.maximum(images - radius, 0), jnp.minimum(images + radius, 1)

    def seen(logits: Float[Array, "n k"]) -> tuple[Array, Array]:
        confidences = classifier.activate(logits)
        if watch is not None:
            confidences = jnp.take_along_axis(confidences, watch, axis=1)
        return confidences, goal.reached(logits)

    def step(attacked: Float[Array, "n h w c"], _: None) -> tuple[Array, Any]:
        gradient, logits = input_gradient(classifier, attacked, goal)
        moved = jnp.clip(attacked + step_size * jnp.sign(gradient), lowest, highest)
        return moved, (*seen(logits), gradient.any())

    start = images
    if key is not None:
        start = jax.random.uniform(key, images.shape, images.dtype, images - radius, images + radius)
        start = jnp.clip(start, lowest, highest)
    attacked, (trajectory, reached, found) = jax.lax.scan(step, start, length=steps)
    logits = classifier.logits(attacked)
    last_confidences, last_reached = seen(logits)
    result = result_of(classifier, goal, images, attacked, classifier.logits(images), logits)._replace(
        trajectory=jnp.concatenate([trajectory, last_confidences[None]]),
        first_step=first_true(jnp.concatenate([reached, last_reached[None]])),
    )
    return result, found[0]
