"""Equal settings make the same search, so that nothing is compiled again."""

from collections.abc import Callable
from typing import Any

import jax
import optax
import pytest

from evofool import (
    DirectOptions,
    MapElitesOptions,
    StrategyOptions,
    StudentOptions,
    UsageError,
    create_classifier,
    direct,
    evolution_strategy,
    map_elites,
    run,
    student,
)
from evofool.caching import cached
from evofool.encodings import IsoLineVariation
from evofool.numerics.platform import assumed

SHAPE = (8, 8, 1)


def test_equal_settings_make_the_same_object_and_others_another() -> None:
    assert direct(SHAPE) is direct(list(SHAPE), DirectOptions())
    assert direct(SHAPE) is not direct((8, 8, 3))
    assert direct(SHAPE) is not direct(SHAPE, DirectOptions(IsoLineVariation()))
    search = map_elites(direct(SHAPE), MapElitesOptions(20), targets=(0, 1))
    assert search is map_elites(options=MapElitesOptions(20), encoding=direct(SHAPE), targets=[0, 1])
    assert search is not map_elites(direct(SHAPE), MapElitesOptions(20), targets=(1, 0))
    drawing = student(SHAPE, StudentOptions(variation=None))
    optimizer = optax.adam(0.1)
    strategy = evolution_strategy(drawing, optimizer=optimizer)
    assert strategy is evolution_strategy(drawing, StrategyOptions(), optimizer=optimizer)
    assert strategy is not evolution_strategy(drawing, optimizer=optax.adam(0.1))


def test_a_second_search_of_the_same_settings_compiles_nothing() -> None:
    classifier = create_classifier("linear", SHAPE, ("even", "odd"))
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    medians = []
    for _ in range(2):
        before = len(compiled)
        state = run(map_elites(direct(SHAPE), MapElitesOptions(6)), classifier, 3)
        medians.append(state.archive.confidences.tolist())
    jax.monitoring.clear_event_listeners()
    assert before > 0  # the first run has compiled
    assert len(compiled) == before
    assert medians[0] == medians[1]


def test_another_platform_has_searches_of_its_own() -> None:
    search = map_elites(direct(SHAPE), MapElitesOptions(6))
    with assumed("gpu"):
        assert map_elites(direct(SHAPE), MapElitesOptions(6)) is not search
    assert map_elites(direct(SHAPE), MapElitesOptions(6)) is search


def test_wrong_calls_raise_what_they_raise_without_the_cache() -> None:
    make: Callable[..., Any] = map_elites
    with pytest.raises(TypeError, match="encoding"):
        make()
    with pytest.raises(UsageError, match="grey"):
        direct((8, 8, 2))


def test_arguments_without_a_hash_make_new_objects() -> None:
    make = cached(lambda values: [values])
    values = {"a": {1, 2}}
    assert make(values) is not make(values)
    assert make(values) == [values]
