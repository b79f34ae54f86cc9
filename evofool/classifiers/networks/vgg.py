"""VGG-16 and VGG-19 as in torchvision."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import (
    average_tiles,
    conv,
    dense,
    flatten,
    hidden_dropout,
    imagenet_normalised,
    require_rgb,
)
from evofool.numerics.convolution import max_pool

CHANNELS = (64, 128, 256, 512, 512)
"""Of the convolutions in each block, which a pooling ends."""

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""How many there are in each block, by the number of layers with weights: configurations D and E."""

_SMALLEST = 32
"""Pixels: nothing of a smaller image remains after the fifth pooling."""

_POOLED = 7
"""Rows and columns that the dense layers read."""


class VGG(nnx.Module):
    """VGG-16 or VGG-19 (Simonyan & Zisserman, 2015, arXiv:1409.1556, table 1) as in torchvision.

    RGB images are normalised by the mean and the deviation of ImageNet's colours. Convolutions are 3x3 and
    keep the size; 2x2 max-pools round down. The maps of images of another size than 224x224 are averaged over
    7x7 tiles, which overlap where seven does not divide a side.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, *, layers: int, rngs: nnx.Rngs
    ) -> None:
        require_rgb(f"vgg{layers}", input_shape, _SMALLEST)
        self.convolutions = CONVOLUTIONS[layers]
        inputs = 3
        for block, outputs in enumerate(CHANNELS):
            for name in self._names(block):
                setattr(self, name, conv(inputs, outputs, 3, rngs, padding=1))
                inputs = outputs
        self.fc6 = dense(_POOLED * _POOLED * inputs, 4096, rngs)
        self.fc7 = dense(4096, 4096, rngs)
        self.fc8 = dense(4096, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of RGB images in [0, 1]."""
        x = imagenet_normalised(images)
        for block in range(len(CHANNELS)):
            for name in self._names(block):
                x = jax.nn.relu(getattr(self, name)(x))
            x = max_pool(x)
        x = jax.nn.relu(self.fc6(self.dropout(flatten(average_tiles(x, _POOLED)))))
        x = jax.nn.relu(self.fc7(self.dropout(x)))
        return self.fc8(self.dropout(x))

    def _names(self, block: int) -> list[str]:
        """The convolutions of a block, named as in the paper's model: `conv1_1`, `conv1_2` and so on."""
        return [f"conv{block + 1}_{number + 1}" for number in range(self.convolutions[block])]
