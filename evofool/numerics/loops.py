"""Loops that give bit-identical results for any length, one included."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

Carry = TypeVar("Carry")


def map_in_order(function: Callable[[PyTree], PyTree], elements: PyTree) -> PyTree:
    """Apply a function to one element after the other, as `jax.lax.map` does.

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

    def place(index: Int[Array, ""], results: PyTree) -> PyTree:
        value = function(jax.tree.map(lambda leaf: leaf[index], elements))
        return jax.tree.map(lambda kept, one: kept.at[index].set(one), results, value)

    return jax.lax.fori_loop(0, _unknown(length), place, results)


def fold_in_order(function: Callable[[Carry, PyTree], Carry], start: Carry, elements: PyTree) -> Carry:
    """Update a value with one element after the other, as a `jax.lax.scan` without outputs does.

    Args:
        function: of the value and an element; gives the next value.
        start: the value before the first element.
        elements: pytree whose leaves share their leading axis.

    Example:
        >>> fold_in_order(lambda total, x: total + x, jnp.int32(10), jnp.arange(3)).item()
        13
    """
    length = len(jax.tree.leaves(elements)[0])

    def add(index: Int[Array, ""], value: Carry) -> Carry:
        return function(value, jax.tree.map(lambda leaf: leaf[index], elements))

    return jax.lax.fori_loop(0, _unknown(length), add, start)


def _unknown(length: int) -> Int[Array, ""]:
    """A length that is hidden from the compiler, which unrolls a loop of one and then rounds differently."""
    return jax.lax.optimization_barrier(jnp.int32(length))
