"""Estimated memory of programs whose need can be counted by hand."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from evofool.numerics.platform import assumed
from evofool.numerics.program_memory import peak_bytes

X, W = jax.ShapeDtypeStruct((100, 50), "float32"), jax.ShapeDtypeStruct((50, 50), "float32")
ROWS, WEIGHTS = 100 * 50 * 4, 50 * 50 * 4


def scanned(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda x, _: (x @ w @ w, None), x, length=3)[0]


@pytest.mark.parametrize(
    ("function", "stored"),
    [
        (lambda x, w: x @ w, 1),
        (lambda x, w: jnp.tanh(2 * x + 1) @ w, 2),  # the operand of a product is stored
        (lambda x, w: x @ w @ w @ w @ w, 2),  # one is made from the other; earlier ones have ended
        (lambda x, w: jnp.concatenate([x @ w, x @ w]), 4),
        (lambda x, w: jax.jit(lambda x: x @ w @ w)(x), 2),
        (scanned, 3),  # the result of the loop, and two within its body
    ],
)
def test_what_is_stored_is_counted_while_it_is_used(function: Callable[..., jax.Array], stored: int) -> None:
    assert peak_bytes(jax.make_jaxpr(function)(X, W)) == ROWS + WEIGHTS + stored * ROWS


def test_results_that_are_only_elementwise_are_stored_once() -> None:
    program = jax.make_jaxpr(lambda x: jnp.sin(x) * jnp.cos(x) + jnp.exp(x))(X)
    assert peak_bytes(program) == 2 * ROWS


def test_of_branches_for_platforms_the_one_that_is_taken_counts() -> None:
    def function(x: jax.Array) -> jax.Array:
        chosen = jax.lax.platform_dependent(x, cpu=jnp.sin, default=lambda x: jnp.cumsum(x, axis=0))
        return jnp.tanh(chosen)

    for platform, stored in (("cpu", 1), ("gpu", 2)):
        with assumed(platform):
            assert peak_bytes(jax.make_jaxpr(lambda x: function(x))(X)) == ROWS + stored * ROWS
