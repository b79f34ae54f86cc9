"""How certain a classifier is about images, and about noise in particular."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from evofool.classifiers import AnyClassifier, confidences_in_batches
from evofool.classifiers.scoring import batch_size_of
from evofool.errors import UsageError, require_choice, require_positive, require_seed
from evofool.images import round_to_8_bits
from evofool.numerics.batches import in_batches

Noise = Literal["uniform", "gaussian"]
"""Noise images: every value uniform in [0, 1], or Gaussian around one half."""

# So wide that half of the values are clipped to black or white: with less the images are uniformly grey.
GAUSSIAN_DEVIATION = 0.75
NOISE_BLOCK = 64
"""The number of noise images that share a key, and are classified together."""


class Certainty(NamedTuple):
    """How certain a classifier is about images, noise or anything else.

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

    def commonest(self) -> tuple[int, float]:
        """The class that most images get, and their share."""
        shares = self.class_shares(int(self.classes.max()) + 1)
        return int(shares.argmax()), float(shares.max())

    def surest(self, count: int) -> list[int]:
        """The images with the highest confidences, at most so many, the highest first."""
        return np.argsort(-self.confidences, kind="stable")[:count].tolist()

    def class_shares(self, count: int) -> Float[np.ndarray, " count"]:
        """The share of the images that each of `count` classes gets."""
        return np.bincount(self.classes, minlength=count) / len(self.classes)


def certainty(classifier: AnyClassifier, images: Float[Array, "n h w c"]) -> Certainty:
    """How certain a classifier is about images.

    Args:
        classifier: the classifier in question.
        images: values in [0, 1], at least one.

    Raises:
        UsageError: there are no images, or they are not of the classifier's size.

    Example:
        >>> from evofool import load_classifier
        >>> certainty(load_classifier("lenet-digits"), jnp.zeros((1, 28, 28, 1))).classes.shape
        (1,)
    """
    return Certainty(*map(np.asarray, _likeliest(classifier, images)))


def certainty_about_noise(
    classifier: AnyClassifier, noise: Noise = "uniform", *, count: int = 10_000, seed: int = 0
) -> Certainty:
    """How certain a classifier is about noise images.

    The images are rounded to 8 bits before they are classified, so that those of `noise_images_at` can be
    saved as they were.

    Args:
        classifier: the classifier in question.
        noise: "uniform" in [0, 1], or "gaussian": around 0.5 with a standard deviation of 0.75, clipped to
            [0, 1], which half of the values leave.
        count: the number of images, at least one.
        seed: of the noise. The first images are the same for any count.

    Raises:
        UsageError: an unknown noise, a count that is not positive, or a seed beyond 32 bits.

    Example:
        >>> from evofool import load_classifier
        >>> found = certainty_about_noise(load_classifier("lenet-digits"), count=100)
        >>> found.share_above(0.0), len(found.class_shares(10))
        (1.0, 10)
    """
    require_positive(count=count)
    blocks = jnp.arange(-(-count // NOISE_BLOCK))
    size = max(1, batch_size_of(classifier.spec.input_shape) // NOISE_BLOCK)

    def of_blocks(blocks: Int[Array, " b"]) -> tuple[Float[Array, "b m"], Int[Array, "b m"]]:
        images = _blocks_of_noise(classifier.spec.input_shape, noise, seed, blocks)
        confidences, classes = _likeliest(classifier, images.reshape(-1, *classifier.spec.input_shape))
        return confidences.reshape(-1, NOISE_BLOCK), classes.reshape(-1, NOISE_BLOCK)

    found = in_batches(of_blocks, blocks, size)
    return Certainty(*(np.asarray(values).ravel()[:count] for values in found))


def noise_images_at(
    classifier: AnyClassifier, noise: Noise, indices: Sequence[int], *, seed: int = 0
) -> Float[Array, "n h w c"]:
    """Some of the images that `certainty_about_noise` classifies, for instance the surest ones.

    Args:
        classifier: gives their size.
        noise: "uniform" or "gaussian".
        indices: which of them, counted from 0.
        seed: of the noise.

    Example:
        >>> from evofool import load_classifier
        >>> classifier = load_classifier("lenet-digits")
        >>> found = certainty_about_noise(classifier, count=100)
        >>> surest = noise_images_at(classifier, "uniform", [int(found.confidences.argmax())])
        >>> abs(float(classifier(surest).max()) - float(found.confidences.max())) < 1e-5
        True
    """
    images = [
        _blocks_of_noise(classifier.spec.input_shape, noise, seed, jnp.array([index // NOISE_BLOCK]))[
            0, index % NOISE_BLOCK
        ]
        for index in indices
    ]
    return jnp.stack(images)


def auroc(higher: Float[np.ndarray, " n"], lower: Float[np.ndarray, " m"]) -> float:
    """The area under the ROC curve of a score that should tell two kinds apart.

    It is the chance that one of the first kind scores higher than one of the second, ties counting one half:
    the statistic of Mann and Whitney (1947), from the ranks of all scores together.

    Args:
        higher: the scores of the kind that should have the higher ones, at least one.
        lower: the scores of the other kind, at least one.

    Raises:
        UsageError: there are no scores of one kind.

    Example:
        >>> auroc(np.array([0.9, 0.8]), np.array([0.1, 0.8]))
        0.875
    """
    if not len(higher) or not len(lower):
        raise UsageError("an AUROC needs scores of both kinds")
    _, which, counts = np.unique(np.concatenate([higher, lower]), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal scores share the mean of their ranks
    least = len(higher) * (len(higher) + 1) / 2
    return float((ranks[which[: len(higher)]].sum() - least) / (len(higher) * len(lower)))


def _likeliest(
    classifier: AnyClassifier, images: Float[Array, "n h w c"]
) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    confidences = confidences_in_batches(classifier, images)
    return confidences.max(axis=1), confidences.argmax(axis=1)


def _blocks_of_noise(
    shape: tuple[int, int, int], noise: Noise, seed: int, blocks: Int[Array, " b"]
) -> Float[Array, "b m h w c"]:
    require_seed(seed)
    require_choice(get_args(Noise), noise=noise)

    def block(number: Int[Array, ""]) -> Float[Array, "m h w c"]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        if noise == "uniform":
            return jax.random.uniform(key, (NOISE_BLOCK, *shape))
        return jnp.clip(0.5 + GAUSSIAN_DEVIATION * jax.random.normal(key, (NOISE_BLOCK, *shape)), 0, 1)

    return round_to_8_bits(jax.vmap(block)(blocks))
