"""SqueezeNet 1.0."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import (
    conv,
    hidden_dropout,
    overlapping_max_pool,
    pointwise,
    require_rgb,
)

CAFFE_MEAN = (123.0, 117.0, 104.0)
"""Subtracted from red, green and blue in 0..255 by Caffe's ImageNet networks."""

_SMALLEST = 21
"""Pixels: nothing of a smaller image remains after the third pooling."""


class Fire(nnx.Module):
    """A squeeze to few channels, then parallel 1x1 and 3x3 convolutions (section 3.2 of the paper)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, rngs: nnx.Rngs) -> None:
        self.squeeze = pointwise(inputs, squeezed, rngs)
        self.expand1x1 = pointwise(squeezed, expanded, rngs)
        self.expand3x3 = conv(squeezed, expanded, 3, rngs, padding=1)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c2"]:
        """Twice as many channels as each of the two expansions has."""
        x = jax.nn.relu(self.squeeze(x))
        return jax.nn.relu(jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], axis=-1))


class SqueezeNet(nnx.Module):
    """SqueezeNet 1.0 (Iandola et al., 2016, arXiv:1602.07360, table 1), as it was trained in Caffe.

    RGB images are scaled to 0..255 and the mean colour is subtracted. 3x3 max-pools of stride 2 round up. The
    last 1x1 convolution pads its input by one pixel and is followed by a ReLU and the mean over all pixels.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        require_rgb("squeezenet-1.0", input_shape, _SMALLEST)
        self.conv1 = conv(3, 96, 7, rngs, stride=2)
        self.fire2 = Fire(96, 16, 64, rngs)
        self.fire3 = Fire(128, 16, 64, rngs)
        self.fire4 = Fire(128, 32, 128, rngs)
        self.fire5 = Fire(256, 32, 128, rngs)
        self.fire6 = Fire(256, 48, 192, rngs)
        self.fire7 = Fire(384, 48, 192, rngs)
        self.fire8 = Fire(384, 64, 256, rngs)
        self.fire9 = Fire(512, 64, 256, rngs)
        self.conv_final = pointwise(512, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of RGB images in [0, 1]."""
        x = 255 * images - jnp.array(CAFFE_MEAN)
        x = overlapping_max_pool(jax.nn.relu(self.conv1(x)), round_up=True)
        x = overlapping_max_pool(self.fire4(self.fire3(self.fire2(x))), round_up=True)
        x = overlapping_max_pool(self.fire8(self.fire7(self.fire6(self.fire5(x)))), round_up=True)
        x = jnp.pad(self.dropout(self.fire9(x)), ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = jax.nn.relu(self.conv_final(x))
        return x.mean(axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
