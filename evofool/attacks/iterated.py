"""Many small steps of equal size in every pixel: from panda to vulture."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import (
    AttackResult,
    Observed,
    in_parts,
    input_gradient,
    observe,
    require_attackable,
    result_of,
    some,
    unattacked,
    with_trajectory,
)
from evofool.attacks.balls import on_grid, within
from evofool.attacks.goals import Goal
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_not_negative, require_positive, require_share


@dataclass(frozen=True)
class IteratedGradientSignOptions(AttackOptions):
    """The steps, and the ball that they stay in.

    Attributes:
        steps: the number of steps, at least one.
        change: the most that all steps together may change a pixel, in grey levels (of 255), 0 or more; each
            step changes it by `change / 255 / steps`. Evans' is 0.9, but saving an image with 8 bits undoes a
            change of less than half a level.
        epsilon: the most that a pixel may differ from its original, in [0, 1] units; no limit if not given.
        eight_bit: see every image rounded to 8 bits on the way, so that its success survives saving.

    Raises:
        UsageError: a value is out of range.
    """

    steps: int = 100
    change: float = 2.0
    epsilon: float | None = None
    eight_bit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(steps=self.steps)
        require_not_negative(change=self.change)
        require_share(epsilon=self.epsilon)

    @property
    def step_size(self) -> float:
        """The change of every pixel in one step, in [0, 1] units."""
        return self.change / 255 / self.steps


def iterated_gradient_sign(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: IteratedGradientSignOptions = IteratedGradientSignOptions(),
    *,
    watch: Int[Array, "n m"] | None = None,
) -> AttackResult:
    r"""Iterated gradient sign steps from the image, within a ball or free.

    $$x_{i+1} = \text{clip}_{B}(x_i + \alpha \, \text{sign}(\nabla_x J(x_i, y))), \quad
    B = [0, 1] \cap [x_0 - \epsilon, x_0 + \epsilon]$$

    with `J = -log p(y)` for an `Untargeted` goal, and `J = log p(y)` for a `Targeted` one. Without a ball
    these are the steps of J. Evans, whose panda becomes a vulture by 100 steps of 0.9 / 100 of a grey level;
    with one, the basic iterative method (Kurakin, Goodfellow & Bengio, 2017, section 2.2). From random starts
    see `pgd`.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        options: the steps and the ball.
        watch: the classes of each image whose confidences the trajectory records; all if not given.

    Returns:
        The images after the last step, with the trajectory and the first step that reached the goal.

    Raises:
        UsageError: as `fast_gradient_sign`.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Targeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> options = IteratedGradientSignOptions(steps=10, change=25.5)
        >>> result = iterated_gradient_sign(classifier, jnp.full((1, 2, 2, 1), 0.5), Targeted([1]), options)
        >>> result.trajectory.shape, result.linf.round(6).tolist()
        ((11, 1, 2), [0.10000000149011612])
    """
    require_attackable(classifier, images, goal, options.goals)
    radius = jnp.inf if options.epsilon is None else options.epsilon
    steps = options.affordable(options.steps, each=2, fixed=2)
    step_size = replace(options, steps=max(1, steps)).step_size
    attack = partial(_iterate, classifier, steps, options.eight_bit, step_size, radius)
    return in_parts(attack, images, goal, watch).against(classifier, goal, options)


@partial(jax.jit, static_argnums=(1, 2))
def _iterate(
    classifier: Classifier,
    steps: int,
    eight_bit: bool,
    step_size: float | Float[Array, ""],
    radius: float | Float[Array, ""],
    images: Float[Array, "n h w c"],
    goal: Goal,
    watch: Int[Array, "n m"] | None,
) -> AttackResult:
    if not steps:
        return unattacked(classifier, images, goal, watch, stepwise=True)

    def seen(attacked: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        return on_grid(images, attacked, "linf", radius) if eight_bit else attacked

    def step(
        attacked: Float[Array, "n h w c"], _: None
    ) -> tuple[Float[Array, "n h w c"], tuple[Observed, Bool[Array, " n"]]]:
        gradient, logits = input_gradient(classifier, seen(attacked), goal)
        moved = within(images, attacked + step_size * jnp.sign(gradient), "linf", radius)
        return moved, (observe(classifier, goal, logits, watch), some(gradient))

    last, (observed, had_gradient) = jax.lax.scan(step, images, length=steps)
    attacked = seen(last)
    logits = classifier.logits(attacked)
    logits_before = classifier.logits(images)
    result = result_of(classifier, goal, images, attacked, logits_before, logits, had_gradient[0])
    result = result.counting(steps + 2, steps)
    return with_trajectory(result, observed, observe(classifier, goal, logits, watch))
