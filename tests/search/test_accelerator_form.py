"""The programs for accelerators, run on whatever is here, find what those for a CPU find, to rounding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import evofool
from evofool.numerics.platform import assumed

SHAPE = (28, 28, 1)


def direct_search() -> evofool.Search:
    return evofool.map_elites(evofool.direct(SHAPE), evofool.MapElitesOptions(31))


def strategy() -> evofool.Search:
    """Two classes whose policies are two blocks each on accelerators."""
    return evofool.evolution_strategy(evofool.student(SHAPE), evofool.StrategyOptions(100), targets=(3, 8))


@pytest.mark.parametrize(
    ("search", "seeds"), [(direct_search, None), pytest.param(strategy, (5, 6), marks=pytest.mark.slow)]
)
def test_the_form_for_accelerators_finds_the_same_elites(
    search: Callable[[], evofool.Search], seeds: tuple[int, ...] | None
) -> None:
    def archive(platform: str) -> Any:
        with assumed(platform):
            classifier = evofool.load_classifier("lenet-digits")
            return evofool.run(search(), classifier, 3, seed=5, seeds=seeds, chunk=3).archive

    cpu, gpu = archive("cpu"), archive("gpu")
    np.testing.assert_allclose(cpu.confidences, gpu.confidences, rtol=1e-4)
    for field in ("generations", "indices", "parents", "parent_indices", "replacements"):
        np.testing.assert_array_equal(getattr(cpu, field), getattr(gpu, field), err_msg=field)
    np.testing.assert_allclose(cpu.genomes, gpu.genomes, atol=1e-5)
