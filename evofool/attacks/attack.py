"""What all attacks share: their result, the gradient that they follow, batches, and what they refuse."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from evofool.attacks.goals import Goal
from evofool.attacks.options import AttackOptions
from evofool.classifiers.black_box import AnyClassifier
from evofool.classifiers.classifier import Classifier
from evofool.classifiers.scoring import batch_size_of, logits_in_batches
from evofool.errors import UsageError
from evofool.images import round_to_8_bits
from evofool.numerics.batches import in_batches
from evofool.numerics.random_numbers import fold_in_each


class AttackResult(NamedTuple):
    """The images that an attack made, and how the classifier sees them.

    Attributes:
        originals: the images before the attack, in [0, 1].
        images: the attacked images, in [0, 1].
        confidences_before: of the original images, in [0, 1].
        confidences: of the attacked images, in [0, 1].
        success: whether each image reached its goal. An image that the classifier got wrong from the start
            has reached an untargeted goal, as in an error rate.
        had_gradient: whether each image had a gradient to follow, at its first step; an image without one is
            left as it was. Only of an attack that follows gradients.
        trajectory: the confidences of the watched classes (all by default) before the first step and after
            each step; only of an attack that takes equal steps.
        first_step: the number of steps after which the goal was first reached (0: from the start), -1 if it
            never was; only of an attack that takes steps.
        perturbation: the change that all images share, before they are clipped to [0, 1]; only of a
            universal perturbation.
        fooling_rates: the share of the images that had reached their goal after each pass, nan for passes
            that were not needed; only of a universal perturbation.
        fooled_by: which attack of an ensemble reached the goal, by its place in their order; -1 where none
            did, or none was needed.
        queries: how many images the classifier was asked about for each image, the original among them; of
            an attack that follows gradients its forward passes. None if the attack does not count.
        gradient_queries: how many gradients were computed, which are backward passes.
        cached_queries: how many more were not asked about, because the answer was known; only of a black box.
        padded_queries: how many more were scored for nothing, because others in the batch were not finished.
        classifier: what was attacked.
        goal: what was wanted of each image.
        options: of the attack; None if another than an attack of this package made the images.
    """

    originals: Float[Array, "n h w c"]
    images: Float[Array, "n h w c"]
    confidences_before: Float[Array, "n k"]
    confidences: Float[Array, "n k"]
    success: Bool[Array, " n"]
    had_gradient: Bool[Array, " n"] | None = None
    trajectory: Float[Array, "t n m"] | None = None
    first_step: Int[Array, " n"] | None = None
    perturbation: Float[Array, "h w c"] | None = None
    fooling_rates: Float[Array, " passes"] | None = None
    fooled_by: Int[Array, " n"] | None = None
    queries: Int[Array, " n"] | None = None
    gradient_queries: Int[Array, " n"] | None = None
    cached_queries: Int[Array, " n"] | None = None
    padded_queries: Int[Array, " n"] | None = None
    classifier: AnyClassifier | None = None
    goal: Goal | None = None
    options: AttackOptions | None = None

    def against(
        self, classifier: AnyClassifier, goal: Goal, options: AttackOptions | None = None
    ) -> "AttackResult":
        """The same result with what was attacked, which `quantised` and `save` ask again.

        Every attack ends with this.
        """
        return self._replace(classifier=classifier, goal=goal, options=options)

    def counting(
        self,
        queries: int | Int[Array, " n"],
        gradients: int | Int[Array, " n"],
        padded: int | Int[Array, " n"] = 0,
    ) -> "AttackResult":
        """The same result with the passes that each image took: forward, backward, and for nothing."""

        def each(count: int | Int[Array, " n"]) -> Int[Array, " n"]:
            return jnp.broadcast_to(jnp.asarray(count), len(self.images))

        return self._replace(
            queries=each(queries), gradient_queries=each(gradients), padded_queries=each(padded)
        )

    @property
    def quantised(self) -> "AttackResult":
        """The result of the images rounded to 8 bits, as a PNG has them; measured anew at each call.

        Rounding undoes changes below half a grey level, so that fewer images may have reached their goal.

        Raises:
            UsageError: nobody has said what was attacked: see `against`.

        Example:
            >>> from evofool import create_classifier
            >>> from evofool.attacks import Targeted
            >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
            >>> black, dark = jnp.zeros((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 0.001)
            >>> result = assess(classifier, black, dark, Targeted([1]))
            >>> result.l0.tolist(), result.quantised.l0.tolist()
            ([4], [0])
        """
        classifier, goal = self.attacked
        rounded = assess(classifier, self.originals, round_to_8_bits(self.images), goal)
        return rounded._replace(had_gradient=self.had_gradient, options=self.options)

    @property
    def attacked(self) -> tuple[AnyClassifier, Goal]:
        """The classifier that was attacked, and what was wanted of each image.

        Raises:
            UsageError: nobody has said it.
        """
        if self.classifier is None or self.goal is None:
            raise UsageError("this result lacks what was attacked: call result.against(classifier, goal)")
        return self.classifier, self.goal

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Save an 8-bit PNG of each image and each change, a table of how the files are seen, and a config.

        These are `images/`, `changes/`, `changes_x50/`, `results.csv` and `config.json` of `evofool attack`.

        Args:
            path: the directory; a new or an empty one.
            names: of the files, one for each image; by default numbers.
            overwrite: replace what an earlier call saved there.

        Raises:
            UsageError: the directory holds anything else, there is not one name for each image, or nobody has
                said what was attacked: see `against`.
            EvofoolError: it cannot be written.

        Example:
            >>> import tempfile
            >>> from evofool import create_classifier
            >>> from evofool.attacks import Untargeted, fast_gradient_sign
            >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
            >>> result = fast_gradient_sign(classifier, jnp.full((2, 2, 2, 1), 0.5), Untargeted([0, 1]))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     result.save(folder)
            ...     sorted(os.listdir(f"{folder}/images"))
            ['00000.png', '00001.png']
        """
        from evofool.attacks.saving import save_result  # which needs the attacks

        save_result(self, path, names=names, overwrite=overwrite)

    @property
    def distortion(self) -> Float[Array, " n"]:
        """`sqrt(mean((x' - x)^2))` of each image (Szegedy et al., ICLR 2014, section 4.2)."""
        return _sizes(self.originals, self.images).distortion

    @property
    def l0(self) -> Int[Array, " n"]:
        """How many values of each image changed."""
        return _sizes(self.originals, self.images).l0

    @property
    def l1(self) -> Float[Array, " n"]:
        """The sum of the absolute changes of each image."""
        return _sizes(self.originals, self.images).l1

    @property
    def l2(self) -> Float[Array, " n"]:
        """The Euclidean length of each image's change."""
        return _sizes(self.originals, self.images).l2

    @property
    def linf(self) -> Float[Array, " n"]:
        """The largest absolute change of a value of each image."""
        return _sizes(self.originals, self.images).linf

    def __repr__(self) -> str:
        if not is_known(self.images):
            return f"AttackResult({len(self.images)} images)"
        return (
            f"AttackResult({len(self.images)} images, success {float(self.success.mean()):.1%}, "
            f"mean distortion {float(self.distortion.mean()):.3g})"
        )


class _Sizes(NamedTuple):
    """The sizes of the change of each image, by the names that a result has for them."""

    distortion: Float[Array, " n"]
    l0: Int[Array, " n"]
    l1: Float[Array, " n"]
    l2: Float[Array, " n"]
    linf: Float[Array, " n"]


@jax.jit
def _sizes(originals: Float[Array, "n h w c"], images: Float[Array, "n h w c"]) -> _Sizes:
    change, axes = images - originals, (1, 2, 3)
    return _Sizes(
        distortion=jnp.sqrt(jnp.mean(jnp.square(change), axis=axes)),
        l0=jnp.sum(change != 0, axis=axes),
        l1=jnp.sum(jnp.abs(change), axis=axes),
        l2=jnp.sqrt(jnp.sum(jnp.square(change), axis=axes)),
        linf=jnp.max(jnp.abs(change), axis=axes),
    )


def input_gradient(
    classifier: Classifier, images: Float[Array, "n h w c"], goal: Goal
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """The gradient of the goal's objective with respect to each image, and the logits on the way.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: what is wanted of each image. Its objective is the log-odds of a confidence or their negative,
            which has the direction of the loss's gradient and does not vanish where the confidence is 1.

    Returns:
        The direction in which each image comes nearer to its goal, zero where it is not a number, and the
        logits of the images.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Targeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> gradient, logits = input_gradient(classifier, jnp.zeros((3, 2, 2, 1)), Targeted([0, 1, 0]))
        >>> gradient.shape, logits.shape
        ((3, 2, 2, 1), (3, 2))
    """

    def total_objective(images: Float[Array, "n h w c"]) -> tuple[Array, Array]:
        logits = classifier.logits(images)
        return goal.objective(classifier, logits).sum(), logits

    gradient, logits = jax.grad(total_objective, has_aux=True)(images)
    return jnp.where(jnp.isnan(gradient), 0, gradient), logits


def assess(
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    goal: Goal,
) -> AttackResult:
    """The result of any change of images, whoever made it.

    Args:
        classifier: the classifier to be fooled; the images may have been made for another.
        images: the originals, values in [0, 1].
        attacked: the same after the change, for instance rounded to 8 bits and read from a file.
        goal: what was wanted of each image.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Targeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> black, grey = jnp.zeros((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 0.5)
        >>> result = assess(classifier, black, grey, Targeted([1]))
        >>> result.l0.tolist(), result.l1.tolist(), result.l2.tolist(), result.linf.tolist()
        ([4], [2.0], [1.0], [0.5])
    """
    logits_before, logits = (logits_in_batches(classifier, each) for each in (images, attacked))
    result = _result_of(classifier, goal, images, attacked, logits_before, logits)
    return result.against(classifier, goal)


def predicted_classes(classifier: AnyClassifier, images: Float[Array, "n h w c"]) -> Int[Array, " n"]:
    """The class of each image according to the classifier: the usual `Untargeted` goal.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> predicted_classes(classifier, jnp.zeros((3, 2, 2, 1))).shape
        (3,)
    """
    return jnp.argmax(logits_in_batches(classifier, images), axis=1)


def first_step_above(confidences: Float[Array, "t n"], threshold: float) -> Int[Array, " n"]:
    """The number of steps after which each image first exceeds a confidence; -1 if it never does.

    Args:
        confidences: of one class for each image, before the first step and after each: a column of a
            trajectory.
        threshold: the confidence, in [0, 1].

    Example:
        >>> first_step_above(jnp.array([[0.1, 0.2], [0.995, 0.3], [0.999, 0.4]]), 0.99).tolist()
        [1, -1]
    """
    return first_true(confidences > threshold)


# For the attacks themselves


class Observed(NamedTuple):
    """What a trajectory records of a step, or of all steps."""

    confidences: Float[Array, "*t n m"]
    reached: Bool[Array, "*t n"]


def observe(
    classifier: Classifier, goal: Goal, logits: Float[Array, "n k"], watch: Int[Array, "n m"] | None
) -> Observed:
    """The confidences of the watched classes (all if None), and which images have reached the goal."""
    confidences = classifier.activate(logits)
    if watch is not None:
        confidences = jnp.take_along_axis(confidences, watch, axis=1)
    return Observed(confidences, goal.reached(logits))


def with_trajectory(result: AttackResult, steps: Observed, last: Observed) -> AttackResult:
    """The result of an attack that takes steps, from what was observed before each step and at the end."""
    confidences, reached = (jnp.concatenate([a, b[None]]) for a, b in zip(steps, last, strict=True))
    return result._replace(trajectory=confidences, first_step=first_true(reached))


def result_of(
    classifier: AnyClassifier,
    goal: Goal,
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    logits_before: Float[Array, "n k"],
    logits: Float[Array, "n k"],
    had_gradient: Bool[Array, " n"] | None = None,
) -> AttackResult:
    """The result of an attack that has the logits of both the original and the attacked images."""
    return AttackResult(
        originals=images,
        images=attacked,
        confidences_before=classifier.activate(logits_before),
        confidences=classifier.activate(logits),
        success=goal.reached(logits),
        had_gradient=had_gradient,
    )


_result_of = jax.jit(result_of)


@partial(jax.jit, static_argnames="stepwise")
def unattacked(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    watch: Int[Array, "n m"] | None = None,
    *,
    stepwise: bool = False,
) -> AttackResult:
    """The result of an attack that may not take a step: one query for each image, which stays as it is.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: what is wanted of each image.
        watch: the classes of each image in the trajectory; all if not given.
        stepwise: whether there is a trajectory.
    """
    logits = classifier.logits(images)
    result = result_of(classifier, goal, images, images, logits, logits).counting(1, 0)
    if not stepwise:
        return result
    seen = observe(classifier, goal, logits, watch)
    return result._replace(trajectory=seen.confidences[None], first_step=first_true(seen.reached[None]))


def in_parts(
    attack: Callable[..., AttackResult], images: Float[Array, "n h w c"], *arguments: PyTree
) -> AttackResult:
    """Attack any number of images in bounded memory.

    Args:
        attack: takes images and as many rows of each argument.
        images: all images.
        arguments: pytrees of arrays with a row for each image, such as a goal.
    """
    size = batch_size_of(images.shape[1:])
    if len(images) <= size:
        return attack(images, *arguments)

    def images_first(part: tuple[PyTree, ...]) -> AttackResult:
        return _swap_trajectory(attack(*part))

    return _swap_trajectory(in_batches(images_first, (images, *arguments), size))


def _swap_trajectory(result: AttackResult) -> AttackResult:
    """Exchange the axes of steps and images."""
    if result.trajectory is None:
        return result
    return result._replace(trajectory=jnp.swapaxes(result.trajectory, 0, 1))


def image_keys(seed: int, count: int) -> Key[Array, " n"]:
    """A key for each image, of the seed and of its place among all images."""
    return fold_in_each(jax.random.key(seed), jnp.arange(count))


def first_true(reached: Bool[Array, "t n"]) -> Int[Array, " n"]:
    """The first row that is true in each column, -1 where none is."""
    return jnp.where(reached.any(axis=0), jnp.argmax(reached, axis=0), -1)


def some(gradient: Float[Array, "n h w c"]) -> Bool[Array, " n"]:
    """Whether each image has a gradient that is not zero everywhere."""
    return gradient.any(axis=(1, 2, 3))


def require_attackable(
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    goals: tuple[type[Goal], ...] = AttackOptions.goals,
) -> None:
    """Raise `UsageError` unless there are images in [0, 1], a class for each, and the right kind of goal.

    Values are checked only where they are known: inside a compiled function only shapes are.
    """
    if not isinstance(goal, goals):
        allowed = " or ".join(f"{kind.__name__}(classes)" for kind in goals)
        raise UsageError(f"the goal of this attack is {allowed}, not {type(goal).__name__}")
    classifier.require_images(images)
    if len(goal.classes) != len(images):
        raise UsageError(f"each image needs a class: {len(images)} images, {len(goal.classes)} classes")
    count = len(classifier.spec.class_names)
    if count == 1:
        raise UsageError(f"{classifier.spec.name} has only one class: there is no other to mistake it for")
    if is_known(goal.classes) and not np.isin(goal.classes, np.arange(count)).all():
        raise UsageError(f"the classes of {classifier.spec.name} are 0 to {count - 1}")


def is_known(array: Array | float) -> bool:
    """Whether an array has values already: inside a compiled function it has only a shape."""
    return not isinstance(array, jax.core.Tracer)
