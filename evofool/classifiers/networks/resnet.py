"""A small residual network for colour images of few pixels."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import conv, dense, hidden_dropout
from evofool.errors import UsageError
from evofool.numerics.convolution import max_pool

_SMALLEST = 8
"""Pixels: the network halves an image three times."""


class Block(nnx.Module):
    """Two 3x3 convolutions added to their input, times a factor that is learnt and starts at zero.

    De & Smith, "Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks",
    NeurIPS 2020, section 4 (SkipInit). It replaces batch normalisation, so that an image's logits depend on
    no other image.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.conv1 = _conv(channels, channels, rngs)
        self.conv2 = _conv(channels, channels, rngs)
        self.factor = nnx.Param(jnp.zeros(()))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """As many channels as before."""
        change = self.conv2(jax.nn.relu(self.conv1(x)))
        return x + self.factor[...] * jax.nn.relu(change)


class ResNet(nnx.Module):
    """A residual network of seven layers, for images such as CIFAR-10's.

    conv 32@3x3, then three times max-pool 2 and a convolution, of 64, 128 and 256, with a residual block
    after the first two; then the mean over all pixels, dense k. Every convolution has a ReLU behind it. It
    has the shape of D. Page's ResNet-9 ("How to Train Your ResNet", 2018) at half its width and resolution,
    and residual blocks without batch normalisation. Pixels are scaled to [-2, 2].
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        if min(height, width) < _SMALLEST:
            raise UsageError(f"resnet needs images of at least {_SMALLEST}x{_SMALLEST}, not {height}x{width}")
        self.conv1 = _conv(channels, 32, rngs)
        self.conv2 = _conv(32, 64, rngs)
        self.conv3 = _conv(64, 128, rngs)
        self.block3 = Block(128, rngs)
        self.conv4 = _conv(128, 256, rngs)
        self.dropout = hidden_dropout()
        self.fc = dense(256, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = jax.nn.relu(self.conv1(4 * images - 2))
        x = jax.nn.relu(self.conv2(max_pool(x)))
        x = self.block3(jax.nn.relu(self.conv3(max_pool(x))))
        x = jax.nn.relu(self.conv4(max_pool(x)))
        return self.fc(self.dropout(x.mean(axis=(1, 2))))


def _conv(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Conv:
    return conv(inputs, outputs, 3, rngs, padding=1, kernel_init=nnx.initializers.he_normal())
