"""The functions of a CPPN's nodes, in float32 and with the same bits wherever they are computed."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evofool.encodings.graphs import FUNCTIONS


def of_each_row(function: Int[Array, "n 1"], z: Float[Array, "n place"]) -> Float[Array, "n place"]:
    """The node function of each row. All four are computed, because rows differ; two share an exponential.

    Args:
        function: the index in `FUNCTIONS` of each row's function.
        z: weighted sums of a node's inputs.

    Example:
        >>> of_each_row(jnp.array([[2], [3]]), jnp.array([[0.0], [1.5]])).tolist()
        [[1.0], [0.5]]
    """
    is_sine, is_sigmoid, is_gaussian, _ = (function == index for index in range(len(FUNCTIONS)))
    exponential = jnp.exp(-jnp.where(is_gaussian, z * z, jnp.abs(z)))
    return jnp.where(
        is_sine,
        sine(z),
        jnp.where(is_sigmoid, sigmoid(z, exponential), jnp.where(is_gaussian, exponential, linear(z))),
    )


def sine(z: Float[Array, "..."], rounded: Callable[[Array], Array] = jnp.round) -> Float[Array, "..."]:
    """Within 2e-7 of the sine for |z| below 1000, and faster than XLA's on a CPU.

    Args:
        z: angles in radians.
        rounded: rounds to whole numbers, of halves to the even one; Triton does not have `jnp.round`.
    """
    half_turns = rounded(z * (1 / jnp.pi))
    # pi in three parts (Cody and Waite), the first two short enough that their multiples are exact.
    r = ((z - half_turns * 3.140625) - half_turns * 9.67502593994140625e-4) - half_turns * 1.509957990978e-7
    square = r * r
    # The minimax polynomial on [-pi/2, pi/2] among the odd ones of this degree that begin with r.
    tail = -1.66666571e-1 + square * (8.33301729e-3 + square * (-1.98066153e-4 + square * 2.60005488e-6))
    return (r + r * square * tail) * (1 - 2 * (half_turns - 2 * jnp.floor(half_turns / 2)))


def sigmoid(z: Float[Array, "..."], exponential: Float[Array, "..."]) -> Float[Array, "..."]:
    """2 / (1 + exp(-z)) - 1, given exp(-|z|)."""
    return jnp.sign(z) * (1 - exponential) / (1 + exponential)


def linear(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Z clipped to [-3, 3] and divided by 3."""
    return jnp.clip(z, -3, 3) / 3
