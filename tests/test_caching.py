"""Equal settings make the same search, so that nothing is compiled again."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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
from evofool.caching import cached, keep_compiled_programs
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


def test_a_folder_for_compiled_programs_that_the_user_names_stays() -> None:
    named = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    keep_compiled_programs()
    assert named[0] == os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert named == (
        jax.config.jax_compilation_cache_dir,
        jax.config.jax_persistent_cache_min_compile_time_secs,
    )


def test_programs_are_kept_for_the_next_process(tmp_path: Path) -> None:
    """In a process of its own, since JAX opens one cache per process."""
    program = "import jax, evofool, jax.numpy as jnp; print(jax.jit(jnp.sin)(0.0))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"EVOFOOL_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "0.0\n", done.stderr
    assert any((tmp_path / "compiled").iterdir())
