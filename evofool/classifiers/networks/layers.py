"""The layers that the networks share, each computed for an image alone whatever batch the image is in."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.numerics.convolution import conv_general_dilated

_FEWEST_ROWS = 64
"""Below about 50 rows the CPU's matrix library sums in another order, and a row's result would depend on how
many others are computed with it. Padding to this many rows keeps every result the same to the last bit."""


def _as_the_weights(arrays: Any, /, *, dtype: Any = None, inexact: bool = True) -> Any:
    """All in the precision of the kernel, the second: a network computes in that of its weights."""
    return tuple(array.astype(arrays[1].dtype) for array in arrays)


def _at_least_float32(left: Any, right: Any, dimensions: Any, **options: Any) -> Any:
    # Half-precision weights give float32 results, and float64 weights, as tests of gradients have, float64.
    options["preferred_element_type"] = jnp.promote_types(left.dtype, jnp.float32)
    return jax.lax.dot_general(left, right, dimensions, **options)


class Dense(nnx.Linear):
    """A fully connected layer whose result for one image does not depend on the batch it is in."""

    def __call__(self, inputs: Float[Array, "n i"], out_sharding: Any = None) -> Float[Array, "n o"]:
        """Map `n` rows of inputs to `n` rows of outputs."""
        missing = max(0, _FEWEST_ROWS - inputs.shape[0])
        rows = jnp.pad(inputs, ((0, missing), (0, 0)))
        return super().__call__(rows, out_sharding=out_sharding)[: inputs.shape[0]]


class Depthwise(nnx.Module):
    """A 3x3 convolution of each channel by itself, as a sum of nine shifted images.

    XLA's own grouped convolution does one channel after the other on a CPU and takes 20 to 50 times as long.
    """

    def __init__(self, channels: int, stride: int, rngs: nnx.Rngs) -> None:
        initial = nnx.initializers.lecun_normal(in_axis=(0, 1), out_axis=())
        self.kernel = nnx.Param(initial(rngs.params(), (3, 3, channels)))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.stride = stride

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        """Convolve images that are padded already."""
        images = images.astype(self.kernel.dtype)
        _, height, width, _ = images.shape
        total = self.bias[...]
        for row in range(3):
            for column in range(3):
                shifted = images[
                    :, row : height - 2 + row : self.stride, column : width - 2 + column : self.stride
                ]
                total = total + shifted * self.kernel[row, column]
        return total


def conv(
    inputs: int,
    outputs: int,
    size: int,
    rngs: nnx.Rngs,
    *,
    stride: int = 1,
    padding: int | str = "VALID",
    groups: int = 1,
) -> nnx.Conv:
    """A convolution with square windows."""
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        precision=jax.lax.Precision.HIGHEST,
        conv_general_dilated=conv_general_dilated,
        promote_dtype=_as_the_weights,
        rngs=rngs,
    )


def pointwise(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A 1x1 convolution, as the matrix product that it is: on a CPU twice as fast as a convolution."""
    return nnx.Linear(
        inputs, outputs, precision=jax.lax.Precision.HIGHEST, promote_dtype=_as_the_weights, rngs=rngs
    )


def dense(inputs: int, outputs: int, rngs: nnx.Rngs) -> Dense:
    """A fully connected layer over flat images. Its sums, logits among them, are kept in single precision."""
    return Dense(
        inputs,
        outputs,
        precision=jax.lax.Precision.HIGHEST,
        promote_dtype=_as_the_weights,
        dot_general=_at_least_float32,
        rngs=rngs,
    )


def overlapping_max_pool(
    images: Float[Array, "n h w c"], *, round_up: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """The largest value in every second square of 3x3; with `round_up` the last may reach over the edge."""
    edges = [(0, (length - 3) % 2 if round_up else 0) for length in images.shape[1:3]]
    return nnx.max_pool(images, (3, 3), (2, 2), edges)


def flatten(images: Float[Array, "n h w c"]) -> Float[Array, "n i"]:
    """Row, column, channel."""
    return images.reshape(images.shape[0], -1)
