"""Reductions: right values, and the same bits in every batch and every program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from evofool.numerics.reductions import fold, logsumexp, mean
from tests.platforms import lowered_for_cuda

ROWS = 5 * jax.random.normal(jax.random.key(0), (300, 100))


@pytest.mark.parametrize("length", [1, 2, 3, 8, 100])
def test_fold_reduces_the_last_axis(length: int) -> None:
    rows = np.asarray(ROWS[:, :length], np.float64).reshape(2, 150, length)
    array = jnp.asarray(rows, jnp.float32)
    total, largest = fold(jnp.add, array, 0), fold(jnp.maximum, array, -jnp.inf)
    assert total.shape == largest.shape == (2, 150, 1)
    np.testing.assert_allclose(total[..., 0], rows.sum(axis=-1), atol=1e-4)
    np.testing.assert_array_equal(largest[..., 0], array.max(axis=-1))


@pytest.mark.exact
@pytest.mark.parametrize(
    "reduce", [lambda rows: fold(jnp.add, rows, 0), lambda rows: fold(jnp.add, rows * rows, 0), logsumexp]
)
def test_a_row_has_the_same_bits_in_every_batch(reduce) -> None:
    whole = np.asarray(jax.jit(reduce)(ROWS))
    for size in (1, 2, 16, 33, 200):
        np.testing.assert_array_equal(jax.jit(reduce)(ROWS[:size]), whole[:size])


@pytest.mark.exact
def test_a_mean_has_the_same_bits_inside_a_larger_program() -> None:
    def alone(rewards: jax.Array) -> jax.Array:
        return mean(rewards)

    def within(rewards: jax.Array) -> jax.Array:
        centred = rewards - mean(rewards)
        return jnp.stack([mean(rewards), mean(centred**2)])

    rewards = ROWS.reshape(-1)[:2100]
    np.testing.assert_array_equal(jax.jit(within)(rewards)[0], jax.jit(alone)(rewards))
    np.testing.assert_allclose(alone(rewards), np.asarray(rewards, np.float64).mean(), rtol=1e-5)


def test_logsumexp_is_scipys_also_of_infinities_and_large_numbers() -> None:
    rows = np.array([[1, 2, 3], [1000, 1000, -1000], [-np.inf, 0, -np.inf], [-np.inf] * 3], np.float32)
    np.testing.assert_allclose(
        logsumexp(jnp.asarray(rows)), scipy.special.logsumexp(rows, axis=1, keepdims=True), rtol=1e-6
    )


def test_on_accelerators_the_library_reduces_at_once() -> None:
    for reduce, times in ((lambda rows: fold(jnp.add, rows, 0), 1), (logsumexp, 2)):
        assert lowered_for_cuda(reduce, ROWS).count("stablehlo.reduce(") == times
        on_cpu = jax.jit(reduce).lower(ROWS).as_text()
        assert "stablehlo.reduce" not in on_cpu
