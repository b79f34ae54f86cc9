"""Reductions that round alike whatever else is computed with them.

The library's reductions are split up according to the shape of the array and merged with what is around them,
so that a sum may come out differently in the last bit. These combine the upper half with the lower, again and
again.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def fold(
    operation: Callable[[Array, Array], Array], array: Float[Array, "*n k"], neutral: float | int
) -> Float[Array, "*n 1"]:
    """Reduce the last axis to length 1.

    Args:
        operation: associative and elementwise, such as `jnp.add`.
        array: what to reduce.
        neutral: what changes nothing: 0 for a sum, -inf for a maximum.

    Example:
        >>> fold(jnp.add, jnp.array([[1.0, 2.0, 3.0]]), 0).tolist()
        [[6.0]]
    """
    length = array.shape[-1]
    missing = (1 << (length - 1).bit_length()) - length
    array = jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=neutral)
    while array.shape[-1] > 1:
        half = array.shape[-1] // 2
        array = operation(array[..., :half], array[..., half:])
    return array


def logsumexp(array: Float[Array, "*n k"]) -> Float[Array, "*n 1"]:
    """The logarithm of the sum of the exponentials along the last axis, which is kept with length 1.

    Example:
        >>> logsumexp(jnp.array([[3.0, -jnp.inf], [-jnp.inf, -jnp.inf]])).tolist()
        [[3.0], [-inf]]
    """
    largest = jax.lax.stop_gradient(fold(jnp.maximum, array, -jnp.inf))
    largest = jnp.where(jnp.isneginf(largest), 0, largest)
    return largest + jnp.log(fold(jnp.add, jnp.exp(array - largest), 0))


def mean(array: Float[Array, " n"]) -> Float[Array, ""]:
    """The mean of a vector.

    Example:
        >>> mean(jnp.array([1.0, 2.0, 6.0])).item()
        3.0
    """
    return fold(jnp.add, array, 0)[0] / len(array)
