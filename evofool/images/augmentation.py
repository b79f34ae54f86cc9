"""Random changes of images that leave what they show."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt8


def flip_and_crop(images: UInt8[Array, "n h w c"], key: Key[Array, ""]) -> UInt8[Array, "n h w c"]:
    """Mirror half of the images at random, and shift each by up to an eighth of its height and width.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2, for CIFAR-10: images
    are padded by 4 of 32 pixels on each side and cropped to their size. Here the padding mirrors the image,
    where theirs is blank.

    Args:
        images: of the same size.
        key: decides which are mirrored and where each is cropped.

    Example:
        >>> flip_and_crop(jnp.zeros((5, 32, 32, 3), jnp.uint8), jax.random.key(0)).shape
        (5, 32, 32, 3)
    """
    count, height, width, channels = images.shape
    down, right = height // 8, width // 8
    flip_key, row_key, column_key = jax.random.split(key, 3)
    padded = jnp.pad(images, ((0, 0), (down, down), (right, right), (0, 0)), mode="reflect")
    is_flipped = jax.random.bernoulli(flip_key, 0.5, (count, 1, 1, 1))
    padded = jnp.where(is_flipped, padded[:, :, ::-1], padded)
    rows = jax.random.randint(row_key, (count,), 0, 2 * down + 1)
    columns = jax.random.randint(column_key, (count,), 0, 2 * right + 1)
    return jax.vmap(
        lambda image, row, column: jax.lax.dynamic_slice(image, (row, column, 0), (height, width, channels))
    )(padded, rows, columns)
