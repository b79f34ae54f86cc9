"""Conversion between images in [0, 1], which classifiers take, and the 256 levels of a PNG."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def round_to_8_bits(images: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Images in [0, 1] rounded to the levels of a PNG, so that the saved image is the scored one.

    Example:
        >>> (255 * round_to_8_bits(jnp.array([0.0, 0.4, 1.0]))).round().tolist()
        [0.0, 102.0, 255.0]
    """
    # Through integers, so that the rounding is not fused into a network's first convolution, which makes that
    # slower on a CPU.
    return jnp.round(images * 255).astype(jnp.int32) / 255


def to_uint8(images: Float[Array | np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """The levels 0..255 of images in [0, 1].

    Example:
        >>> to_uint8(np.array([0.0, 0.4, 1.0])).tolist()
        [0, 102, 255]
    """
    return np.rint(np.asarray(images) * 255).astype(np.uint8)


def from_uint8(levels: UInt8[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """Images in [0, 1] of levels 0..255; equal to the result of `round_to_8_bits`.

    Example:
        >>> from_uint8(np.array([0, 51, 255], np.uint8)).round(6).tolist()
        [0.0, 0.20000000298023224, 1.0]
    """
    return _shares(levels)


@jax.jit
def _shares(levels: UInt8[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.asarray(levels, jnp.float32) / 255
