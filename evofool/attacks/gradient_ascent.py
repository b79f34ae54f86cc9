"""From noise, up the slope of a class's confidence, with or without what keeps the image natural."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import (
    AttackResult,
    Targeted,
    first_true,
    input_gradient,
    is_known,
    require_gradient,
    require_images,
    result_of,
)
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_not_negative, require_positive

# Where the released code starts from: N(0, 1) in grey levels around the mean image, or uniform in all levels.
NOISE_LEVEL = 1 / 255
# A Gaussian is cut after as many standard deviations as that of the released code, SciPy's.
_BLUR_REACH = 4.0


class Regularisation(NamedTuple):
    """What is done to the image after each step, in this order; by default nothing.

    All of it acts on the difference from the mean image, so that a pixel that is "zero" shows the mean.
    The percentiles are those of Yosinski et al., "Understanding neural networks through deep visualization"
    (ICML workshop 2015, section 3), and of the code that Nguyen et al. released.

    Attributes:
        decay: L2 decay: the share by which the difference shrinks, in [0, 1].
        blur_radius: standard deviation of a Gaussian blur in pixels; 0 for none, else at least 0.3.
        blur_every: the steps from one blur to the next.
        small_values: the percentage of smallest values (each channel for itself) that are set to zero.
        small_norms: the percentage of pixels of smallest norm over the channels that are set to zero.
        small_benefits: the percentage of pixels of smallest `-x * gradient`, summed over the channels, that
            are set to zero. That is what the class gains, to first order, by zeroing the pixel.
        small_contributions: the same of the absolute value: the pixels that matter least either way.
    """

    decay: float = 0.0
    blur_radius: float = 0.0
    blur_every: int = 1
    small_values: float = 0.0
    small_norms: float = 0.0
    small_benefits: float = 0.0
    small_contributions: float = 0.0


def gradient_ascent(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    targets: Int[Array, " n"],
    *,
    steps: int = 500,
    early_progress: float = 0.03,
    late_progress: float = 0.1,
    learning_rate: float | None = None,
    largest_rate: float = 1e12 / 255**2,
    largest_odds_gain: float | None = 10.0,
    mean_image: Float[Array, "h w c"] | float = 0.5,
    regularisation: Regularisation = Regularisation(),  # noqa: B008 (a tuple of numbers)
    watch: Int[Array, "n m"] | None = None,
) -> AttackResult:
    r"""Gradient ascent on a class's confidence (Nguyen, Yosinski & Clune, CVPR 2015, section 3.9).

    $$x_{i+1} = \text{clip}_{[0, 1]}(R(x_i + \lambda \nabla p)), \quad
    \lambda = \min\left(\lambda_{max}, \frac{\min(e, l (1 - p))}{|\nabla p|^2}\right)$$

    so that, as far as p is linear, a step adds `early_progress` (the e) to the confidence p, and less near
    certainty: `late_progress` (the l) of what is missing. R is the regularisation, none by default; with L2
    decay it is that of Simonyan, Vedaldi & Zisserman (ICLR workshop 2014, equation 1). Settings and defaults
    are those of the released code; it was used with 0.02 to 0.04 for e and 0.02 to 0.2 for l.

    One bound is not in the source. A class that starts at p = 1e-5 has so small a gradient that the rule asks
    for a step through a third of the space of images, and lands where p is smaller still; some classes are
    never found again. So no step aims to raise the log-odds of p by more than `largest_odds_gain`. With the
    defaults that changes only steps from below p = 0.003; None gives the source's rule.

    Args:
        classifier: what to fool.
        images: where to start, values in [0, 1]; see `noise_images`.
        targets: the class to be reached by each image, as an index. Images are independent of each other, so
            one batch may be all classes.
        steps: how many, at least one.
        early_progress: the gain in confidence that a step aims for.
        late_progress: the share of the missing confidence that a step aims for at most.
        learning_rate: a constant lambda instead, in [0, 1] units.
        largest_rate: the lambda that a step never exceeds, in [0, 1] units; the source's 1e12, in units of
            0 to 255, by default.
        largest_odds_gain: the gain in the log-odds of the confidence that a step never aims to exceed; None
            for no such bound, as in the source.
        mean_image: what decay and zeroing lead to, in [0, 1]: an image or one number.
        regularisation: see `Regularisation`.
        watch: the classes of each image whose confidences the trajectory records; all if not given.

    Returns:
        The image of the highest confidence in its target on each way, with the trajectory and the first step
        at which the target was the likeliest class. `first_step_above` tells that of 99 %, 99.9 % or 99.99 %
        from the trajectory. (The released code sets out to keep the best image too, and by a slip in the name
        of a variable keeps the last.)

    Raises:
        UsageError: there are no images, they or the mean image are not in [0, 1], they are not of the
            classifier's size, there is not one target for each, the classifier lacks one, or a setting is out
            of its range.
        NoGradientError: the gradient is zero at every start.

    Example:
        >>> from evofool import load_classifier
        >>> classifier = load_classifier("lenet-digits")
        >>> start = noise_images(jax.random.key(0), 2, classifier)
        >>> result = gradient_ascent(classifier, start, jnp.array([3, 8]), steps=50)
        >>> result.success.tolist(), result.trajectory.shape
        ([True, True], (51, 2, 10))
    """
    goal = Targeted(targets)
    require_images(classifier, images, goal)
    require_positive(
        steps=steps,
        early_progress=early_progress,
        late_progress=late_progress,
        largest_rate=largest_rate,
        largest_odds_gain=largest_odds_gain,
        learning_rate=1.0 if learning_rate is None else learning_rate,
        blur_every=regularisation.blur_every,
    )
    _require_mean_image(mean_image)
    _require_sensible(regularisation)
    settings = (early_progress, late_progress, learning_rate, largest_rate, largest_odds_gain)
    result, found = _ascend(classifier, images, goal, steps, settings, mean_image, regularisation, watch)
    require_gradient(classifier, found, result)
    return result


def noise_images(
    key: Key[Array, ""],
    count: int,
    classifier: Classifier,
    *,
    mean_image: Float[Array, "h w c"] | float = 0.5,
    level: float | None = NOISE_LEVEL,
) -> Float[Array, "n h w c"]:
    """Images to start from: Gaussian noise around the mean image, or uniform noise.

    Args:
        key: of the random numbers.
        count: how many images.
        classifier: gives their size.
        mean_image: the centre of the Gaussian, in [0, 1]: an image or one number.
        level: standard deviation of the Gaussian; by default one grey level, as in the code that Nguyen et
            al. released. None for uniform noise in [0, 1] without regard of the mean image.

    Raises:
        UsageError: the mean image is not in [0, 1], `count` is not positive, or `level` is below zero.

    Example:
        >>> from evofool import create_classifier
        >>> noise_images(jax.random.key(0), 4, create_classifier("mlp", (8, 8, 1), ("even", "odd"))).shape
        (4, 8, 8, 1)
    """
    require_positive(count=count)
    require_not_negative(level=0.0 if level is None else level)
    _require_mean_image(mean_image)
    shape = (count, *classifier.spec.input_shape)
    if level is None:
        return jax.random.uniform(key, shape)
    return jnp.clip(mean_image + level * jax.random.normal(key, shape), 0, 1)


@partial(jax.jit, static_argnames=("steps", "regularisation"))
def _ascend(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Targeted,
    steps: int,
    settings: tuple[Any, ...],
    mean_image: Any,
    regularisation: Regularisation,
    watch: Int[Array, "n m"] | None,
) -> tuple[AttackResult, Bool[Array, ""]]:
    def seen(logits: Float[Array, "n k"]) -> tuple[Array, Array]:
        confidences = classifier.activate(logits)
        if watch is not None:
            confidences = jnp.take_along_axis(confidences, watch, axis=1)
        return confidences, goal.reached(logits)

    def keep_best(best: Any, images: Array, logits: Array) -> Any:
        best_images, best_logits, best_objective = best
        objective = goal.objective(classifier, logits)
        better = objective > best_objective
        return (
            jnp.where(better[:, None, None, None], images, best_images),
            jnp.where(better[:, None], logits, best_logits),
            jnp.where(better, objective, best_objective),
        )

    def step(carry: Any, index: Int[Array, ""]) -> tuple[Any, Any]:
        images, best = carry
        gradient, logits = input_gradient(classifier, images, goal)
        best = keep_best(best, images, logits)
        rate = _rate(goal.objective(classifier, logits), gradient, settings)
        difference = images + rate[:, None, None, None] * gradient - mean_image
        difference = _regularise(difference, gradient, index, regularisation)
        return (jnp.clip(mean_image + difference, 0, 1), best), (*seen(logits), gradient.any())

    logits_before = classifier.logits(images)
    best = images, logits_before, jnp.full(len(images), -jnp.inf)
    (last, best), (trajectory, reached, found) = jax.lax.scan(step, (images, best), jnp.arange(steps))
    logits = classifier.logits(last)
    last_confidences, last_reached = seen(logits)
    attacked, logits, _ = keep_best(best, last, logits)
    result = result_of(classifier, goal, images, attacked, logits_before, logits)._replace(
        trajectory=jnp.concatenate([trajectory, last_confidences[None]]),
        first_step=first_true(jnp.concatenate([reached, last_reached[None]])),
    )
    return result, found[0]


def _rate(
    odds: Float[Array, " n"], gradient: Float[Array, "n h w c"], settings: tuple[Any, ...]
) -> Float[Array, " n"]:
    """The step along the gradient of the log-odds that is lambda along that of p.

    The gradient of p is `p (1 - p)` times that of the log-odds. It is never formed, because its square is
    below the smallest float32 where p is below 1e-19, and `1 - p` is nothing where p rounds to 1.
    """
    early_progress, late_progress, learning_rate, largest_rate, largest_gain = settings
    tiny = jnp.finfo(odds.dtype).tiny
    p, missing = jnp.maximum(jax.nn.sigmoid(odds), tiny), jax.nn.sigmoid(-odds)
    if learning_rate is not None:
        return learning_rate * p * missing
    squared = jnp.maximum(jnp.square(gradient).sum(axis=(1, 2, 3)), tiny)
    wanted = jnp.minimum(early_progress / jnp.maximum(p * missing, tiny), late_progress / p)
    if largest_gain is not None:
        wanted = jnp.minimum(wanted, largest_gain)
    return jnp.minimum(largest_rate * p * missing, wanted / squared)


def _regularise(
    difference: Float[Array, "n h w c"],
    gradient: Float[Array, "n h w c"],
    index: Int[Array, ""],
    regularisation: Regularisation,
) -> Float[Array, "n h w c"]:
    decay, blur_radius, blur_every, values, norms, benefits, contributions = regularisation
    difference = difference * (1 - decay)
    if blur_radius:
        blurred = _gaussian_blur(difference, blur_radius)
        difference = jnp.where(index % blur_every == 0, blurred, difference)
    if values:
        difference = _zero_smallest(difference, jnp.abs(difference), values)
    if norms:
        norm = jnp.sqrt(jnp.square(difference).sum(axis=3, keepdims=True))
        difference = _zero_smallest(difference, norm, norms)
    if benefits:
        benefit = (-difference * gradient).sum(axis=3, keepdims=True)
        difference = _zero_smallest(difference, benefit, benefits)
    if contributions:
        contribution = jnp.abs((difference * gradient).sum(axis=3, keepdims=True))
        difference = _zero_smallest(difference, contribution, contributions)
    return difference


def _zero_smallest(
    difference: Float[Array, "n h w c"], score: Float[Array, "n h w d"], percentage: float
) -> Float[Array, "n h w c"]:
    threshold = jnp.percentile(score, percentage, axis=(1, 2, 3), keepdims=True)
    return jnp.where(score < threshold, 0, difference)


def _gaussian_blur(images: Float[Array, "n h w c"], radius: float) -> Float[Array, "n h w c"]:
    """A Gaussian blur of each channel, the images reflected about their edges."""
    reach = round(_BLUR_REACH * radius)
    offsets = jnp.arange(-reach, reach + 1)
    weights = jnp.exp(-0.5 * jnp.square(offsets / radius))
    weights = weights / weights.sum()
    for axis in (1, 2):
        widths = [(0, 0)] * 4
        widths[axis] = (reach, reach)
        padded = jnp.pad(images, widths, mode="symmetric")
        size = images.shape[axis]
        images = sum(
            weight * jax.lax.slice_in_dim(padded, start, start + size, axis=axis)
            for start, weight in enumerate(weights)
        )
    return images


def _require_mean_image(mean_image: Float[Array, "h w c"] | float) -> None:
    if is_known(mean_image) and not ((low := np.min(mean_image)) >= 0 and np.max(mean_image) <= 1):
        wrong = np.max(mean_image) if low >= 0 else low
        raise UsageError(f"the mean level of images must be between 0 and 1, not {wrong:g}")


def _require_sensible(regularisation: Regularisation) -> None:
    require_not_negative(**regularisation._asdict())
    if regularisation.decay > 1:
        raise UsageError(f"decay must be between 0 and 1, not {regularisation.decay}")
    if 0 < regularisation.blur_radius < 0.3:
        raise UsageError(f"blur_radius must be 0 (no blur) or at least 0.3, not {regularisation.blur_radius}")
    for name in ("small_values", "small_norms", "small_benefits", "small_contributions"):
        if getattr(regularisation, name) > 100:
            raise UsageError(
                f"{name} is a percentage, between 0 and 100, not {getattr(regularisation, name)}"
            )
