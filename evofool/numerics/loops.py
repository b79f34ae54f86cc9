"""Loops that round alike however long they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def map_in_order(function: Callable[[Any], Any], elements: Any) -> Any:
    """The results of a function for one element after the other, as `jax.lax.map`.

    Args:
        function: of one element.
        elements: pytree whose leaves share their leading axis.

    Returns:
        The results, stacked along a leading axis.

    Example:
        >>> map_in_order(lambda x: 2 * x, jnp.arange(3)).tolist()
        [0, 2, 4]
    """
    length = len(jax.tree.leaves(elements)[0])
    result = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], elements))
    results = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), result)

    def place(index: Any, results: Any) -> Any:
        value = function(jax.tree.map(lambda leaf: leaf[index], elements))
        return jax.tree.map(lambda kept, one: kept.at[index].set(one), results, value)

    return jax.lax.fori_loop(0, _unknown(length), place, results)


def fold_in_order(function: Callable[[Any, Any], Any], start: Any, elements: Any) -> Any:
    """What a function makes of a value and one element after the other, as a `jax.lax.scan` without outputs.

    Example:
        >>> fold_in_order(lambda total, x: total + x, jnp.int32(10), jnp.arange(3)).item()
        13
    """
    length = len(jax.tree.leaves(elements)[0])

    def add(index: Any, value: Any) -> Any:
        return function(value, jax.tree.map(lambda leaf: leaf[index], elements))

    return jax.lax.fori_loop(0, _unknown(length), add, start)


def _unknown(length: int) -> Any:
    """A length that the compiler does not see: a loop of one it would unroll, and then round otherwise."""
    return jax.lax.optimization_barrier(jnp.int32(length))
