"""Linear classifiers: their weights are images, and adding a little of one turns any image into its class.

Even linear classifiers are fooled. Two examples by hand. The first is that of the question-and-answer thread:
ten inputs, each moved by one half in the direction of the sign of its weight, take the class from 5% to 88%,
although no input changes by much:

>>> weights = jnp.array([-1.0, -1, 1, -1, 1, -1, 1, 1, -1, 1])
>>> inputs = jnp.array([2.0, -1, 3, -2, 2, 2, 1, -4, 5, 1])
>>> round(float(jax.nn.sigmoid(weights @ inputs)), 4)
0.0474
>>> moved = inputs + 0.5 * jnp.sign(weights)
>>> moved.tolist()
[1.5, -1.5, 3.5, -2.5, 2.5, 1.5, 1.5, -3.5, 4.5, 1.5]
>>> round(float(jax.nn.sigmoid(weights @ moved)), 2)
0.88

The sum grows by one half for each of the ten inputs, from -3 to 2; with a thousand inputs, each would need to
move by only one two-hundredth. The second, of J. Evans, has the weights 23, -3, 9, 2 and 5. For inputs whose
weighted sum is 1 the answer is uncertain; a tenth more or less of each makes it certain:

>>> weights = jnp.array([23.0, -3, 9, 2, 5])
>>> inputs = jnp.array([0.5, -0.5, -1.5, 0.5, 0.1])
>>> gradient = jax.grad(lambda inputs: jax.nn.log_sigmoid(weights @ inputs))(inputs)
>>> bool((jnp.sign(gradient) == jnp.sign(weights)).all())
True
>>> [round(float(jax.nn.sigmoid(weights @ (inputs + e * jnp.sign(gradient)))), 3) for e in (-0.1, 0, 0.1)]
[0.039, 0.731, 0.995]
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evofool.attacks.attack import AttackResult, in_parts, require_attackable, unattacked
from evofool.attacks.goals import Goal, Targeted
from evofool.attacks.options import AttackOptions
from evofool.attacks.universal import add_perturbation
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_share

# Two Jacobians of a linear classifier differ by less than this share of the largest weight, in float32.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class TemplateOptions(AttackOptions):
    """The size of the change.

    Attributes:
        epsilon: the largest change of any pixel, in [0, 1].

    Raises:
        UsageError: epsilon is outside [0, 1].
    """

    epsilon: float = 0.25
    goals = (Targeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share(epsilon=self.epsilon)


def add_template(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: TemplateOptions = TemplateOptions(),
) -> AttackResult:
    r"""Add the template of a class to images (Karpathy, "Breaking Linear Classifiers on ImageNet", 2015).

    $$x' = \text{clip}_{[0, 1]}(x + \epsilon \, w_y / \max|w_y|)$$

    where `w_y` are the weights of the target class. They are read from the classifier once, which is no query
    of an image.

    Args:
        classifier: a linear one.
        images: values in [0, 1].
        goal: `Targeted(classes)`.
        options: the size of the change.

    Raises:
        UsageError: the classifier is not linear, the goal is not targeted, there are no images, they are not
            in [0, 1] or not of its size, there is not one class for each, or the classifier does not have a
            class.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((2, 2, 2, 1), 0.5)
        >>> result = add_template(classifier, images, Targeted([0, 1]), TemplateOptions(epsilon=0.5))
        >>> bool((result.confidences[0, 0] > result.confidences_before[0, 0]))
        True
    """
    require_attackable(classifier, images, goal, options.goals)
    if not options.affordable(1, each=1, fixed=1):
        return in_parts(partial(unattacked, classifier), images, goal).against(classifier, goal, options)
    weights = templates(classifier)[goal.classes]
    largest = jnp.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    perturbations = options.epsilon * weights / jnp.where(largest > 0, largest, 1)
    result = add_perturbation(classifier, images, goal, perturbations).counting(2, 0)
    return result._replace(had_gradient=largest.any(axis=(1, 2, 3)), options=options)


def templates(classifier: Classifier) -> Float[Array, "k h w c"]:
    """The weights of a linear classifier, one image per class (Karpathy, "Breaking Linear Classifiers").

    They are the derivative of the logits with respect to the image, so they include whatever scaling the
    classifier does to pixels.

    Args:
        classifier: a linear one: its logits are a weighted sum of the pixels and a bias.

    Raises:
        UsageError: the classifier is not linear.

    Example:
        >>> from evofool import create_classifier
        >>> templates(create_classifier("linear", (2, 2, 1), ("even", "odd"))).shape
        (2, 2, 2, 1)
    """
    black, white = jax.vmap(_jacobian, in_axes=(None, 0))(
        classifier, jnp.stack([jnp.zeros(classifier.spec.input_shape), jnp.ones(classifier.spec.input_shape)])
    )
    if jnp.abs(white - black).max() > _ROUNDING * jnp.abs(black).max():
        raise UsageError(
            f"{classifier.spec.name} is not linear, so its classes have no templates: "
            "choose a linear classifier, for instance a trained network `linear`"
        )
    return black


@jax.jit
def _jacobian(classifier: Classifier, image: Float[Array, "h w c"]) -> Float[Array, "k h w c"]:
    return jax.jacrev(lambda image: classifier.logits(image[None])[0])(image)
