"""Matrix products that are bit-identical in every batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

FEWEST_ROWS = 64
"""Below about 50 rows the CPU's matrix library sums in another order, so a row's result would depend on how
many others are computed with it. Padding to this many rows keeps results bit-identical."""


def along(array: Float[Array, "*shape"], matrix: Float[Array, "i o"], axis: int) -> Float[Array, "*shape2"]:
    """Map every line of an array along an axis by a matrix; each line is a row of the product.

    Args:
        array: of `i` values along the axis.
        matrix: from these to `o` values.
        axis: of the lines.

    Example:
        >>> along(jnp.arange(6.0).reshape(1, 3, 2), jnp.ones((3, 1)), axis=1).tolist()
        [[[6.0, 9.0]]]
    """
    lines = jnp.moveaxis(array, axis, -1)
    rows = lines.reshape(-1, lines.shape[-1])
    padded = jnp.pad(rows, ((0, max(0, FEWEST_ROWS - len(rows))), (0, 0)))
    products = jnp.matmul(padded, matrix.astype(array.dtype), precision=jax.lax.Precision.HIGHEST)
    return jnp.moveaxis(products[: len(rows)].reshape(*lines.shape[:-1], -1), -1, axis)
