"""Many runs in one program: each has the bits that it has alone."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool import Cut, one_run
from evofool.errors import UsageError

SHAPE = (28, 28, 1)
SEEDS = (3, 9, 4, 11)


def classifier() -> evofool.Classifier:
    return evofool.load_classifier("lenet-digits")


def direct_search() -> evofool.Search:
    return evofool.map_elites(evofool.direct(SHAPE), evofool.MapElitesOptions(21))


def cppn_search() -> evofool.Search:
    return evofool.map_elites(evofool.cppn(SHAPE), evofool.MapElitesOptions(8))


def strategy() -> evofool.Search:
    return evofool.evolution_strategy(evofool.student(SHAPE), evofool.StrategyOptions(20), targets=(3, 8))


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one.archive), jax.tree.leaves(other.archive), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("search", "cut"),
    [
        (direct_search, Cut()),
        pytest.param(direct_search, Cut(microbatch=50), marks=pytest.mark.slow),
        pytest.param(direct_search, Cut(microbatch=6), marks=pytest.mark.slow),
        pytest.param(cppn_search, Cut(), marks=pytest.mark.slow),
        pytest.param(strategy, Cut(), marks=pytest.mark.slow),
    ],
)
def test_each_run_has_the_bits_that_it_has_alone(search: Callable[[], evofool.Search], cut: Cut) -> None:
    """With all runs at once, two at once, and one after the other in parts."""
    states = evofool.run(search(), classifier(), 5, seeds=SEEDS, cut=cut)
    for index in (0, len(SEEDS) - 1):
        assert_same(one_run(states, index), evofool.run(search(), classifier(), 5, seed=SEEDS[index]))


def test_metrics_have_an_axis_of_runs_and_continued_runs_are_the_uninterrupted_ones() -> None:
    seen: list[dict[str, np.ndarray]] = []
    half = evofool.run(
        direct_search(), classifier(), 3, seeds=SEEDS, on_chunk=lambda state, metrics: seen.append(metrics)
    )
    assert int(half.generation) == 3
    assert sum(len(metrics["median_confidence"]) for metrics in seen) == 3
    np.testing.assert_array_equal(
        seen[-1]["median_confidence"][-1], np.median(half.archive.confidences, axis=1)
    )
    whole = evofool.run(direct_search(), classifier(), 6, seeds=SEEDS, state=half)
    assert_same(whole, evofool.run(direct_search(), classifier(), 6, seeds=SEEDS))


def brightness(params: jax.Array, images: jax.Array) -> jax.Array:
    level = images.mean(axis=(1, 2, 3))
    return params * jnp.stack([-level, level], axis=1)


def bright(weight: float, name: str = "bright") -> evofool.Classifier:
    spec = evofool.ClassifierSpec(name, (4, 4, 1), ("dark", "bright"))
    return evofool.Classifier(jnp.float32(weight), brightness, spec)


def test_runs_can_have_classifiers_that_differ_in_their_weights() -> None:
    search = evofool.map_elites(evofool.direct((4, 4, 1)), evofool.MapElitesOptions(10))
    classifiers = [bright(1.0, "weak"), bright(8.0, "strong")]
    states = evofool.run(search, classifiers, 5, seeds=(1, 2))
    for index, (weight, seed) in enumerate(((1.0, 1), (8.0, 2))):
        assert_same(one_run(states, index), evofool.run(search, bright(weight), 5, seed=seed))


def test_what_does_not_go_together_is_named() -> None:
    search = evofool.map_elites(evofool.direct((4, 4, 1)), evofool.MapElitesOptions(10))
    with pytest.raises(UsageError, match="seeds must be one or more, not none"):
        evofool.run(search, bright(1.0), 1, seeds=())
    with pytest.raises(UsageError, match="2 classifiers need as many seeds, not 3"):
        evofool.run(search, [bright(1.0)] * 2, 1, seeds=(1, 2, 3))
    with pytest.raises(UsageError, match="only in their weights, but lenet-digits differs from bright"):
        evofool.run(search, [bright(1.0), classifier()], 1, seeds=(1, 2))


@pytest.mark.exact
def test_a_large_state_is_updated_in_place_and_one_that_is_passed_in_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A state is large from 64 MB on; here it is taken to be."""
    search = evofool.map_elites(evofool.direct((4, 4, 1)), evofool.MapElitesOptions(10))
    half = evofool.run(search, bright(1.0), 2)
    expected = evofool.run(search, bright(1.0), 5, state=half)
    monkeypatch.setattr(sys.modules["evofool.search.run"], "_SMALL_STATE", 0)
    assert_same(evofool.run(search, bright(1.0), 5, state=half, chunk=2), expected)
    assert int(half.generation) == 2
    assert np.asarray(half.archive.confidences).shape == (2,)
