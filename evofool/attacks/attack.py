"""What all attacks share: what they want, what they return, and what they refuse."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.classifiers.classifier import Classifier
from evofool.errors import EvofoolError, UsageError


class Untargeted(NamedTuple):
    """The goal that an image is no longer classified as its label, whatever it becomes.

    Attributes:
        labels: the class of each image, as an index.

    Example:
        >>> Untargeted(jnp.array([0, 1])).reached(jnp.array([[2.0, 1.0], [2.0, 1.0]])).tolist()
        [False, True]
    """

    labels: Int[Array, " n"]

    def objective(self, classifier: Classifier, logits: Float[Array, "n k"]) -> Float[Array, " n"]:
        """What the attack raises: minus the log-odds of the label."""
        return -log_odds(classifier, logits, self.labels)

    def reached(self, logits: Float[Array, "n k"]) -> Bool[Array, " n"]:
        """Whether each image is classified as anything but its label."""
        return jnp.argmax(logits, axis=1) != self.labels


class Targeted(NamedTuple):
    """The goal that an image is classified as a class that was chosen for it.

    Attributes:
        classes: the class that each image is to become, as an index.

    Example:
        >>> Targeted(jnp.array([0, 1])).reached(jnp.array([[2.0, 1.0], [2.0, 1.0]])).tolist()
        [True, False]
    """

    classes: Int[Array, " n"]

    def objective(self, classifier: Classifier, logits: Float[Array, "n k"]) -> Float[Array, " n"]:
        """What the attack raises: the log-odds of the class."""
        return log_odds(classifier, logits, self.classes)

    def reached(self, logits: Float[Array, "n k"]) -> Bool[Array, " n"]:
        """Whether each image is classified as the class chosen for it."""
        return jnp.argmax(logits, axis=1) == self.classes


Goal = Untargeted | Targeted
"""What an attack wants of each image."""


class AttackResult(NamedTuple):
    """What an attack made of a batch of images, and what the classifier makes of that.

    Attributes:
        images: the attacked images, in [0, 1].
        confidences_before: of the original images, in [0, 1].
        confidences: of the attacked images, in [0, 1].
        success: whether the goal is reached, image by image. An image that the classifier got wrong from
            the start has reached an untargeted goal, as in an error rate.
        distortion: `sqrt(mean((x' - x)^2))` of each image (Szegedy et al., ICLR 2014, section 4.2).
        trajectory: the confidences of the watched classes (all, if none were chosen) before the first step
            and after each; only of a method that takes steps.
        first_step: after how many steps the goal was first reached (0: from the start), -1 if it never was;
            only of a method that takes steps.
    """

    images: Float[Array, "n h w c"]
    confidences_before: Float[Array, "n k"]
    confidences: Float[Array, "n k"]
    success: Bool[Array, " n"]
    distortion: Float[Array, " n"]
    trajectory: Float[Array, "t n m"] | None = None
    first_step: Int[Array, " n"] | None = None


def input_gradient(
    classifier: Classifier, images: Float[Array, "n h w c"], goal: Goal
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """The gradient of the goal's objective with respect to each image, and the logits on the way.

    Args:
        classifier: what to fool.
        images: values in [0, 1].
        goal: what is wanted of each image. Its objective is the log-odds of a confidence or their negative,
            which has the direction of the loss's gradient and does not vanish where the confidence is 1.

    Returns:
        The direction in which each image comes nearer to its goal, and the logits of the images.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> black, goal = jnp.zeros((3, 2, 2, 1)), Targeted(jnp.array([0, 1, 0]))
        >>> gradient, logits = input_gradient(classifier, black, goal)
        >>> gradient.shape, logits.shape
        ((3, 2, 2, 1), (3, 2))
    """

    def total_objective(images: Float[Array, "n h w c"]) -> tuple[Array, Array]:
        logits = classifier.logits(images)
        return goal.objective(classifier, logits).sum(), logits

    gradient, logits = jax.grad(total_objective, has_aux=True)(images)
    return gradient, logits


def log_odds(
    classifier: Classifier, logits: Float[Array, "n k"], classes: Int[Array, " n"]
) -> Float[Array, " n"]:
    r"""The log-odds `log p - log(1 - p)` of one class's confidence for each image.

    Every loss of the papers is a monotone function of them (`-log p` is `softplus(-odds)`), so they have the
    same gradient up to a positive factor. With a softmax that factor is `1 - p`, which float32 loses where
    the classifier is certain: there the gradient of `-log p` itself is rounding error, or zero.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> log_odds(classifier, jnp.array([[30.0, -70.0]]), jnp.array([0])).tolist()
        [100.0]
    """
    of_class = jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
    if classifier.spec.activation == "sigmoid":
        return of_class
    others = jnp.where(jnp.arange(logits.shape[1]) == classes[:, None], -jnp.inf, logits)
    return of_class - jax.nn.logsumexp(others, axis=1)


def assess(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    goal: Goal,
) -> AttackResult:
    """What a change of images achieves, whoever made it: the result without its steps.

    Args:
        classifier: what is to be fooled; it need not be the one that the images were made for.
        images: the originals, values in [0, 1].
        attacked: the same after the change, for instance rounded to 8 bits and read from a file.
        goal: what was wanted of each image.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> black, grey = jnp.zeros((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 0.5)
        >>> assess(classifier, black, grey, Targeted(jnp.array([1]))).distortion.tolist()
        [0.5]
    """
    logits_before, logits = classifier.logits(images), classifier.logits(attacked)
    return result_of(classifier, goal, images, attacked, logits_before, logits)


def result_of(
    classifier: Classifier,
    goal: Goal,
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    logits_before: Float[Array, "n k"],
    logits: Float[Array, "n k"],
) -> AttackResult:
    """The result of an attack that has the logits of both the original and the attacked images."""
    return AttackResult(
        images=attacked,
        confidences_before=classifier.activate(logits_before),
        confidences=classifier.activate(logits),
        success=goal.reached(logits),
        distortion=jnp.sqrt(jnp.mean(jnp.square(attacked - images), axis=(1, 2, 3))),
    )


def random_targets(key: Key[Array, ""], labels: Int[Array, " n"], classifier: Classifier) -> Int[Array, " n"]:
    """A class for each image, drawn uniformly from all but its label.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> random_targets(jax.random.key(0), jnp.array([0, 1, 1]), classifier).tolist()
        [1, 0, 0]
    """
    classes = len(classifier.spec.class_names)
    return (labels + jax.random.randint(key, labels.shape, 1, classes)) % classes


def first_step_above(confidences: Float[Array, "t n"], threshold: float) -> Int[Array, " n"]:
    """After how many steps each image first has more than a confidence; -1 if it never has.

    Args:
        confidences: of one class for each image, before the first step and after each: a column of a
            trajectory.
        threshold: the confidence, in [0, 1].

    Example:
        >>> first_step_above(jnp.array([[0.1, 0.2], [0.995, 0.3], [0.999, 0.4]]), 0.99).tolist()
        [1, -1]
    """
    return first_true(confidences > threshold)


def first_true(reached: Bool[Array, "t n"]) -> Int[Array, " n"]:
    """The first row that is true in each column, -1 where none is."""
    return jnp.where(reached.any(axis=0), jnp.argmax(reached, axis=0), -1)


def require_images(classifier: Classifier, images: Float[Array, "n h w c"], goal: Goal) -> None:
    """Raise `UsageError` unless there are images in [0, 1] and a class of the classifier for each.

    Values are looked at only where there are any: inside of a compiled function just the shapes are.
    """
    (classes,) = goal
    if len(images) == 0:
        raise UsageError("there are no images to attack")
    if len(classes) != len(images):
        raise UsageError(f"each image needs a class: {len(images)} images, {len(classes)} classes")
    count = len(classifier.spec.class_names)
    if count == 1:
        raise UsageError(f"{classifier.spec.name} has one class only: there is no other to be taken for")
    if is_known(classes) and not np.isin(classes, np.arange(count)).all():
        raise UsageError(f"the classes of {classifier.spec.name} are 0 to {count - 1}")
    if is_known(images) and not (np.min(images) >= 0 and np.max(images) <= 1):
        raise UsageError("images must have values in [0, 1]: divide 8-bit images by 255")


class NoGradientError(EvofoolError):
    """No image of a batch had a gradient to follow.

    Attributes:
        result: what became of the images all the same, for whoever attacks several batches and goes on.
    """

    def __init__(self, classifier: Classifier, result: AttackResult) -> None:
        super().__init__(
            f"the gradient of {classifier.spec.name} is zero at the start, so no direction leads anywhere: "
            "take iterated steps from a random start (`evofool attack iterated --random-start --epsilon 0.1`)"
        )
        self.result = result


def require_gradient(classifier: Classifier, found: Bool[Array, ""], result: AttackResult) -> None:
    """Raise `NoGradientError` if no image of the batch had a gradient to follow."""
    if is_known(found) and not bool(found):
        raise NoGradientError(classifier, result)


def is_known(array: Array | float) -> bool:
    """Whether an array has values already: inside of a compiled function it has a shape only."""
    return not isinstance(array, jax.core.Tracer)
