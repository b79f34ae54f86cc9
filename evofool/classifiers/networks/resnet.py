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
    """A residual network of seven layers, small enough to be trained on a CPU with images like CIFAR-10's.

    conv 32@3x3, max-pool 2, conv 48@3x3, max-pool 2, conv 96@3x3, a residual block, max-pool 2,
    conv 192@3x3, the mean over all pixels, dense k. A ReLU follows each convolution; convolutions keep the
    size. It is a narrow form of D. Page's ResNet-9 ("How to Train Your ResNet", 2018) without batch
    normalisation. Pixels are scaled to [-2, 2].
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        if min(height, width) < _SMALLEST:
            raise UsageError(f"resnet needs images of at least {_SMALLEST}x{_SMALLEST}, not {height}x{width}")
        self.conv1 = _conv(channels, 32, rngs)
        self.conv2 = _conv(32, 48, rngs)
        self.conv3 = _conv(48, 96, rngs)
        self.block = Block(96, rngs)
        self.conv4 = _conv(96, 192, rngs)
        self.dropout = hidden_dropout()
        self.fc = dense(192, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = jax.nn.relu(self.conv1(4 * images - 2))
        x = jax.nn.relu(self.conv2(max_pool(x)))
        x = self.block(jax.nn.relu(self.conv3(max_pool(x))))
        x = jax.nn.relu(self.conv4(max_pool(x)))
        return self.fc(self.dropout(x.mean(axis=(1, 2))))


def _conv(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Conv:
    return conv(inputs, outputs, 3, rngs, padding=1, kernel_init=nnx.initializers.he_normal())
