"""CaffeNet, the network of BVLC that Nguyen et al. fooled for ImageNet."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import (
    conv,
    dense,
    flatten,
    hidden_dropout,
    overlapping_max_pool,
    require_rgb,
)

MEAN = (122.67891434, 116.66876762, 104.00698793)
"""Subtracted from red, green and blue in 0..255: the mean over all pixels of Caffe's mean image."""

_SMALLEST = 39
"""Pixels: nothing of a smaller image remains after the third pooling."""


class CaffeNet(nnx.Module):
    """CaffeNet (Jia et al., 2014, arXiv:1408.5093): AlexNet with pooling before normalisation.

    As in BVLC's reference model, 227x227 RGB images are scaled to 0..255 and the mean colour is subtracted.
    The second, fourth and fifth convolution each have two separate groups of channels, as in Krizhevsky et
    al. (2012, section 3.5). 3x3 max-pools of stride 2 round up. There is no dropout.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        require_rgb("caffenet", input_shape, _SMALLEST)
        height, width, _ = input_shape
        self.conv1 = conv(3, 96, 11, rngs, stride=4)
        self.conv2 = conv(96, 256, 5, rngs, padding=2, groups=2)
        self.conv3 = conv(256, 384, 3, rngs, padding=1)
        self.conv4 = conv(384, 384, 3, rngs, padding=1, groups=2)
        self.conv5 = conv(384, 256, 3, rngs, padding=1, groups=2)
        rows, columns = (_pooled_three_times((length - 11) // 4 + 1) for length in (height, width))
        self.fc6 = dense(rows * columns * 256, 4096, rngs)
        self.fc7 = dense(4096, 4096, rngs)
        self.fc8 = dense(4096, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of RGB images in [0, 1]."""
        x = 255 * images - jnp.array(MEAN)
        x = overlapping_max_pool(jax.nn.relu(self.conv1(x)), round_up=True)
        x = overlapping_max_pool(jax.nn.relu(self.conv2(normalised(x))), round_up=True)
        x = jax.nn.relu(self.conv3(normalised(x)))
        x = jax.nn.relu(self.conv4(x))
        x = overlapping_max_pool(jax.nn.relu(self.conv5(x)), round_up=True)
        x = jax.nn.relu(self.fc6(self.dropout(flatten(x))))
        x = jax.nn.relu(self.fc7(self.dropout(x)))
        return self.fc8(self.dropout(x))


def normalised(
    x: Float[Array, "n h w c"], *, reach: int = 2, alpha: float = 1e-4, beta: float = 0.75
) -> Float[Array, "n h w c"]:
    """Local response normalisation across channels (Krizhevsky et al., 2012, section 3.3), as in Caffe.

    Each value is divided by `(1 + alpha / size * sum) ** beta`, where `sum` adds the squares of the
    `size = 2 * reach + 1` channels around it; channels beyond the first and the last count as zero.

    Args:
        x: the value of each channel at each pixel.
        reach: how many channels on either side count.
        alpha: the weight of their mean square.
        beta: the exponent.

    Example:
        >>> normalised(jnp.full((1, 1, 1, 1), 2.0), alpha=5 * 3 / 4, beta=1.0).tolist()
        [[[[0.5]]]]
    """
    squares = jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    size, channels = 2 * reach + 1, x.shape[-1]
    padded = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (reach, reach)))
    total = sum((padded[..., first : first + channels] for first in range(1, size)), padded[..., :channels])
    return x * (1 + alpha / size * total) ** -beta


def _pooled_three_times(length: int) -> int:
    for _ in range(3):
        length = -(-(length - 3) // 2) + 1
    return length
