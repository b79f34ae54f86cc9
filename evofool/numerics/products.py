"""Matrix products that are bit-identical in every batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evofool.numerics.rows import each

SMALLEST_PRODUCT = 64
"""Below about 50 rows the CPU's matrix library sums in another order, so a row's result would depend on how
many others are computed with it. Padding to this many rows keeps results bit-identical."""


def rows_times(rows: Float[Array, "*n i"], matrix: Float[Array, "i o"]) -> Float[Array, "*n o"]:
    """Products of rows and a matrix, of which none depends on how many rows there are.

    Example:
        >>> rows_times(jnp.ones((2, 3)), jnp.ones((3, 1))).tolist()
        [[3.0], [3.0]]
    """
    flat = rows.reshape(-1, rows.shape[-1])
    missing = max(0, SMALLEST_PRODUCT - len(flat))
    products = jnp.pad(flat, ((0, missing), (0, 0))) @ matrix
    return products[: len(flat)].reshape(*rows.shape[:-1], matrix.shape[1])


def separable(
    images: Float[Array, "n h w c"], vertical: Float[Array, "h h2"], horizontal: Float[Array, "w w2"]
) -> Float[Array, "n h2 w2 c"]:
    """Map the columns of images by one matrix and their rows by another, channel by channel.

    On a CPU the matrix library sums in an order that depends on the number of rows, so it gets one image
    after the other.

    Args:
        images: any values.
        vertical: from the values of a column to new ones.
        horizontal: from the values of a row to new ones.

    Example:
        >>> separable(jnp.ones((2, 3, 4, 1)), jnp.eye(3), jnp.ones((4, 1))).shape
        (2, 3, 1, 1)
    """

    def mapped(image: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
        high = jax.lax.Precision.HIGHEST
        lines = jnp.einsum("hwc,hp->pwc", image, vertical.astype(image.dtype), precision=high)
        return jnp.einsum("pwc,wq->pqc", lines, horizontal.astype(image.dtype), precision=high)

    # A loop over a single image would be unrolled, and its product merged with what is around it.
    repeated = jnp.repeat(images, 2, axis=0) if len(images) == 1 else images
    return each(mapped, repeated)[: len(images)]
