"""The answers of any classifier to any number of images, in bounded memory."""

import math
from collections.abc import Callable
from functools import partial

import jax
from jaxtyping import Array, Float

from evofool.classifiers.black_box import AnyClassifier, BlackBox
from evofool.classifiers.classifier import Classifier
from evofool.numerics.batches import in_batches

# The activations of a network for images of 227x227 take about 150 MB for each image and its gradient.
_VALUES_AT_ONCE = 16 * 227 * 227 * 3
_MOST_AT_ONCE = 1000


def batch_size_of(shape: tuple[int, ...]) -> int:
    """How many images of a shape a network should see at once: memory does not grow with their number.

    Example:
        >>> batch_size_of((28, 28, 1)), batch_size_of((227, 227, 3))
        (1000, 16)
    """
    return max(1, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // math.prod(shape)))


def logits_in_batches(classifier: AnyClassifier, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """The logits of images in [0, 1]; of a black box, which is asked, up to a constant of each image.

    Raises:
        UsageError: there are no images, or they are not of the classifier's size or not in [0, 1].
        Exception: what a black box raised.

    Example:
        >>> import jax.numpy as jnp
        >>> from evofool import load_classifier
        >>> logits_in_batches(load_classifier("lenet-digits"), jnp.zeros((3, 28, 28, 1))).shape
        (3, 10)
    """
    return _answers(_logits, BlackBox.logits, classifier, images)


def confidences_in_batches(classifier: AnyClassifier, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """The confidences of images in [0, 1]; raises what `logits_in_batches` raises.

    Example:
        >>> import jax.numpy as jnp
        >>> from evofool import load_classifier
        >>> confidences_in_batches(load_classifier("lenet-digits"), jnp.zeros((3, 28, 28, 1))).shape
        (3, 10)
    """
    return _answers(_confidences, BlackBox.__call__, classifier, images)


_logits, _confidences = jax.jit(Classifier.logits), jax.jit(Classifier.__call__)


def _answers(
    of_network: Callable[..., Array],
    of_black_box: Callable[..., Array],
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
) -> Float[Array, "n k"]:
    if isinstance(classifier, BlackBox):
        return of_black_box(classifier, images)
    classifier.require_images(images)
    return in_batches(partial(of_network, classifier), images, batch_size_of(images.shape[1:]))
