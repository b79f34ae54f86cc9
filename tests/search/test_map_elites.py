"""MAP-Elites: the same bits however a run is cut up, and the confidences of the saved images."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool.errors import UsageError
from evofool.images import from_uint8, round_to_8_bits, to_uint8
from evofool.search import Cut


def digest(state: Any) -> str:
    """The bits of an archive."""
    leaves = jax.tree.leaves(state.archive)
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


def classifier() -> evofool.Classifier:
    return evofool.load_classifier("lenet-digits")


@cache
def digits_search() -> evofool.Search:
    """The same object in every test that does not need another, so that they share a compiled program."""
    return evofool.map_elites(evofool.direct((28, 28, 1)), evofool.MapElitesOptions(50))


def small_run(devices: int | None = None) -> Any:
    """With a batch size that eight devices do not divide."""
    mesh = None if devices is None else evofool.population_mesh(devices)
    search = evofool.map_elites(evofool.direct((28, 28, 1)), evofool.MapElitesOptions(37))
    return evofool.run(search, classifier(), 6, seed=3, cut=Cut(mesh))


def test_results_do_not_depend_on_the_length_of_chunks() -> None:
    digests = {
        digest(evofool.run(digits_search(), classifier(), 30, seed=3, chunk=chunk)) for chunk in (None, 1, 7)
    }
    assert len(digests) == 1


def strategy_run(devices: int | None = None) -> Any:
    """Two classes with three blocks each, which eight devices do not divide."""
    mesh = None if devices is None else evofool.population_mesh(devices)
    teacher = evofool.create_classifier("mlp", (6, 6, 1), ("a", "b", "c"), activation="sigmoid")
    options = evofool.StrategyOptions(policies=2100)
    search = evofool.evolution_strategy(evofool.student((6, 6, 1)), options, targets=(2, 0))
    return evofool.run(search, teacher, 3, seed=3, cut=Cut(mesh))


@pytest.mark.exact
@pytest.mark.parametrize("made", [small_run, pytest.param(strategy_run, marks=pytest.mark.slow)])
def test_eight_devices_give_the_bits_of_one(made: Callable[..., Any]) -> None:
    code = (
        "from tests.search import test_map_elites as t\n"
        f"state = t.{made.__name__}(8)\n"
        "assert len(state.archive.confidences.sharding.device_set) == 8\n"
        "print(t.digest(state))"
    )
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == [digest(made())]


def test_a_continued_run_equals_an_uninterrupted_one() -> None:
    half = evofool.run(digits_search(), classifier(), 5, seed=1)
    whole = evofool.run(digits_search(), classifier(), 10, state=half)
    assert digest(whole) == digest(evofool.run(digits_search(), classifier(), 10, seed=1))
    assert int(whole.generation) == 10


def test_different_seeds_give_different_elites() -> None:
    first, second = (evofool.run(digits_search(), classifier(), 3, seed=seed) for seed in (1, 2))
    assert digest(first) != digest(second)


def test_the_first_generation_is_random_and_fills_every_niche() -> None:
    archive = evofool.run(digits_search(), classifier(), 1).archive
    assert np.all(np.asarray(archive.confidences) > -np.inf)
    assert archive.parents.tolist() == [-1] * 10
    assert archive.generations.tolist() == [1] * 10
    assert abs(float(archive.genomes.mean()) - 0.5) < 0.03


def test_the_archives_confidences_are_those_of_the_saved_images() -> None:
    encoding = evofool.direct((28, 28, 1))
    state = evofool.run(digits_search(), classifier(), 30)
    levels = to_uint8(round_to_8_bits(encoding.render(state.archive.genomes)))
    confidences = np.diag(classifier()(from_uint8(levels)))
    np.testing.assert_allclose(confidences, state.archive.confidences, atol=1e-6)


def test_metrics_describe_the_archive() -> None:
    seen = []
    state = evofool.run(
        digits_search(), classifier(), 12, chunk=5, on_chunk=lambda state, metrics: seen.append(metrics)
    )
    confidences = np.asarray(state.archive.confidences)
    last = {name: values[-1] for name, values in seen[-1].items()}
    assert [len(metrics["median_confidence"]) for metrics in seen] == [5, 5, 2]
    assert last["median_confidence"] == pytest.approx(np.median(confidences))
    assert last["lower_quartile_confidence"] == pytest.approx(np.quantile(confidences, 0.25))
    assert last["upper_quartile_confidence"] == pytest.approx(np.quantile(confidences, 0.75))
    assert last["mean_confidence"] == pytest.approx(confidences.mean())
    assert (last["min_confidence"], last["max_confidence"]) == (confidences.min(), confidences.max())
    assert last["niches_over_0.99"] == (confidences > 0.99).sum()
    assert last["niches_over_0.9999"] == (confidences > 0.9999).sum()
    assert sum(metrics["replacements"].sum() for metrics in seen) == state.archive.replacements.sum()
    medians = np.concatenate([metrics["median_confidence"] for metrics in seen])
    assert np.all(np.diff(medians) >= 0)


def test_only_targets_have_niches() -> None:
    search = evofool.map_elites(evofool.direct((28, 28, 1)), evofool.MapElitesOptions(50), targets=(7, 2))
    state = evofool.run(search, classifier(), 40)
    images = evofool.direct((28, 28, 1)).render(state.archive.genomes)
    assert classifier()(images).argmax(axis=1).tolist() == [7, 2]
    assert set(state.archive.parents.tolist()) <= {0, 1}


def test_a_classifier_that_returns_nan_fills_no_niche() -> None:
    spec = evofool.ClassifierSpec("broken", (4, 4, 1), ("a", "b"))
    broken = evofool.Classifier(
        (), lambda params, images: jnp.stack([images.sum(axis=(1, 2, 3)) * jnp.nan] * 2, axis=1), spec
    )
    state = evofool.run(
        evofool.map_elites(evofool.direct((4, 4, 1)), evofool.MapElitesOptions(10)), broken, 3
    )
    assert np.all(np.asarray(state.archive.confidences) == -np.inf)
    assert state.archive.replacements.tolist() == [0, 0]


def test_parents_are_drawn_uniformly_from_the_filled_niches() -> None:
    """Offspring are copies of a bright elite or a dark one; the niche between them stays empty."""
    spec = evofool.ClassifierSpec("partial", (4, 4, 1), ("a", "b", "c"), "sigmoid")

    def logits(params: Any, images: Any) -> Any:
        level = images.mean(axis=(1, 2, 3))
        return jnp.stack([level, level * jnp.nan, -level], axis=1)

    def copy(keys: jax.Array, pairs: jax.Array, generation: jax.Array) -> jax.Array:
        return pairs

    encoding = evofool.direct((4, 4, 1))._replace(
        vary=copy, metrics=lambda genomes: {"bright": (genomes.mean(axis=1) > 0.5).mean()}
    )
    seen = []
    state = evofool.run(
        evofool.map_elites(encoding, evofool.MapElitesOptions(4000)),
        evofool.Classifier((), logits, spec),
        3,
        on_chunk=lambda state, metrics: seen.extend(metrics["bright"]),
    )
    dark, bright = np.asarray(state.archive.genomes)[[2, 0]].mean(axis=1)
    assert dark < 0.4 < 0.6 < bright
    assert state.archive.confidences[1] == -np.inf
    # Four standard deviations of 4,000 draws with equal chances.
    assert np.abs(np.array(seen[1:]) - 0.5).max() < 4 * 0.5 / np.sqrt(4000)


def test_bad_targets_and_lengths_are_named() -> None:
    encoding = evofool.direct((28, 28, 1))
    for targets in ((10,), (), (1, 1)):
        with pytest.raises(UsageError, match="one or more of lenet-digits's classes, 0 to 9, each once"):
            evofool.run(evofool.map_elites(encoding, targets=targets), classifier(), 1)
    with pytest.raises(UsageError, match="batch_size must be above zero, not 0"):
        evofool.map_elites(encoding, evofool.MapElitesOptions(0))
    with pytest.raises(UsageError, match="generations must be above zero, not -1"):
        evofool.run(evofool.map_elites(encoding), classifier(), -1)
    with pytest.raises(UsageError, match="chunk must be above zero, not 0"):
        evofool.run(evofool.map_elites(encoding), classifier(), 1, chunk=0)
    with pytest.raises(UsageError, match="devices must be 1 to"):
        evofool.population_mesh(1000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_every_digit_is_fooled_within_200_generations(lenet: evofool.Classifier, seed: int) -> None:
    """Nguyen et al., section 3.1: median confidence 99.99% by generation 200."""
    state = evofool.run(
        evofool.map_elites(evofool.direct((28, 28, 1)), evofool.MapElitesOptions(200)), lenet, 200, seed=seed
    )
    assert np.median(state.archive.confidences) >= 0.9999
