"""Scoring any number of images in bounded memory."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from evofool.errors import UsageError

Result = TypeVar("Result")


def in_batches(function: Callable[[PyTree], Result], arrays: PyTree, size: int) -> Result:
    """Apply a function to many rows, one batch after the other.

    All batches have the same size, so that a compiled function is compiled once. The last one is filled up
    with copies of the last row, whose results are dropped.

    Args:
        function: maps a batch of rows to a pytree of arrays with as many rows.
        arrays: pytree of arrays with the same number of rows, at least one.
        size: rows per batch, at least one.

    Returns:
        The results of all rows in one pytree.

    Raises:
        UsageError: there are no rows.

    Example:
        >>> in_batches(lambda x: x + 1, jnp.arange(5), 2).tolist()
        [1, 2, 3, 4, 5]
    """
    count = len(jax.tree.leaves(arrays)[0])
    if count == 0:
        raise UsageError("there are no images")
    if count <= size:
        # Whole, as a slice of an array on a device would be a program of its own.
        return function(jax.tree.map(lambda leaf: leaf if isinstance(leaf, Array) else leaf[:], arrays))
    results = []
    for start in range(0, count, size):
        missing = max(0, start + size - count)
        batch = jax.tree.map(lambda leaf: _filled(leaf[start : start + size], missing), arrays)  # noqa: B023
        results.append(jax.tree.map(lambda leaf: leaf[: size - missing], function(batch)))  # noqa: B023
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)


def _filled(rows: Shaped[Array | np.ndarray, "n *_"], missing: int) -> Shaped[Array | np.ndarray, "m *_"]:
    return rows if missing == 0 else jnp.concatenate([rows, jnp.repeat(rows[-1:], missing, axis=0)])
