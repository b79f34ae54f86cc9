"""The balls that attacks stay in, against SciPy, Foolbox and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import kstest

from evofool.attacks.balls import (
    lengths,
    on_grid,
    project,
    radius,
    random_changes,
    require_ball,
    steepest,
    within,
)
from evofool.errors import UsageError
from evofool.images import from_uint8

SHAPE = (5, 6, 1)
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
norms = st.sampled_from(list(ORDERS))


def drawn(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def flat(changes: jax.Array) -> np.ndarray:
    return np.asarray(changes, np.float64).reshape(len(changes), -1)


@pytest.mark.parametrize("norm", ORDERS)
def test_sizes_are_numpys_norms(norm) -> None:
    changes = drawn(0, 4, *SHAPE)
    np.testing.assert_allclose(
        lengths(changes, norm), np.linalg.norm(flat(changes), ORDERS[norm], axis=1), 1e-5
    )


def nearest(change: np.ndarray, norm: str, size: float) -> np.ndarray:
    """The nearest point of a ball, with the multiplier of its condition found by SciPy."""
    if np.linalg.norm(change, ORDERS[norm]) <= size:
        return change
    if norm == "linf":
        return np.clip(change, -size, size)
    if norm == "l2":
        return change * size / np.linalg.norm(change)

    def shrunk(threshold: float) -> np.ndarray:
        return np.sign(change) * np.maximum(np.abs(change) - threshold, 0)

    return shrunk(brentq(lambda threshold: np.abs(shrunk(threshold)).sum() - size, 0, np.abs(change).max()))


@settings(max_examples=30, deadline=None)
@given(norm=norms, size=st.floats(0.01, 40), seed=st.integers(0, 999))
def test_a_projection_is_the_nearest_point_of_the_ball(norm, size, seed) -> None:
    changes = drawn(seed, 3, *SHAPE)
    expected = [nearest(change, norm, size) for change in flat(changes)]
    np.testing.assert_allclose(flat(project(changes, norm, size)), expected, atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(norm=norms, size=st.floats(0, 40), seed=st.integers(0, 999))
def test_what_is_brought_within_a_ball_is_in_it_and_valid(norm, size, seed) -> None:
    images = jax.nn.sigmoid(drawn(seed, 3, *SHAPE))
    inside = within(images, images + drawn(seed + 1, 3, *SHAPE), norm, size)
    assert ((inside >= 0) & (inside <= 1)).all()
    assert (lengths(inside - images, norm) <= size * (1 + 1e-5) + 1e-5).all()


@pytest.mark.parametrize("norm", ORDERS)
def test_the_steepest_change_has_size_one_and_follows_the_gradient(norm) -> None:
    gradient = drawn(3, 4, *SHAPE).at[1].multiply(1e-30).at[3].set(0)
    change = steepest(gradient, norm)
    np.testing.assert_allclose(lengths(change, norm), [1, 1, 1, 0], atol=1e-5)
    gained = (flat(change) * flat(gradient)).sum(axis=1)
    # No change of size one gains more than the dual norm; of 30 values, L1's hundredth is one.
    dual = {np.inf: 1, 2: 2, 1: np.inf}[ORDERS[norm]]
    np.testing.assert_allclose(gained, np.linalg.norm(flat(gradient), dual, axis=1), rtol=1e-4)


def test_a_step_of_l1_changes_the_hundredth_with_the_largest_gradients() -> None:
    gradient = drawn(5, 2, 20, 20, 1)
    change = flat(steepest(gradient, "l1"))
    for row, values in zip(change, np.abs(flat(gradient)), strict=True):
        assert set(np.flatnonzero(row)) == set(np.argsort(values)[-4:])
        np.testing.assert_allclose(np.abs(row[row != 0]), 1 / 4)


@pytest.mark.parametrize("norm", ORDERS)
def test_random_changes_are_uniform_in_their_ball(norm) -> None:
    keys = jax.random.split(jax.random.key(1), 2000)
    changes = random_changes(keys, (2, 2, 1), norm, 3.0)
    sizes = np.asarray(lengths(changes, norm))
    # The size of a uniform point of a ball of four dimensions has the distribution function (r / 3)^4.
    assert kstest(sizes, lambda r: np.clip(r / 3, 0, 1) ** 4).pvalue > 1e-3
    assert np.abs(flat(changes).mean(axis=0)).max() < 0.15


@settings(max_examples=30, deadline=None)
@given(size=st.floats(1 / 255, 0.5), seed=st.integers(0, 999))
def test_rounded_images_stay_in_their_ball(size, seed) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (3, *SHAPE), np.uint8)
    images = from_uint8(levels)
    attacked = within(images, images + drawn(seed, 3, *SHAPE), "linf", size)
    rounded = 255 * np.asarray(on_grid(images, attacked, "linf", size), np.float64)
    np.testing.assert_allclose(rounded, np.rint(rounded), atol=1e-4)
    assert np.abs(rounded - levels).max() <= 255 * size + 2e-3
    # Of the levels in the ball it is the nearest: rounding moves a value by less than one.
    assert np.abs(rounded - 255 * np.asarray(attacked)).max() < 1
    np.testing.assert_array_equal(on_grid(images, images, "linf", 0.0), images)


def test_a_ball_has_a_known_norm_and_a_size() -> None:
    for epsilon, norm, words in (
        (1.5, "linf", "epsilon must be between 0 and 1"),
        (-1.0, "l2", "epsilon must be 0 or more"),
        (math.nan, "l1", "epsilon must be 0 or more"),
        (0.1, "l0", "unknown norm 'l0'"),
    ):
        with pytest.raises(UsageError, match=words):
            require_ball(epsilon, norm)
    with pytest.raises(
        UsageError, match=r"norm l1 requires epsilon.*8/255 in every value of these images has 0\.75"
    ):
        radius(None, "l1", (4, 2, 3))
