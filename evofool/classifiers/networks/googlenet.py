"""GoogLeNet as in torchvision."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import (
    conv,
    dense,
    hidden_dropout,
    overlapping_max_pool,
    pointwise,
    require_rgb,
)

# Channels of the 1x1 branch, the 3x3 branch (reduced, then out), the second 3x3 branch (likewise) and the
# pooled branch: table 1 of the paper.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

_SMALLEST = 15
"""Pixels: nothing of a smaller image remains after the third pooling."""


class Inception(nnx.Module):
    """Four parallel branches (figure 2b of the paper), with 3x3 in place of 5x5, as in torchvision."""

    def __init__(self, inputs: int, channels: tuple[int, ...], rngs: nnx.Rngs) -> None:
        only, reduced3, wide3, reduced5, wide5, pooled = channels
        self.branch1 = pointwise(inputs, only, rngs)
        self.branch2_reduce = pointwise(inputs, reduced3, rngs)
        self.branch2 = conv(reduced3, wide3, 3, rngs, padding=1)
        self.branch3_reduce = pointwise(inputs, reduced5, rngs)
        self.branch3 = conv(reduced5, wide5, 3, rngs, padding=1)
        self.branch4 = pointwise(inputs, pooled, rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c2"]:
        """The channels of all four branches."""
        pooled = nnx.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
        branches = (
            self.branch1(x),
            self.branch2(jax.nn.relu(self.branch2_reduce(x))),
            self.branch3(jax.nn.relu(self.branch3_reduce(x))),
            self.branch4(pooled),
        )
        return jax.nn.relu(jnp.concatenate(branches, axis=-1))


class GoogLeNet(nnx.Module):
    """GoogLeNet (Szegedy et al., 2015, arXiv:1409.4842, table 1), batch-normalised as in torchvision.

    RGB images are scaled to [-1, 1], as by torchvision's normalisation and `transform_input` together. Each
    convolution includes the batch normalisation that follows it in its kernel and bias. Max-pools of stride 2
    round up. There is no dropout and no auxiliary classifier.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        require_rgb("googlenet", input_shape, _SMALLEST)
        self.conv1 = conv(3, 64, 7, rngs, stride=2, padding=3)
        self.conv2 = pointwise(64, 64, rngs)
        self.conv3 = conv(64, 192, 3, rngs, padding=1)
        inputs = 192
        for name, outputs in INCEPTIONS.items():
            setattr(self, f"inception{name}", Inception(inputs, outputs, rngs))
            inputs = outputs[0] + outputs[2] + outputs[4] + outputs[5]
        self.fc = dense(inputs, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of RGB images in [0, 1]."""
        x = overlapping_max_pool(jax.nn.relu(self.conv1(2 * images - 1)), round_up=True)
        x = jax.nn.relu(self.conv3(jax.nn.relu(self.conv2(x))))
        x = overlapping_max_pool(x, round_up=True)
        for name in INCEPTIONS:
            if name == "4a":
                x = overlapping_max_pool(x, round_up=True)
            if name == "5a":
                edges = [(0, length % 2) for length in x.shape[1:3]]
                x = nnx.max_pool(x, (2, 2), (2, 2), edges)
            x = getattr(self, f"inception{name}")(x)
        return self.fc(self.dropout(x.mean(axis=(1, 2), dtype=jnp.float32)))
