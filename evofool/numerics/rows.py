"""Rows of arrays: choosing among them, and functions of them, for one run or for many at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from evofool.numerics.platform import computes_in_order

RowFunction = Callable[[PyTree, PyTree], PyTree]
"""`function(rows [n, ...], shared) -> results [n, ...]`: every row's result depends on that row only."""


def where_rows(chosen: Bool[Array, " n"], these: PyTree, others: PyTree) -> PyTree:
    """The rows of one pytree where they are chosen, and those of another elsewhere.

    Example:
        >>> where_rows(jnp.array([True, False]), jnp.ones((2, 2)), jnp.zeros((2, 2))).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """

    def choose(this: Array, other: Array) -> Array:
        return jnp.where(chosen.reshape(-1, *(1,) * (this.ndim - 1)), this, other)

    return jax.tree.map(choose, these, others)


def each(function: Callable[[PyTree], PyTree], rows: PyTree) -> PyTree:
    """The results of a function for each row: one after the other on a CPU, all at once elsewhere.

    On a CPU a row alone fills the vector units, and its results do not depend on how many there are.

    Args:
        function: of one row.
        rows: pytree with a leading axis.

    Example:
        >>> each(lambda row: row.sum(), jnp.arange(6).reshape(2, 3)).tolist()
        [3, 12]
    """
    if len(jax.tree.leaves(rows)[0]) == 1:
        alone = function(jax.tree.map(lambda leaf: leaf[0], rows))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], alone)
    return jax.lax.map(function, rows) if computes_in_order() else jax.vmap(function)(rows)


def apart(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """A function that `jax.vmap` maps by `each`: on a CPU it rounds as it does without vmap.

    Args:
        function: of pytrees of arrays; it must not close over traced values.

    Example:
        >>> jax.vmap(apart(jnp.dot), in_axes=(0, None))(jnp.ones((2, 3)), jnp.ones(3)).tolist()
        [3.0, 3.0]
    """
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def rule(size: int, batched: Any, *arguments: PyTree) -> tuple[PyTree, PyTree]:
        inner = mapped if computes_in_order() else function
        # None where an argument is the same for all rows.
        rows = jax.tree.map(lambda leaf, moves: leaf if moves else None, arguments, tuple(batched))

        def one(row: PyTree) -> PyTree:
            return inner(*jax.tree.map(lambda leaf, own: leaf if own is None else own, arguments, row))

        results = each(one, rows)
        return results, jax.tree.map(lambda _: True, results)

    return mapped


def merged(function: RowFunction) -> RowFunction:
    """A function of rows that `jax.vmap` calls once, with the rows of all batches as one long batch.

    Where what is shared is batched as well, the function is mapped.

    Args:
        function: see `RowFunction`; it must not close over traced values.

    Example:
        >>> doubled = merged(lambda rows, factor: rows * factor)
        >>> jax.vmap(doubled, in_axes=(0, None))(jnp.ones((2, 3)), 2.0).shape
        (2, 3)
    """
    long = jax.custom_batching.custom_vmap(function)

    @long.def_vmap
    def rule(size: int, batched: Any, rows: PyTree, shared: PyTree) -> tuple[PyTree, PyTree]:
        rows = jax.tree.map(
            lambda leaf, moves: leaf if moves else jnp.broadcast_to(leaf, (size, *leaf.shape)),
            *(rows, batched[0]),
        )
        if any(jax.tree.leaves(batched[1])):
            axes = jax.tree.map(lambda moves: 0 if moves else None, batched[1])
            results = jax.vmap(function, in_axes=(0, axes))(rows, shared)
        else:
            together = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
            results = jax.tree.map(
                lambda leaf: leaf.reshape(size, -1, *leaf.shape[1:]), long(together, shared)
            )
        return results, jax.tree.map(lambda _: True, results)

    return long
