"""One step along the gradient of the loss, of equal size in every pixel."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evofool.attacks.attack import (
    AttackResult,
    in_parts,
    input_gradient,
    require_attackable,
    result_of,
    some,
    unattacked,
)
from evofool.attacks.balls import Norm, radius, require_ball, steepest
from evofool.attacks.goals import Goal
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier

_EPSILONS = (0.25, 0.007)
"""Of the paper, for grey images and for colour."""


@dataclass(frozen=True)
class FastGradientSignOptions(AttackOptions):
    """The size of the step.

    Attributes:
        epsilon: the size of the step in its norm, 0 or more. For linf this is the change of every pixel, at
            most 1, and by default the paper's: 0.25 for grey images (MNIST), 0.007 for colour (ImageNet). l2
            and l1 have no default.
        norm: linf; l2, a step along the gradient itself, of this Euclidean length; l1, an equal change of the
            hundredth of the values with the largest gradients.

    Raises:
        UsageError: epsilon is out of range, or there is no such norm.
    """

    epsilon: float | None = None
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ball(self.epsilon, self.norm)


def fast_gradient_sign(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: FastGradientSignOptions = FastGradientSignOptions(),
) -> AttackResult:
    r"""The fast gradient sign method (Goodfellow, Shlens & Szegedy, ICLR 2015, section 4).

    $$x' = \text{clip}_{[0, 1]}(x + \epsilon \, \text{sign}(\nabla_x J(x, y)))$$

    with the loss `J = -log p(y)` for an `Untargeted` goal, and `J = log p(y)` for a `Targeted` one. Of all
    changes of at most `epsilon` in each pixel it raises a linear loss most. For another norm, the step is the
    one of this size that does so.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        options: the size of the step.

    Raises:
        UsageError: there are no images, they are not in [0, 1] or not of the classifier's size, there is not
            one class for each, the classifier does not have a class, or epsilon is needed and not given.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Untargeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((3, 2, 2, 1), 0.5)
        >>> fast_gradient_sign(classifier, images, Untargeted([0, 1, 0])).distortion.tolist()
        [0.25, 0.25, 0.25]
    """
    require_attackable(classifier, images, goal, options.goals)
    epsilon = radius(options.epsilon, options.norm, images.shape[1:], _EPSILONS)
    chosen = replace(options, epsilon=epsilon, max_queries=None)
    step = options.affordable(1, each=1, fixed=2)
    attack = partial(_attack, classifier, chosen) if step else partial(unattacked, classifier)
    return in_parts(attack, images, goal).against(classifier, goal, options)


def _attack(
    classifier: Classifier, options: FastGradientSignOptions, images: Float[Array, "n h w c"], goal: Goal
) -> AttackResult:
    attacked, logits, had_gradient = _step(classifier, options, images, goal)
    return _assess(classifier, images, attacked, goal, logits, had_gradient)


@jax.jit
def _step(
    classifier: Classifier, options: FastGradientSignOptions, images: Float[Array, "n h w c"], goal: Goal
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"], Bool[Array, " n"]]:
    gradient, logits = input_gradient(classifier, images, goal)
    assert options.epsilon is not None
    attacked = jnp.clip(images + options.epsilon * steepest(gradient, options.norm), 0, 1)
    return attacked, logits, some(gradient)


# A program of its own: in one program the step is fused with the second pass, which is then slower on a CPU.
@jax.jit
def _assess(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    goal: Goal,
    logits: Float[Array, "n k"],
    had_gradient: Bool[Array, " n"],
) -> AttackResult:
    after = classifier.logits(attacked)
    return result_of(classifier, goal, images, attacked, logits, after, had_gradient).counting(2, 1)
