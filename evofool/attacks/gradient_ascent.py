"""From noise, along the gradient of a class's confidence, with or without natural-image regularisation."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import (
    AttackResult,
    Observed,
    in_parts,
    input_gradient,
    is_known,
    observe,
    require_attackable,
    result_of,
    some,
    unattacked,
    with_trajectory,
)
from evofool.attacks.balls import of_rows
from evofool.attacks.goals import Goal, Targeted
from evofool.attacks.options import AttackOptions, static
from evofool.classifiers.black_box import AnyClassifier
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_not_negative, require_positive
from evofool.numerics.rows import where_rows

# The released code starts from N(0, 1) in grey levels around the mean image, or from uniform noise.
NOISE_LEVEL = 1 / 255
# SciPy, which the released code calls, cuts a Gaussian after this many standard deviations.
_BLUR_REACH = 4.0


@dataclass(frozen=True)
class GradientAscentOptions(AttackOptions):
    """The steps, and the regularisation: what is done to the image after each step, in this order.

    Regularisation acts on the difference from the mean image, so that a pixel that is "zero" shows the mean.
    The percentiles are those of Yosinski et al., "Understanding neural networks through deep visualization"
    (ICML workshop 2015, section 3), and of the code that Nguyen et al. released.

    Attributes:
        steps: the number of steps, at least one.
        early_progress: the gain in confidence that a step aims for, above zero.
        late_progress: the share of the missing confidence that a step aims for at most, above zero.
        learning_rate: a constant step length instead, in [0, 1] units, above zero.
        largest_rate: the step length that a step never exceeds, in [0, 1] units, above zero; by default the
            source's 1e12, which is in units of 0 to 255.
        largest_odds_gain: the gain in the log-odds of the confidence that a step never aims to exceed, above
            zero; None for no such bound, as in the paper, where classes of tiny confidence may be lost.
        decay: L2 decay: the share by which the difference shrinks, in [0, 1].
        blur_radius: standard deviation of a Gaussian blur in pixels; 0 for none, else at least 0.3.
        blur_every: the number of steps from one blur to the next, at least one.
        small_values: the percentage of smallest values (in each channel) that are set to zero.
        small_norms: the percentage of pixels of smallest norm over the channels that are set to zero.
        small_benefits: the percentage of pixels of smallest `-x * gradient`, summed over the channels, that
            are set to zero: to first order, what the class gains by zeroing the pixel.
        small_contributions: the same of the absolute value: the pixels that matter least either way.

    Raises:
        UsageError: a value is out of range.
    """

    steps: int = 500
    early_progress: float = 0.03
    late_progress: float = 0.1
    learning_rate: float | None = None
    largest_rate: float = 1e12 / 255**2
    largest_odds_gain: float | None = 10.0
    decay: float = static(0.0)
    blur_radius: float = static(0.0)
    blur_every: int = 1
    small_values: float = static(0.0)
    small_norms: float = static(0.0)
    small_benefits: float = static(0.0)
    small_contributions: float = static(0.0)
    goals = (Targeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("steps", "early_progress", "late_progress", "learning_rate", "largest_rate")
        require_positive(**{name: getattr(self, name) for name in names})
        require_positive(largest_odds_gain=self.largest_odds_gain, blur_every=self.blur_every)
        require_not_negative(decay=self.decay, blur_radius=self.blur_radius)
        if self.decay > 1:
            raise UsageError(f"decay must be between 0 and 1, not {self.decay}")
        if 0 < self.blur_radius < 0.3:
            raise UsageError(f"blur_radius must be 0 (no blur) or at least 0.3, not {self.blur_radius}")
        for name in ("small_values", "small_norms", "small_benefits", "small_contributions"):
            if not 0 <= getattr(self, name) <= 100:
                raise UsageError(f"{name} must be a percentage, between 0 and 100, not {getattr(self, name)}")


def gradient_ascent(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: GradientAscentOptions = GradientAscentOptions(),
    *,
    mean_image: Float[Array, "h w c"] | float = 0.5,
    watch: Int[Array, "n m"] | None = None,
) -> AttackResult:
    r"""Gradient ascent on a class's confidence (Nguyen, Yosinski & Clune, CVPR 2015, section 3.9).

    $$x_{i+1} = \text{clip}_{[0, 1]}(R(x_i + \lambda \nabla p)), \quad
    \lambda = \min\left(\lambda_{max}, \frac{\min(e, l (1 - p))}{|\nabla p|^2}\right)$$

    so that, as far as p is linear, a step adds `early_progress` (the e) to the confidence p, and near
    certainty only `late_progress` (the l) of what is missing. R is the regularisation, none by default; with
    L2 decay it is that of Simonyan, Vedaldi & Zisserman (ICLR workshop 2014, equation 1). The defaults are
    those of the released code, which was used with 0.02 to 0.04 for e and 0.02 to 0.2 for l.

    One bound is not in the source. A class that starts at p = 1e-5 has so small a gradient that the rule asks
    for a step through a third of the space of images, and lands where p is smaller still; some classes never
    recover. So no step aims to raise the log-odds of p by more than `largest_odds_gain`. With the defaults
    this changes only steps from below p = 0.003; None gives the source's rule.

    Args:
        classifier: the classifier to fool.
        images: where to start, values in [0, 1]; see `noise_images`.
        goal: `Targeted(classes)`. Images are independent of each other, so one batch may be all classes.
        options: the steps and the regularisation.
        mean_image: the image that regularisation leads to, in [0, 1]: an image or one number.
        watch: the classes of each image whose confidences the trajectory records; all if not given.

    Returns:
        For each target the image of the highest confidence of all steps, with the trajectory and the first
        step at which the target was the likeliest class. `first_step_above` finds the step of 99%, 99.9% or
        99.99% in the trajectory. (The released code means to keep the best image too, but by a slip in the
        name of a variable keeps the last.)

    Raises:
        UsageError: the goal is not targeted, there are no images, they or the mean image are not in [0, 1],
            they are not of the classifier's size, there is not one class for each, or the classifier does not
            have a class.

    Example:
        >>> from evofool import load_classifier
        >>> classifier = load_classifier("lenet-digits")
        >>> start = noise_images(jax.random.key(0), 2, classifier)
        >>> result = gradient_ascent(classifier, start, Targeted([3, 8]), GradientAscentOptions(steps=50))
        >>> result.success.tolist(), result.trajectory.shape
        ([True, True], (51, 2, 10))
    """
    require_attackable(classifier, images, goal, options.goals)
    _require_mean_image(mean_image)

    steps = options.affordable(options.steps, each=2, fixed=2)
    chosen = replace(options, steps=max(1, steps), max_queries=None)

    def attack(images: Float[Array, "n h w c"], goal: Goal, watch: Int[Array, "n m"] | None) -> AttackResult:
        if not steps:
            return unattacked(classifier, images, goal, watch, stepwise=True)
        return _ascend(classifier, chosen, mean_image, images, goal, watch)

    return in_parts(attack, images, goal, watch).against(classifier, goal, options)


def noise_images(
    key: Key[Array, ""],
    count: int,
    classifier: AnyClassifier,
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


class _Best(NamedTuple):
    """For each target the image of the highest confidence so far, with its logits and objective."""

    images: Float[Array, "n h w c"]
    logits: Float[Array, "n k"]
    objective: Float[Array, " n"]


@jax.jit
def _ascend(
    classifier: Classifier,
    options: GradientAscentOptions,
    mean_image: Float[Array, "h w c"] | float | Float[Array, ""],
    images: Float[Array, "n h w c"],
    goal: Goal,
    watch: Int[Array, "n m"] | None,
) -> AttackResult:
    def step(
        carry: tuple[Float[Array, "n h w c"], _Best], index: Int[Array, ""]
    ) -> tuple[tuple[Float[Array, "n h w c"], _Best], tuple[Observed, Bool[Array, " n"]]]:
        images, best = carry
        gradient, logits = input_gradient(classifier, images, goal)
        objective = goal.objective(classifier, logits)
        best = _better(best, _Best(images, logits, objective))
        rate = _rate(objective, gradient, options)
        difference = images + of_rows(rate) * gradient - mean_image
        difference = _regularise(difference, gradient, index, options)
        observed = observe(classifier, goal, logits, watch)
        return (jnp.clip(mean_image + difference, 0, 1), best), (observed, some(gradient))

    logits_before = classifier.logits(images)
    best = _Best(images, logits_before, jnp.full(len(images), -jnp.inf))
    steps = jnp.arange(options.steps)
    (last, best), (observed, had_gradient) = jax.lax.scan(step, (images, best), steps)
    logits = classifier.logits(last)
    best = _better(best, _Best(last, logits, goal.objective(classifier, logits)))
    result = result_of(classifier, goal, images, best.images, logits_before, best.logits, had_gradient[0])
    result = result.counting(options.steps + 2, options.steps)
    return with_trajectory(result, observed, observe(classifier, goal, logits, watch))


def _better(best: _Best, other: _Best) -> _Best:
    """The better of two images for each target; the former if they are equal."""
    return where_rows(other.objective > best.objective, other, best)


def _rate(
    odds: Float[Array, " n"], gradient: Float[Array, "n h w c"], options: GradientAscentOptions
) -> Float[Array, " n"]:
    """The step along the gradient of the log-odds that is lambda along that of p.

    The gradient of p is `p (1 - p)` times that of the log-odds. It is never formed, because its square is
    below the smallest float32 where p is below 1e-19, and `1 - p` is zero where p rounds to 1.
    """
    tiny = jnp.finfo(odds.dtype).tiny
    p, missing = jnp.maximum(jax.nn.sigmoid(odds), tiny), jax.nn.sigmoid(-odds)
    if options.learning_rate is not None:
        return options.learning_rate * p * missing
    squared = jnp.maximum(jnp.square(gradient).sum(axis=(1, 2, 3)), tiny)
    wanted = jnp.minimum(options.early_progress / jnp.maximum(p * missing, tiny), options.late_progress / p)
    if options.largest_odds_gain is not None:
        wanted = jnp.minimum(wanted, options.largest_odds_gain)
    return jnp.minimum(options.largest_rate * p * missing, wanted / squared)


def _regularise(
    difference: Float[Array, "n h w c"],
    gradient: Float[Array, "n h w c"],
    index: Int[Array, ""],
    options: GradientAscentOptions,
) -> Float[Array, "n h w c"]:
    difference = difference * (1 - options.decay)
    if options.blur_radius:
        blurred = _gaussian_blur(difference, options.blur_radius)
        difference = jnp.where(index % options.blur_every == 0, blurred, difference)
    if options.small_values:
        difference = _zero_smallest(difference, jnp.abs(difference), options.small_values)
    if options.small_norms:
        norm = jnp.sqrt(jnp.square(difference).sum(axis=3, keepdims=True))
        difference = _zero_smallest(difference, norm, options.small_norms)
    if options.small_benefits:
        benefit = (-difference * gradient).sum(axis=3, keepdims=True)
        difference = _zero_smallest(difference, benefit, options.small_benefits)
    if options.small_contributions:
        contribution = jnp.abs((difference * gradient).sum(axis=3, keepdims=True))
        difference = _zero_smallest(difference, contribution, options.small_contributions)
    return difference


def _zero_smallest(
    difference: Float[Array, "n h w c"], score: Float[Array, "n h w d"], percentage: float
) -> Float[Array, "n h w c"]:
    threshold = jnp.percentile(score, percentage, axis=(1, 2, 3), keepdims=True)
    return jnp.where(score < threshold, 0, difference)


def _gaussian_blur(images: Float[Array, "n h w c"], radius: float) -> Float[Array, "n h w c"]:
    """Blur each channel by a Gaussian, with the images reflected at their edges."""
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
