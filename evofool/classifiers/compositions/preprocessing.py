"""Images changed before the classifier sees them: less a mean image, filtered, or in fewer levels."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from evofool.classifiers.classifier import Classifier, LogitsFunction
from evofool.classifiers.compositions.averaging import straight_through
from evofool.classifiers.compositions.composition import composition
from evofool.errors import UsageError, require_positive, shown
from evofool.numerics.products import separable

_MEDIAN_SIZES = (1, 3, 5, 7)
"""The median of 7x7 pixels takes 1,176 comparisons per pixel."""

_TRUNCATE = 4.0
"""Standard deviations at which a Gaussian ends, as in SciPy."""

_MOST_LEVELS = 65536


def subtract_mean(classifier: Classifier, mean_image: Float[Array | np.ndarray, "h w c"]) -> Classifier:
    """The classifier that subtracts a mean image, in [0, 1] units, from its images first.

    Raises:
        UsageError: the mean image is not of the classifier's size.

    Example:
        >>> from evofool import load_classifier
        >>> len(subtract_mean(load_classifier("lenet-digits"), jnp.full((28, 28, 1), 0.25)).params)
        2
    """
    if mean_image.shape != classifier.spec.input_shape:
        raise UsageError(
            f"the mean image has shape {mean_image.shape}, {classifier.spec.name} takes images of shape "
            f"{classifier.spec.input_shape}"
        )
    return replace(
        classifier,
        params=(classifier.params, jnp.asarray(mean_image)),
        logits_function=_SubtractedMean(classifier.logits_function),
    )


@dataclass(frozen=True)
class _SubtractedMean:
    inner: LogitsFunction

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        inner_params, mean_image = params
        return self.inner(inner_params, images - mean_image)


@composition
def median_filtered(classifier: Classifier, size: int = 3) -> Classifier:
    """The classifier of images in which each value is the median of those around it, channel by channel.

    W. Xu, D. Evans & Y. Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    NDSS 2018, section III-B (local smoothing). The pixels at the edges are repeated beyond them. The gradient
    is that of the value chosen.

    Args:
        classifier: what sees the filtered images.
        size: the side of the square of values, in pixels: 1, 3, 5 or 7.

    Raises:
        UsageError: another size.

    Example:
        >>> from evofool import load_classifier
        >>> median_filtered(load_classifier("lenet-digits"), 5).spec.name
        'median_filtered(lenet-digits, size=5)'
    """
    if size not in _MEDIAN_SIZES:
        raise UsageError(f"size must be one of {', '.join(map(str, _MEDIAN_SIZES))}, not {shown(size)}")
    return replace(classifier, logits_function=_MedianFiltered(classifier.logits_function, size))


@dataclass(frozen=True)
class _MedianFiltered:
    inner: LogitsFunction
    size: int

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        return self.inner(params, _median(images, self.size))


def _median(images: Float[Array, "n h w c"], size: int) -> Float[Array, "n h w c"]:
    """The value that half of the others around it precede: for few values, far faster than sorting them."""
    reach, (height, width) = size // 2, images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    values = [
        padded[:, row : row + height, column : column + width]
        for row in range(size)
        for column in range(size)
    ]
    before = [jnp.zeros(images.shape, jnp.int32) for _ in values]
    for later in range(len(values)):
        for earlier in range(later):
            # Of equal values, the earlier precedes.
            precedes = (values[earlier] <= values[later]).astype(jnp.int32)
            before[later] += precedes
            before[earlier] += 1 - precedes
    middle = len(values) // 2
    chosen = [jnp.where(rank == middle, value, 0) for rank, value in zip(before, values, strict=True)]
    return sum(chosen[1:], chosen[0])


@composition
def blurred(classifier: Classifier, sigma: float = 1.0) -> Classifier:
    """The classifier of images blurred by a Gaussian, channel by channel.

    The pixels at the edges are repeated beyond them, and the Gaussian ends at four standard deviations.

    Args:
        classifier: what sees the blurred images.
        sigma: the standard deviation of the Gaussian, in pixels.

    Raises:
        UsageError: a standard deviation that is not above zero.

    Example:
        >>> from evofool import load_classifier
        >>> blurred(load_classifier("lenet-digits"), 0.5).spec.name
        'blurred(lenet-digits, sigma=0.5)'
    """
    require_positive(sigma=sigma)
    return replace(classifier, logits_function=_Blurred(classifier.logits_function, sigma))


@dataclass(frozen=True)
class _Blurred:
    inner: LogitsFunction
    sigma: float

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        vertical, horizontal = (jnp.asarray(_blurring(side, self.sigma)) for side in images.shape[1:3])
        return self.inner(params, separable(images, vertical, horizontal))


def _blurring(length: int, sigma: float) -> Float[np.ndarray, "length length"]:
    """The matrix whose columns are the weights of each blurred pixel of a line."""
    weights = _gaussian(sigma, length - 1)
    places = np.arange(length)
    matrix = np.zeros((length, length))
    for shift, weight in enumerate(weights, start=-(len(weights) // 2)):
        matrix[np.clip(places + shift, 0, length - 1), places] += weight
    return matrix.astype(np.float32)


def _gaussian(sigma: float, farthest: int) -> Float[np.ndarray, " taps"]:
    """The weights of a Gaussian from `-reach` to `reach`, where `reach` is at most `farthest`.

    Beyond the length of an image every shift shows the same pixel of its edge, so all are summed.
    """
    reach = int(min(_TRUNCATE * sigma + 0.5, 2**20))
    shifts = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (shifts / sigma) ** 2)
    weights /= weights.sum()
    nearest = min(reach, farthest)
    return np.bincount(np.clip(shifts, -nearest, nearest) + nearest, weights)


@composition
def eight_bit(classifier: Classifier, levels: int = 256) -> Classifier:
    """The classifier of images rounded to some levels at equal intervals, from 0 to 1.

    W. Xu, D. Evans & Y. Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks",
    NDSS 2018, section III-A (color bit depth): 8 bits are 256 levels, 1 bit is 2. The gradient is passed
    straight through the rounding, whose own is zero.

    Args:
        classifier: what sees the rounded images.
        levels: how many, 2 to 65,536.

    Raises:
        UsageError: another number of levels.

    Example:
        >>> from evofool import load_classifier
        >>> eight_bit(load_classifier("lenet-digits"), 2).spec.name
        'eight_bit(lenet-digits, levels=2)'
    """
    if not 2 <= levels <= _MOST_LEVELS:
        raise UsageError(f"levels must be 2 to {_MOST_LEVELS}, not {shown(levels)}")
    return replace(classifier, logits_function=_Rounded(classifier.logits_function, levels))


@dataclass(frozen=True)
class _Rounded:
    inner: LogitsFunction
    levels: int

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        # Through integers, as in `round_to_8_bits`.
        rounded = jnp.round(images * (self.levels - 1)).astype(jnp.int32) / (self.levels - 1)
        return self.inner(params, straight_through(rounded, images))
