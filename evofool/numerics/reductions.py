"""Reductions that are bit-identical in every batch and every program.

On CPU the library splits a sum according to the shape of the whole array and merges it with the operations
around it, so that the last bit of a row's sum depends on the other rows. Here the upper half is combined with
the lower one until one value is left. On accelerators, where results are equal to rounding only, the library
reduces: it is one pass there.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def fold(
    operation: Callable[[Array, Array], Array], array: Float[Array, "*n k"], neutral: float | int
) -> Float[Array, "*n 1"]:
    """Reduce the last axis to length 1.

    Args:
        operation: elementwise and associative, such as `jnp.add`.
        array: its last axis is reduced.
        neutral: its neutral element: 0 for a sum, -inf for a maximum.

    Example:
        >>> fold(jnp.add, jnp.array([[1.0, 2.0, 3.0]]), 0).tolist()
        [[6.0]]
    """

    def reduced(array: Float[Array, "*n k"]) -> Float[Array, "*n 1"]:
        return jax.lax.reduce(array, jnp.array(neutral, array.dtype), operation, (array.ndim - 1,))[..., None]

    return jax.lax.platform_dependent(array, cpu=partial(_halved, operation, neutral), default=reduced)


def _halved(
    operation: Callable[[Array, Array], Array], neutral: float | int, array: Float[Array, "*n k"]
) -> Float[Array, "*n 1"]:
    length = array.shape[-1]
    missing = (1 << (length - 1).bit_length()) - length
    array = jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=neutral)
    while array.shape[-1] > 1:
        half = array.shape[-1] // 2
        array = operation(array[..., :half], array[..., half:])
    return array


def logsumexp(array: Float[Array, "*n k"]) -> Float[Array, "*n 1"]:
    """The logarithm of the sum of exponentials along the last axis, which keeps length 1.

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
