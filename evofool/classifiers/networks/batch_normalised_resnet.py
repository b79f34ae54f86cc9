"""The residual networks of ImageNet in any size, as in transformers, timm and torchvision."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import Normalisation, conv, dense, enough, rowwise
from evofool.errors import UsageError


@dataclass(frozen=True)
class BlockSizes:
    """The sizes of a residual block.

    Attributes:
        channels: of the input and of each convolution: two of 3x3, or one of 3x3 between two of 1x1.
        stride: of one of the convolutions, and of the shortcut.
        first: whether that is the first 1x1 convolution and not the 3x3.
        shortcut: whether the input is convolved before it is added.
    """

    channels: tuple[int, ...]
    stride: int = 1
    first: bool = False
    shortcut: bool = False

    @property
    def kernels(self) -> tuple[int, ...]:
        """The sides of the convolutions."""
        return (3, 3) if len(self.channels) == 3 else (1, 3, 1)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the convolutions."""
        if len(self.channels) == 3:
            return self.stride, 1
        return (self.stride, 1, 1) if self.first else (1, self.stride, 1)


class Strided(nnx.Module):
    """A 1x1 convolution with a stride, as a matrix product."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> None:
        self.product = rowwise(inputs, outputs, rngs)
        self.stride = stride

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        """Of every pixel, every other and so on."""
        return self.product(x[:, :: self.stride, :: self.stride])


class Block(nnx.Module):
    """Convolutions that are added to their input."""

    def __init__(self, sizes: BlockSizes, rngs: nnx.Rngs) -> None:
        self.depth, inputs = len(sizes.kernels), sizes.channels[0]
        for index, (outputs, side, stride) in enumerate(
            zip(sizes.channels[1:], sizes.kernels, sizes.strides, strict=True), start=1
        ):
            layer = (
                Strided(inputs, outputs, stride, rngs)
                if side == 1
                else conv(inputs, outputs, side, rngs, stride=stride, padding=1)
            )
            setattr(self, f"conv{index}", layer)
            inputs = outputs
        if sizes.shortcut:
            self.shortcut = Strided(sizes.channels[0], inputs, sizes.stride, rngs)
        self.has_shortcut = sizes.shortcut

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        """A ReLU follows each convolution, and the sum."""
        change = x
        for index in range(1, self.depth + 1):
            change = getattr(self, f"conv{index}")(change)
            change = jax.nn.relu(change) if index < self.depth else change
        return jax.nn.relu(change + (self.shortcut(x) if self.has_shortcut else x))


class BatchNormalisedResNet(nnx.Module):
    """A residual network (He et al., 2016, arXiv:1512.03385, table 1).

    conv 7x7 of stride 2, max-pool 3x3 of stride 2, stages of blocks, the mean over all pixels, dense. Each
    convolution includes the batch normalisation that follows it in its kernel and bias.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        stem: int,
        blocks: tuple[BlockSizes, ...],
        normalisation: Normalisation,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        if not blocks:
            raise UsageError("a residual network needs one block or more")
        self.normalisation, self.depth = normalisation, len(blocks)
        self.reduction = 4 * math.prod(sizes.stride for sizes in blocks)  # of the sides of an image
        self.stem = conv(input_shape[2], stem, 7, rngs, stride=2, padding=3)
        for index, sizes in enumerate(blocks):
            setattr(self, f"block{index}", Block(sizes, rngs))
        self.head = dense(blocks[-1].channels[-1], classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        count, pixels = len(images), math.prod(-(-side // self.reduction) for side in images.shape[1:3])
        x = jax.nn.relu(self.stem(self.normalisation(enough(images, pixels))))
        x = nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for index in range(self.depth):
            x = getattr(self, f"block{index}")(x)
        return self.head(x.mean(axis=(1, 2), dtype=jnp.float32))[:count]
