"""One step of equal size in every pixel, up the slope of the loss."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evofool.attacks.attack import (
    AttackResult,
    Goal,
    input_gradient,
    require_gradient,
    require_images,
    result_of,
)
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_not_negative


def fast_gradient_sign(
    classifier: Classifier, images: Float[Array, "n h w c"], goal: Goal, epsilon: float
) -> AttackResult:
    r"""The fast gradient sign method (Goodfellow, Shlens & Szegedy, ICLR 2015, section 4).

    $$x' = \text{clip}_{[0, 1]}(x + \epsilon \, \text{sign}(\nabla_x J(x, y)))$$

    with the loss `J = -log p(y)` of the label for an `Untargeted` goal, and `J = log p(y)` of the class to be
    reached for a `Targeted` one. Of all changes of at most `epsilon` in each pixel it is the one by which a
    linear loss rises most.

    Args:
        classifier: what to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        epsilon: the change of every pixel, 0 or more; the paper's is 0.25 for MNIST and 0.007 for ImageNet.

    Raises:
        UsageError: there are no images, they are not in [0, 1] or not of the classifier's size, there is not
            one class for each, the classifier lacks one, or `epsilon` is below zero.
        NoGradientError: the gradient is zero at every image.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Untargeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((3, 2, 2, 1), 0.5)
        >>> result = fast_gradient_sign(classifier, images, Untargeted(jnp.array([0, 1, 0])), epsilon=0.25)
        >>> result.distortion.tolist()
        [0.25, 0.25, 0.25]
    """
    require_images(classifier, images, goal)
    require_not_negative(epsilon=epsilon)
    attacked, logits, found = _step(classifier, images, goal, epsilon)
    result = _assess(classifier, images, attacked, goal, logits)
    require_gradient(classifier, found, result)
    return result


@jax.jit
def _step(
    classifier: Classifier, images: Float[Array, "n h w c"], goal: Goal, epsilon: float | Float[Array, ""]
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"], Bool[Array, ""]]:
    gradient, logits = input_gradient(classifier, images, goal)
    return jnp.clip(images + epsilon * jnp.sign(gradient), 0, 1), logits, gradient.any()


# A program of its own: in one, the step is merged into the second pass, which on CPU is then slower.
@jax.jit
def _assess(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    goal: Goal,
    logits: Float[Array, "n k"],
) -> AttackResult:
    return result_of(classifier, goal, images, attacked, logits, classifier.logits(attacked))
