"""The Vision Transformer of any size, as in transformers and timm."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import Normalisation, conv, dense, enough, rowwise
from evofool.errors import UsageError
from evofool.numerics.reductions import fold


@dataclass(frozen=True)
class ViTSizes:
    """The sizes of a Vision Transformer.

    Attributes:
        patch: side of a patch in pixels.
        width: numbers per token.
        depth: blocks.
        heads: of each attention.
        hidden: units of the hidden layer of each block.
        epsilon: what layer normalisation adds to the variance.

    Raises:
        UsageError: the heads do not divide the width.
    """

    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    epsilon: float

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise UsageError(f"heads must divide the width {self.width} of a token, not be {self.heads}")


class LayerNorm(nnx.Module):
    """Each token less its mean and divided by its deviation, times a scale, plus a bias."""

    def __init__(self, width: int, epsilon: float) -> None:
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        """Computed in single precision at least."""
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        x = x - fold(jnp.add, x, 0) / x.shape[-1]
        variance = fold(jnp.add, x * x, 0) / x.shape[-1]
        return x * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]


class Block(nnx.Module):
    """Attention and a hidden layer, each added to its input, which is normalised before."""

    def __init__(self, sizes: ViTSizes, rngs: nnx.Rngs) -> None:
        self.heads = sizes.heads
        self.norm1 = LayerNorm(sizes.width, sizes.epsilon)
        self.query = rowwise(sizes.width, sizes.width, rngs)
        self.key = rowwise(sizes.width, sizes.width, rngs)
        self.value = rowwise(sizes.width, sizes.width, rngs)
        self.output = rowwise(sizes.width, sizes.width, rngs)
        self.norm2 = LayerNorm(sizes.width, sizes.epsilon)
        self.wide = rowwise(sizes.width, sizes.hidden, rngs)
        self.narrow = rowwise(sizes.hidden, sizes.width, rngs)

    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        """As many tokens as before."""
        x = x + self._attention(self.norm1(x))
        return x + self.narrow(jax.nn.gelu(self.wide(self.norm2(x)), approximate=False))

    def _attention(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        query, key, value = (
            layer(x).reshape(*x.shape[:2], self.heads, -1) for layer in (self.query, self.key, self.value)
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / jnp.sqrt(query.shape[-1]).astype(query.dtype)
        scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
        shares = jnp.exp(scores - fold(jnp.maximum, scores, -jnp.inf))
        shares = (shares / fold(jnp.add, shares, 0)).astype(value.dtype)
        return self.output(jnp.einsum("nhqk,nkhd->nqhd", shares, value).reshape(x.shape))


class VisionTransformer(nnx.Module):
    """The Vision Transformer (Dosovitskiy et al., 2021, arXiv:2010.11929, section 3.1).

    The patches of an image become tokens, beside one for the class, which the classifier reads. Layers are
    normalised before each block. There is no dropout.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        sizes: ViTSizes,
        normalisation: Normalisation,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, channels = input_shape
        if min(height, width) < sizes.patch:
            raise UsageError(f"images must have {sizes.patch} pixels a side at least, not {height} x {width}")
        tokens = 1 + (height // sizes.patch) * (width // sizes.patch)
        self.normalisation, self.depth = normalisation, sizes.depth
        self.patches = conv(channels, sizes.width, sizes.patch, rngs, stride=sizes.patch)
        self.token = nnx.Param(jnp.zeros((1, 1, sizes.width)))
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, tokens, sizes.width)))
        for index in range(sizes.depth):
            setattr(self, f"block{index}", Block(sizes, rngs))
        self.norm = LayerNorm(sizes.width, sizes.epsilon)
        self.head = dense(sizes.width, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        count, patches = len(images), self.positions.shape[1] - 1
        x = self.patches(self.normalisation(enough(images, patches)))
        x = x.reshape(len(x), -1, x.shape[-1])
        token = jnp.broadcast_to(self.token[...], (len(x), 1, x.shape[-1])).astype(x.dtype)
        x = jnp.concatenate([token, x], axis=1) + self.positions[...]
        for index in range(self.depth):
            x = getattr(self, f"block{index}")(x)
        return self.head(self.norm(x[:count, :1])[:, 0])
