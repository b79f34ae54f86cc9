"""AlexNet as in torchvision."""

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
    overlapping_max_pool,
    require_rgb,
)

_SMALLEST = 63
"""Pixels: nothing of a smaller image remains after the third pooling."""

_POOLED = 6
"""Rows and columns that the dense layers read."""


class AlexNet(nnx.Module):
    """AlexNet (Krizhevsky, 2014, arXiv:1404.5997: one column, no normalisation) as in torchvision.

    RGB images are normalised by the mean and the deviation of ImageNet's colours. 3x3 max-pools of stride 2
    round down. The maps of images of another size than 224x224 are averaged over 6x6 tiles, which overlap
    where six does not divide a side. There is no dropout.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        require_rgb("alexnet", input_shape, _SMALLEST)
        self.conv1 = conv(3, 64, 11, rngs, stride=4, padding=2)
        self.conv2 = conv(64, 192, 5, rngs, padding=2)
        self.conv3 = conv(192, 384, 3, rngs, padding=1)
        self.conv4 = conv(384, 256, 3, rngs, padding=1)
        self.conv5 = conv(256, 256, 3, rngs, padding=1)
        self.fc6 = dense(_POOLED * _POOLED * 256, 4096, rngs)
        self.fc7 = dense(4096, 4096, rngs)
        self.fc8 = dense(4096, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of RGB images in [0, 1]."""
        x = imagenet_normalised(images)
        x = overlapping_max_pool(jax.nn.relu(self.conv1(x)))
        x = overlapping_max_pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.conv3(x))
        x = jax.nn.relu(self.conv4(x))
        x = overlapping_max_pool(jax.nn.relu(self.conv5(x)))
        x = jax.nn.relu(self.fc6(self.dropout(flatten(average_tiles(x, _POOLED)))))
        x = jax.nn.relu(self.fc7(self.dropout(x)))
        return self.fc8(self.dropout(x))
