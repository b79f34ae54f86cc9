"""Deb's operators against a plain NumPy version, number by number and in distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from evofool.encodings.operators import (
    iso_line_variation,
    polynomial_mutation,
    simulated_binary_crossover,
)

unit = st.floats(0, 1, width=32)
# What a generator of random words gives: below, float32 has numbers that a CPU takes for zero.
below_one = st.integers(0, 2**24 - 1).map(lambda number: number / 2**24)
etas = st.floats(0, 50, width=32)


def deb_mutation(x: float, u: float, rate: float, eta: float) -> float:
    """Deb 2001, p. 124, in float64; the gene mutates where u < rate."""
    if u >= rate:
        return x
    r = u / rate
    delta = (2 * r) ** (1 / (eta + 1)) - 1 if r < 0.5 else 1 - (2 * (1 - r)) ** (1 / (eta + 1))
    return min(1.0, max(0.0, x + delta))


def deb_crossover(x1: float, x2: float, u: float, eta: float) -> tuple[float, float]:
    """Deb 2001, p. 113, in float64."""
    beta = (2 * u) ** (1 / (eta + 1)) if u <= 0.5 else (1 / (2 * (1 - u))) ** (1 / (eta + 1))
    first = 0.5 * ((1 + beta) * x1 + (1 - beta) * x2)
    second = 0.5 * ((1 - beta) * x1 + (1 + beta) * x2)
    return min(1.0, max(0.0, first)), min(1.0, max(0.0, second))


@given(hnp.arrays(np.float32, 20, elements=unit), hnp.arrays(np.float32, 20, elements=below_one), unit, etas)
def test_polynomial_mutation_is_debs_formula(
    genes: np.ndarray, uniform: np.ndarray, rate: float, eta: float
) -> None:
    ours = polynomial_mutation(jnp.asarray(genes), jnp.asarray(uniform), rate, eta)
    plain = [deb_mutation(x, u, rate, eta) for x, u in zip(genes.tolist(), uniform.tolist(), strict=True)]
    # At the largest eta a power of a number near zero, computed in float32, is this far off.
    np.testing.assert_allclose(ours, plain, atol=2e-5)


@given(
    hnp.arrays(np.float32, (2, 20), elements=unit),
    hnp.arrays(np.float32, 20, elements=below_one),
    hnp.arrays(bool, 20),
    etas,
)
def test_simulated_binary_crossover_is_debs_formula(
    parents: np.ndarray, uniform: np.ndarray, swap: np.ndarray, eta: float
) -> None:
    pairs, numbers, coins = (jnp.asarray(array)[None] for array in (parents, uniform, swap))
    first, second = simulated_binary_crossover(pairs, numbers, coins, eta)[0]
    for index in range(20):
        x1, x2 = parents[:, index].tolist()
        plain = deb_crossover(x1, x2, float(uniform[index]), eta)
        if swap[index]:
            plain = plain[::-1]
        np.testing.assert_allclose([first[index], second[index]], plain, atol=2e-5, rtol=1e-5)


def test_children_lie_symmetrically_about_their_parents() -> None:
    pairs = jnp.tile(jnp.array([0.45, 0.55]), (1000, 1))
    uniform = jax.random.uniform(jax.random.key(0), (1000,))
    children = simulated_binary_crossover(pairs, uniform, jnp.zeros(1000, bool), 10.0)
    np.testing.assert_allclose(children.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(("rate", "eta"), [(0.1, 15.0), (1.0, 15.0), (0.3, 2.0)])
def test_mutation_steps_have_debs_density(rate: float, eta: float) -> None:
    """The density of a step is (eta + 1) / 2 (1 - |delta|)^eta (Deb 2001, p. 124)."""
    count = 200_000
    uniform = jax.random.uniform(jax.random.key(1), (count,))
    mutated = np.asarray(polynomial_mutation(jnp.full(count, 0.5), uniform, rate, eta))
    changed = mutated[np.asarray(uniform) < rate] - 0.5
    assert abs(len(changed) / count - rate) < 4 * np.sqrt(rate * (1 - rate) / count) + 1e-9

    def distribution(delta: np.ndarray) -> np.ndarray:
        tail = 0.5 * (1 - np.abs(delta)) ** (eta + 1)
        return np.where(delta < 0, tail, 1 - tail)

    inside = changed[np.abs(changed) < 0.499]  # beyond, genes are clipped
    share = 1 - 2 * distribution(np.array(-0.499))
    test = stats.kstest(inside, lambda delta: (distribution(delta) - distribution(np.array(-0.499))) / share)
    assert test.pvalue > 1e-3


def test_crossover_spread_has_debs_density() -> None:
    """P(beta <= b) is b^(eta+1) / 2 up to 1 and 1 - b^-(eta+1) / 2 beyond (Deb 2001, p. 113)."""
    eta, count = 10.0, 100_000
    uniform = jax.random.uniform(jax.random.key(2), (count,))
    pairs = jnp.tile(jnp.array([0.4, 0.6]), (count, 1))
    children = simulated_binary_crossover(pairs, uniform, jnp.zeros(count, bool), eta)
    beta = np.asarray((children[:, 1] - children[:, 0]) / 0.2)
    beta = beta[beta < 2.9]  # beyond, children are clipped

    def distribution(b: np.ndarray) -> np.ndarray:
        return np.where(b <= 1, 0.5 * b ** (eta + 1), 1 - 0.5 * b ** -(eta + 1))

    assert stats.kstest(beta, lambda b: distribution(b) / distribution(np.array(2.9))).pvalue > 1e-3


@given(
    hnp.arrays(np.float32, (3, 2, 5), elements=unit),
    hnp.arrays(np.float32, (3, 2, 5), elements=st.floats(-5, 5, width=32)),
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-5, 5, width=32)),
    unit,
    unit,
)
def test_iso_line_variation_is_its_formula(
    pairs: np.ndarray, steps: np.ndarray, reaches: np.ndarray, iso_sigma: float, line_sigma: float
) -> None:
    """Vassiliades & Mouret 2018, equation 2, in float64, clipped to the range of the genes."""
    ours = iso_line_variation(*map(jnp.asarray, (pairs, steps, reaches)), iso_sigma, line_sigma)
    for pair, step, reach, children in zip(pairs, steps, reaches, np.asarray(ours), strict=True):
        for child in (0, 1):
            own, other = pair[child].astype(float), pair[1 - child].astype(float)
            plain = own + iso_sigma * step[child] + line_sigma * (other - own) * reach[child]
            np.testing.assert_allclose(children[child], np.clip(plain, 0, 1), atol=2e-6)
