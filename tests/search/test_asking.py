"""A search that asks a black box is the one that is compiled with the same classifier."""

import threading
from typing import Any

import jax
import numpy as np
import pytest

import evofool
from evofool import BlackBox, UsageError
from evofool.search import QUERIES

CLASSIFIER = evofool.create_classifier("linear", (6, 6, 1), ("a", "b", "c"))
SCORE = jax.jit(lambda images: CLASSIFIER(images))
PADDED = 32


def confidences(images: np.ndarray) -> np.ndarray:
    filled = np.concatenate([images, np.zeros((PADDED - len(images), 6, 6, 1), np.float32)])
    return np.asarray(SCORE(filled))[: len(images)]


class Service:
    """Answers, fails in a share of its calls, dies for good, and counts."""

    def __init__(self, share: float = 0.0, dies_after: float = np.inf) -> None:
        self.random, self.lock = np.random.default_rng(3), threading.Lock()
        self.share, self.dies_after, self.served, self.refused = share, dies_after, 0, 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with self.lock:
            if self.random.random() < self.share or self.served >= self.dies_after:
                self.refused += len(images)
                raise ConnectionError("503")
            self.served += len(images)
        return confidences(images)

    def box(self, **options: Any) -> BlackBox:
        names = CLASSIFIER.spec.class_names
        return BlackBox(self, (6, 6, 1), names, **{"backoff": 0.0, "max_batch": 20, **options})


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one.archive), jax.tree.leaves(other.archive), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def breeding() -> evofool.Search:
    return evofool.map_elites(evofool.direct((6, 6, 1)), evofool.MapElitesOptions(31))


def climbing() -> evofool.Search:
    return evofool.evolution_strategy(
        evofool.direct((6, 6, 1)), evofool.StrategyOptions(policies=30), targets=(2, 0)
    )


@pytest.mark.parametrize("make", [breeding, climbing])
@pytest.mark.parametrize("options", [{"in_flight": 3, "max_batch": 7}, {"cache": 0}])
def test_the_elites_are_those_of_the_compiled_search(make: Any, options: dict[str, Any]) -> None:
    search, service, chunks = make(), Service(0.1), []
    box = service.box(retries=30, **options)
    state = evofool.run(search, box, 12, seed=4, on_chunk=lambda state, chunk: chunks.append(chunk))
    assert_same(state, evofool.run(search, CLASSIFIER, 12, seed=4))
    asked, cached, failed, padded = (sum(chunk[name].sum() for chunk in chunks) for name in QUERIES)
    assert (asked, failed) == (service.served, service.refused)
    assert (asked + cached, padded) == (12 * search.evaluations(box), 0)
    assert failed > 0


def test_the_result_does_not_depend_on_how_a_generation_is_cut() -> None:
    whole = evofool.run(breeding(), Service().box(), 6)
    assert_same(evofool.run(breeding(), Service().box(), 6, cut=evofool.Cut(microbatch=4)), whole)
    with pytest.raises(UsageError, match="one process and device"):
        evofool.run(breeding(), Service().box(), 6, cut=evofool.Cut(evofool.population_mesh(1)))


def test_many_runs_are_those_of_their_seeds() -> None:
    states = evofool.run(breeding(), Service().box(), 4, seeds=(7, 9))
    for index, seed in enumerate((7, 9)):
        assert_same(evofool.one_run(states, index), evofool.run(breeding(), CLASSIFIER, 4, seed=seed))


def test_a_box_that_dies_loses_no_whole_generation() -> None:
    kept: list[Any] = []
    service = Service(dies_after=31 * 5 + 10)
    with pytest.raises(ConnectionError, match="503"):
        evofool.run(
            breeding(),
            service.box(retries=2, cache=0),
            12,
            chunk=4,
            on_chunk=lambda state, chunk: kept.append((state, len(chunk["queries"]))),
        )
    assert [(int(state.generation), length) for state, length in kept] == [(4, 4), (5, 1)]
    service.dies_after = np.inf
    resumed = evofool.run(breeding(), service.box(), 12, state=kept[-1][0])
    assert_same(resumed, evofool.run(breeding(), CLASSIFIER, 12))


@pytest.mark.parametrize("box", [False, True])
def test_a_search_stops_before_the_generation_that_exceeds_its_queries(box: bool) -> None:
    service, chunks = Service(), []
    fooled = service.box(cache=0) if box else CLASSIFIER
    state = evofool.run(
        breeding(), fooled, 12, max_queries=31 * 7 + 30, on_chunk=lambda _, chunk: chunks.append(chunk)
    )
    assert int(state.generation) == 7
    assert sum(chunk["queries"].sum() for chunk in chunks) == 31 * 7
    assert sum(chunk["padded_queries"].sum() for chunk in chunks) == (0 if box else 7)
    assert service.served == (31 * 7 if box else 0)
    with pytest.raises(UsageError, match="31 images, not 30"):
        evofool.run(breeding(), fooled, 12, max_queries=30)
