"""The layers that the networks share. The result for an image does not depend on its batch."""

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from evofool.errors import UsageError
from evofool.numerics.convolution import conv_general_dilated, depthwise
from evofool.numerics.products import SMALLEST_PRODUCT

Arrays = TypeVar("Arrays", bound=tuple[Any, ...])

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Subtracted from red, green and blue in [0, 1] by torchvision's networks."""

IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Divides the difference."""


def _as_the_weights(arrays: Arrays, /, *, dtype: DTypeLike | None = None, inexact: bool = True) -> Arrays:
    """The arrays in the precision of the kernel, which is the second of them."""
    return tuple(array.astype(arrays[1].dtype) for array in arrays)  # type: ignore[return-value]


def _at_least_float32(left: Array, right: Array, dimensions: Any, **options: Any) -> Array:
    # Weights in half precision give float32 results; float64 weights, used in tests of gradients, float64.
    options["preferred_element_type"] = jnp.promote_types(left.dtype, jnp.float32)
    return jax.lax.dot_general(left, right, dimensions, **options)


class Dense(nnx.Linear):
    """A fully connected layer whose result for an image does not depend on its batch."""

    def __call__(self, inputs: Float[Array, "n i"], out_sharding: Any = None) -> Float[Array, "n o"]:
        """Map `n` rows of inputs to `n` rows of outputs."""
        missing = max(0, SMALLEST_PRODUCT - inputs.shape[0])
        rows = jnp.pad(inputs, ((0, missing), (0, 0)))
        return super().__call__(rows, out_sharding=out_sharding)[: inputs.shape[0]]


class Rowwise(Dense):
    """A fully connected layer over the last axis, of tokens or pixels, that does not depend on the batch."""

    def __call__(self, inputs: Float[Array, "*n i"], out_sharding: Any = None) -> Float[Array, "*n o"]:
        """Map the last axis; the others stay."""
        rows = super().__call__(inputs.reshape(-1, inputs.shape[-1]), out_sharding=out_sharding)
        return rows.reshape(*inputs.shape[:-1], -1)


def enough(images: Float[Array, "n h w c"], smallest: int) -> Float[Array, "m h w c"]:
    """Images with blank ones behind them, so that no product has few rows, which a CPU sums in another order.

    Args:
        images: of which the first `n` results count.
        smallest: the fewest pixels or tokens of an image in any layer.
    """
    missing = max(0, -(-SMALLEST_PRODUCT // smallest) - len(images))
    return jnp.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))


class Normalisation(NamedTuple):
    """How a network takes pixels: `(scale * value - mean) / deviation` of a value in [0, 1].

    Attributes:
        mean: of each channel.
        deviation: of each channel.
        scale: 1, or 255 for a network of 8-bit values.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    scale: float = 1.0

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The normalised values of images in [0, 1]."""
        return (self.scale * images - jnp.array(self.mean)) / jnp.array(self.deviation)


class Depthwise(nnx.Module):
    """A 3x3 convolution of each channel by itself."""

    def __init__(self, channels: int, stride: int, rngs: nnx.Rngs) -> None:
        initial = nnx.initializers.lecun_normal(in_axis=(0, 1), out_axis=())
        self.kernel = nnx.Param(initial(rngs.params(), (3, 3, channels)))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.stride = stride

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        """Convolve padded images."""
        images = images.astype(self.kernel.dtype)
        strides = (self.stride, self.stride)
        return depthwise(images, self.kernel[...], strides, start=self.bias[...])


def conv(
    inputs: int,
    outputs: int,
    size: int,
    rngs: nnx.Rngs,
    *,
    stride: int = 1,
    padding: int | str = "VALID",
    groups: int = 1,
    kernel_init: nnx.Initializer = nnx.initializers.lecun_normal(),  # noqa: B008
) -> nnx.Conv:
    """A convolution with square windows."""
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        conv_general_dilated=conv_general_dilated,
        promote_dtype=_as_the_weights,
        kernel_init=kernel_init,
        rngs=rngs,
    )


def pointwise(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A 1x1 convolution as a matrix product, which is faster on a CPU."""
    return nnx.Linear(inputs, outputs, promote_dtype=_as_the_weights, rngs=rngs)


def rowwise(inputs: int, outputs: int, rngs: nnx.Rngs) -> Rowwise:
    """A fully connected layer over the last axis, in the precision of the weights."""
    return Rowwise(inputs, outputs, promote_dtype=_as_the_weights, rngs=rngs)


def dense(inputs: int, outputs: int, rngs: nnx.Rngs) -> Dense:
    """A fully connected layer over flat images. Its sums, logits included, are in single precision."""
    return Dense(inputs, outputs, promote_dtype=_as_the_weights, dot_general=_at_least_float32, rngs=rngs)


def hidden_dropout() -> nnx.Dropout:
    """A layer that drops hidden units inside `with_dropout` and does nothing elsewhere. It has no weights."""
    return nnx.Dropout(0.0, deterministic=True)


def imagenet_normalised(images: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """RGB images in [0, 1], less the mean of ImageNet's colours and divided by their deviation."""
    return (images - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_DEVIATION)


def overlapping_max_pool(
    images: Float[Array, "n h w c"], *, round_up: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """Max-pooling of 3x3 windows with stride 2; with `round_up` the last one may reach over the edge."""
    edges = [(0, (length - 3) % 2 if round_up else 0) for length in images.shape[1:3]]
    return nnx.max_pool(images, (3, 3), (2, 2), edges)


def average_tiles(images: Float[Array, "n h w c"], count: int) -> Float[Array, "n t t c"]:
    """The means of `count` times `count` tiles of each image, as of PyTorch's `AdaptiveAvgPool2d`.

    Of n pixels, tile i has those from floor(i n / count) up to ceil((i + 1) n / count).
    """
    for axis in (1, 2):
        if (length := images.shape[axis]) != count:
            tiles = [
                jax.lax.slice_in_dim(images, i * length // count, -(-(i + 1) * length // count), axis=axis)
                for i in range(count)
            ]
            images = jnp.stack([tile.mean(axis=axis) for tile in tiles], axis=axis)
    return images


def flatten(images: Float[Array, "n h w c"]) -> Float[Array, "n i"]:
    """Each image as a vector in the order row, column, channel."""
    return images.reshape(images.shape[0], -1)


def require_rgb(network: str, input_shape: tuple[int, int, int], smallest: int) -> None:
    """Raise `UsageError` unless images are RGB and large enough for a network."""
    height, width, channels = input_shape
    if channels != 3 or min(height, width) < smallest:
        raise UsageError(
            f"{network} needs RGB images of at least {smallest}x{smallest}, "
            f"not {height}x{width} with {channels} channel(s)"
        )
