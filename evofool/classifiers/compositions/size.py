"""Images of other sizes: resized, or seen in ten crops."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from evofool.classifiers.classifier import Activation, Classifier, LogitsFunction
from evofool.classifiers.compositions.averaging import logits_of_mean
from evofool.classifiers.compositions.composition import composition
from evofool.errors import UsageError, require_positive
from evofool.numerics.products import separable

CROPPED_SIZE = (256, 256)
"""Height and width of the images that Nguyen et al. (CVPR 2015) evolved for ImageNet and cropped."""


@composition
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
        vertical, horizontal = (
            # A resized identity is the matrix that resizes.
            jax.image.resize(jnp.eye(own, dtype=images.dtype), (own, wanted), "linear")
            for own, wanted in zip(images.shape[1:3], (self.height, self.width), strict=True)
        )
        return self.inner(params, jnp.clip(separable(images, vertical, horizontal), 0, 1))


@composition
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
        return logits_of_mean(logits, self.activation)
