"""How certain is a classifier about images that show nothing at all?"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_positive, require_seed, unknown_name
from evofool.images import round_to_8_bits

Noise = Literal["uniform", "gaussian"]
"""Noise images: every value uniform in [0, 1], or Gaussian around one half."""

# So wide that half of the values are clipped to black or white: with less the images are uniformly grey.
_GAUSSIAN_DEVIATION = 0.75
_AT_ONCE = 64


class RubbishResult(NamedTuple):
    """What a classifier makes of images, of noise or of anything else.

    Attributes:
        confidences: the highest confidence in any class, image by image, in [0, 1].
        classes: the class that has it, as an index.
    """

    confidences: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]

    def share_above(self, threshold: float) -> float:
        """The share of the images about which the classifier is more certain than `threshold`.

        Goodfellow et al. count noise as an error where any class has more than one half.
        """
        return float(np.mean(self.confidences > threshold))

    def mean_confidence_above(self, threshold: float) -> float:
        """The mean confidence on the images that `share_above` counts; nan if there are none."""
        above = self.confidences > threshold
        return float(self.confidences[above].mean()) if above.any() else float("nan")

    def class_shares(self, count: int) -> Float[np.ndarray, " count"]:
        """The share of the images that each of `count` classes gets."""
        return np.bincount(self.classes, minlength=count) / len(self.classes)


def rubbish(
    classifier: Classifier, noise: Noise = "uniform", *, count: int = 10_000, seed: int = 0
) -> RubbishResult:
    """Classify noise images: the rubbish class of Goodfellow et al. (ICLR 2015, section 7 and appendix A).

    A classifier that knows what it knows would be certain about none of them. The images are rounded to 8
    bits before they are classified, so that those of `noise_images_at` can be saved as what they were.

    Args:
        classifier: whose certainty is in question.
        noise: "uniform" in [0, 1], or "gaussian": around 0.5 with a standard deviation of 0.75, clipped to
            [0, 1], which half of the values leave.
        count: how many images.
        seed: of the noise.

    Raises:
        UsageError: an unknown noise, a count that is not positive, or a seed beyond 32 bits.

    Example:
        >>> from evofool import load_classifier
        >>> result = rubbish(load_classifier("lenet-digits"), count=100)
        >>> result.share_above(0.0), len(result.class_shares(10))
        (1.0, 10)
    """
    require_positive(count=count)
    if noise not in get_args(Noise):
        raise unknown_name("noise", noise, get_args(Noise))
    shape = classifier.spec.input_shape
    parts = [
        _likeliest(classifier, _part_of_noise(shape, noise, seed, part))
        for part in range(-(-count // _AT_ONCE))
    ]
    confidences, classes = (np.concatenate(values)[:count] for values in zip(*parts, strict=True))
    return RubbishResult(confidences, classes)


def noise_images_at(
    classifier: Classifier, noise: Noise, indices: Sequence[int], *, seed: int = 0
) -> Float[Array, "n h w c"]:
    """Some of the images that `rubbish` classifies, those it is most certain of for instance.

    Args:
        classifier: gives their size.
        noise: "uniform" or "gaussian".
        indices: which of them, counted from 0.
        seed: of the noise.

    Example:
        >>> from evofool import load_classifier
        >>> classifier = load_classifier("lenet-digits")
        >>> result = rubbish(classifier, count=100)
        >>> surest = noise_images_at(classifier, "uniform", [int(result.confidences.argmax())])
        >>> abs(float(classifier(surest).max()) - float(result.confidences.max())) < 1e-5
        True
    """
    shape = classifier.spec.input_shape
    parts = {part: _part_of_noise(shape, noise, seed, part) for part in {i // _AT_ONCE for i in indices}}
    return jnp.stack([parts[i // _AT_ONCE][i % _AT_ONCE] for i in indices])


def certainty(classifier: Classifier, images: Float[Array, "n h w c"]) -> RubbishResult:
    """The same for given images, test images for instance: what noise is to be compared with.

    Args:
        classifier: whose certainty is in question.
        images: values in [0, 1], at least one.

    Raises:
        UsageError: there are no images, or they are not of the classifier's size.

    Example:
        >>> from evofool import load_classifier
        >>> certainty(load_classifier("lenet-digits"), jnp.zeros((1, 28, 28, 1))).classes.shape
        (1,)
    """
    if len(images) == 0:
        raise UsageError("there are no images to classify")
    parts = [
        _likeliest(classifier, images[start : start + _AT_ONCE]) for start in range(0, len(images), _AT_ONCE)
    ]
    confidences, classes = (np.concatenate(values) for values in zip(*parts, strict=True))
    return RubbishResult(confidences, classes)


@jax.jit
def _likeliest(classifier: Classifier, images: Float[Array, "n h w c"]) -> tuple[Array, Array]:
    confidences = classifier(images)
    return confidences.max(axis=1), confidences.argmax(axis=1)


def _part_of_noise(
    shape: tuple[int, int, int], noise: Noise, seed: int, part: int
) -> Float[Array, "n h w c"]:
    require_seed(seed)
    key = jax.random.fold_in(jax.random.key(seed), part)
    if noise == "uniform":
        return round_to_8_bits(jax.random.uniform(key, (_AT_ONCE, *shape)))
    return round_to_8_bits(
        jnp.clip(0.5 + _GAUSSIAN_DEVIATION * jax.random.normal(key, (_AT_ONCE, *shape)), 0, 1)
    )
