"""MobileNet v1 of any width."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import Depthwise, conv, dense, hidden_dropout, pointwise, require_rgb
from evofool.errors import require_positive

# Channels at width 1 and stride of each depthwise separable convolution: table 1 of the paper.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    *((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    (1024, 2),
    (1024, 1),
)

WIDTHS = (0.25, 0.5, 0.75, 1.0)
"""Factors of the number of channels for which Keras has weights."""

_SMALLEST = 32
"""Pixels: the convolutions halve an image five times."""


class MobileNetV1(nnx.Module):
    """MobileNet v1 (Howard et al., 2017, arXiv:1704.04861, table 1), as Keras builds it.

    RGB images are scaled to [-1, 1]. Convolutions of stride 2 pad the right and the lower edge by one pixel.
    Each convolution includes the batch normalisation that follows it in its kernel and bias, and is followed
    by min(max(x, 0), 6).
    """

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, *, width: float, rngs: nnx.Rngs
    ) -> None:
        require_positive(width=width)
        require_rgb("mobilenet-v1", input_shape, _SMALLEST)
        inputs = int(32 * width)
        self.conv1 = conv(3, inputs, 3, rngs, stride=2)
        for number, (outputs, stride) in enumerate(BLOCKS, start=1):
            setattr(self, f"conv_dw_{number}", Depthwise(inputs, stride, rngs))
            setattr(self, f"conv_pw_{number}", pointwise(inputs, int(outputs * width), rngs))
            inputs = int(outputs * width)
        self.conv_preds = dense(inputs, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of RGB images in [0, 1]."""
        x = jax.nn.relu6(self.conv1(_pad(2 * images - 1, 2)))
        for number, (_, stride) in enumerate(BLOCKS, start=1):
            x = jax.nn.relu6(getattr(self, f"conv_dw_{number}")(_pad(x, stride)))
            x = jax.nn.relu6(getattr(self, f"conv_pw_{number}")(x))
        return self.conv_preds(self.dropout(x.mean(axis=(1, 2))))


def _pad(x: Float[Array, "n h w c"], stride: int) -> Float[Array, "n h2 w2 c"]:
    before = 0 if stride == 2 else 1
    return jnp.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
