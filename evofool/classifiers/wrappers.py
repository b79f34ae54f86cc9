"""Functions from classifier to classifier: size, ten crops, a mean image, precision, dropout."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from evofool.classifiers.classifier import Activation, Classifier, LogitsFunction
from evofool.classifiers.networks import Dropout, NetworkLogits, dropout_layers, network_of
from evofool.errors import UsageError, require_below_one, require_choice, require_positive
from evofool.numerics.platform import name_of_tensorfloat32
from evofool.numerics.reductions import logsumexp

CROPPED_SIZE = (256, 256)
"""Height and width of the images that Nguyen et al. (CVPR 2015) evolved for ImageNet and cropped."""

Precision = Literal["float32", "tensorfloat32", "bfloat16"]
"""Of matrix products and convolutions; in bfloat16 of everything that a network computes."""


def resized(classifier: Classifier, height: int, width: int) -> Classifier:
    """The classifier of images of another size, resized to its own (bilinear, antialiased).

    Args:
        classifier: what sees the resized images.
        height: of the images that the new classifier takes.
        width: of these images.

    Raises:
        UsageError: a size that is not positive.

    Example:
        >>> from evofool import load_classifier
        >>> resized(load_classifier("lenet-digits"), 40, 56).spec.input_shape
        (40, 56, 1)
    """
    require_positive(height=height, width=width)
    own_height, own_width, channels = classifier.spec.input_shape
    if (height, width) == (own_height, own_width):
        return classifier
    return replace(
        classifier,
        logits_function=_Resized(classifier.logits_function, own_height, own_width),
        spec=replace(classifier.spec, input_shape=(height, width, channels)),
    )


@dataclass(frozen=True)
class _Resized:
    inner: LogitsFunction
    height: int
    width: int

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        shape = (images.shape[0], self.height, self.width, images.shape[3])
        return self.inner(params, jnp.clip(jax.image.resize(images, shape, "linear"), 0, 1))


def ten_crop(
    classifier: Classifier, height: int = CROPPED_SIZE[0], width: int = CROPPED_SIZE[1]
) -> Classifier:
    """The classifier whose confidence is the mean over ten crops: four corners, centre, and their mirrors.

    Nguyen et al. (CVPR 2015) evolved 256x256 images for ImageNet this way, with crops of 227x227.

    Args:
        classifier: what sees the crops, which have the size of its images.
        height: of the images that the new classifier takes.
        width: of these images.

    Raises:
        UsageError: the images would be smaller than a crop.

    Example:
        >>> from evofool import load_classifier
        >>> ten_crop(load_classifier("lenet-digits"), 32, 32).spec.input_shape
        (32, 32, 1)
    """
    spec = classifier.spec
    own_height, own_width, channels = spec.input_shape
    if height < own_height or width < own_width:
        raise UsageError(
            f"ten crops of {own_height}x{own_width}, the size of {spec.name}, need images of at least that "
            f"size, not {height}x{width}"
        )
    return replace(
        classifier,
        logits_function=_TenCrop(classifier.logits_function, own_height, own_width, spec.activation),
        spec=replace(spec, input_shape=(height, width, channels)),
    )


@dataclass(frozen=True)
class _TenCrop:
    inner: LogitsFunction
    height: int
    width: int
    activation: Activation

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        down, right = images.shape[1] - self.height, images.shape[2] - self.width
        corners = jnp.array([[0, 0], [0, right], [down, 0], [down, right], [down // 2, right // 2]])

        def seen(view: tuple[Int[Array, " 2"], Bool[Array, ""]]) -> Float[Array, "n k"]:
            (top, left), mirrored = view
            shape = (images.shape[0], self.height, self.width, images.shape[3])
            crop = jax.lax.dynamic_slice(images, (0, top, left, 0), shape)
            return self.inner(params, jnp.where(mirrored, crop[:, :, ::-1], crop))

        # One crop after the other: ten at once would need ten times the memory.
        logits = jax.lax.map(seen, (jnp.repeat(corners, 2, axis=0), jnp.tile(jnp.array([False, True]), 5)))

        # The logits of the mean confidence, computed from logarithms alone to keep digits near 0 and near 1.
        def over_crops(logarithms: Float[Array, "10 n k"]) -> Float[Array, "n k"]:
            return logsumexp(jnp.moveaxis(logarithms, 0, -1))[..., 0]

        if self.activation == "softmax":
            return over_crops(logits - logsumexp(logits))
        return over_crops(jax.nn.log_sigmoid(logits)) - over_crops(jax.nn.log_sigmoid(-logits))


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


def with_precision(classifier: Classifier, precision: Precision) -> Classifier:
    """The classifier computed in less than float32, which is faster on an accelerator.

    In "tensorfloat32" weights stay in single precision, and accelerators round the operands of matrix
    products and convolutions to eleven bits; a CPU computes in float32. In "bfloat16" the weights, and so the
    layers, have eight bits. Images and logits stay in single precision, so neither is rounded to these.

    Raises:
        UsageError: an unknown precision.

    Example:
        >>> from evofool import load_classifier
        >>> with_precision(load_classifier("lenet-digits"), "bfloat16").params["fc2"]["kernel"].dtype
        dtype(bfloat16)
    """
    require_choice(get_args(Precision), precision=precision)
    if precision == "float32":
        return classifier
    if precision == "tensorfloat32":
        return replace(classifier, logits_function=_TensorFloat32(classifier.logits_function))

    def convert(leaf: Array) -> Array:
        return leaf.astype(precision) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return replace(classifier, params=jax.tree.map(convert, classifier.params))


@dataclass(frozen=True)
class _TensorFloat32:
    inner: LogitsFunction

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        with jax.default_matmul_precision(name_of_tensorfloat32()):
            return self.inner(params, images)


def with_dropout(classifier: Classifier, rate: float, key: Key[Array, ""]) -> Classifier:
    """The classifier with hidden units dropped at random, as they are while it is trained.

    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
    Every input of a fully connected layer but the pixels is zero with the given probability, and divided by
    that of being kept otherwise: other units for each image of a batch.

    Args:
        classifier: one of evofool's networks.
        rate: the probability, at least 0 and below 1.
        key: decides which units are dropped; the same in every call of the result.

    Returns:
        A classifier whose `params` are the weights and the key.

    Raises:
        UsageError: the classifier is no network of evofool with hidden units, or a rate outside [0, 1).

    Example:
        >>> from evofool import load_classifier
        >>> digits, blank = load_classifier("lenet-digits"), jnp.zeros((1, 28, 28, 1))
        >>> dropped = [with_dropout(digits, 0.5, jax.random.key(seed)).logits(blank) for seed in (0, 0, 1)]
        >>> bool((dropped[0] == dropped[1]).all()), bool((dropped[0] == dropped[2]).all())
        (True, False)
    """
    require_dropout(classifier, rate)
    function = _WithDropout(classifier.logits_function, rate)  # type: ignore[arg-type]
    return replace(classifier, params=(classifier.params, key), logits_function=function)


def require_dropout(classifier: Classifier, rate: float) -> None:
    """Raise `UsageError` unless `with_dropout` takes these."""
    require_below_one(dropout=rate)
    network = network_of(classifier)
    if not dropout_layers(nnx.merge(classifier.logits_function.graphdef, classifier.params)):  # type: ignore[attr-defined]
        raise UsageError(f"{network} has no hidden units that could be dropped")


@dataclass(frozen=True)
class _WithDropout:
    inner: NetworkLogits
    rate: float

    def __call__(
        self, params: tuple[PyTree, Key[Array, ""]], images: Float[Array, "n h w c"]
    ) -> Float[Array, "n k"]:
        weights, key = params
        return self.inner(weights, images, Dropout(self.rate, key))
