"""`evofool evolve` against a service that fails, and dies: the same elites, and its own count of queries."""

import csv
import functools
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evofool
from evofool.classifiers import serving
from tests.runs.common import Main, one_line

GENERATIONS = 50
ARGUMENTS = ("--batch-size", 20, "--quiet")
ASKING = ("--backoff", 0.001, "--max-batch", 8, "--in-flight", 3)


class Faults:
    """Lets a served classifier fail in a share of its answers, and counts both."""

    def __init__(self, share: float) -> None:
        self.share, self.served, self.refused, self.dies_after = share, 0, 0, 10**9
        self._random, self._lock = random.Random(5), threading.Lock()

    def __call__(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def answer(images: np.ndarray) -> np.ndarray:
            with self._lock:
                if self._random.random() < self.share or self.served >= self.dies_after:
                    self.refused += len(images)
                    raise ConnectionError("overloaded")
                self.served += len(images)
            return function(images)

        return answer


def table(run: Path) -> list[dict[str, str]]:
    with (run / "elites.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def last_line(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The run of some generations that is compiled with its classifier."""
    from evofool.cli import main

    @functools.cache
    def run_of(generations: int) -> Path:
        run = tmp_path_factory.mktemp("compiled") / "run"
        with pytest.raises(SystemExit):
            main([*map(str, ("evolve", *ARGUMENTS, "--generations", generations, "--out", run))])
        return run

    return run_of


def assert_same_elites(run: Path, other: Path) -> None:
    for ours, theirs in zip(table(run), table(other), strict=True):
        confidences = [float(row.pop("confidence")) for row in (ours, theirs)]
        assert confidences[0] == pytest.approx(confidences[1], abs=1e-5)
        assert ours == theirs
        assert (run / ours["file"]).read_bytes() == (other / theirs["file"]).read_bytes()


@pytest.mark.parametrize("generations", [GENERATIONS, pytest.param(200, marks=pytest.mark.slow)])
def test_a_service_that_fails_in_one_of_twenty_answers_changes_nothing(
    compiled: Callable[[int], Path], tmp_path: Path, evofool_main: Main, generations: int
) -> None:
    faults, run = Faults(0.05), tmp_path / "run"
    with serving(evofool.load_classifier("lenet-digits"), wrap=faults) as url:
        asked = ("--classifier", url, "--generations", generations, "--out", run)
        code, _, err = evofool_main("evolve", *ARGUMENTS, *ASKING, *asked)
    assert (code, err) == (0, "")
    assert_same_elites(run, compiled(generations))
    line = last_line(run)
    assert line["queries"] == faults.served
    assert line["queries"] + line["cached_queries"] == line["evaluations"] == 20 * generations
    assert line["failed_queries"] == faults.refused > 0


def test_a_service_that_dies_for_good_loses_nothing(
    compiled: Callable[[int], Path], tmp_path: Path, evofool_main: Main
) -> None:
    faults, run = Faults(0.0), tmp_path / "run"
    faults.dies_after = 434
    with serving(evofool.load_classifier("lenet-digits"), wrap=faults) as url:
        asked = ("--retries", 2, "--classifier", url, "--generations", GENERATIONS, "--out", run)
        code, _, err = evofool_main("evolve", *ARGUMENTS, *ASKING, *asked)
        assert code == 1
        assert (
            f"503 Service Unavailable. What was found is kept: continue with evofool evolve --resume {run}"
            in (one_line(err))
        )
        # Up to a generation before, and the other requests in flight after.
        assert 434 - 20 < last_line(run)["queries"] < 434 + 3 * 8
        faults.dies_after = 10**9
        assert evofool_main("evolve", "--resume", run, "--quiet", "--max-queries", 900)[0] == 0
        assert last_line(run)["evaluations"] == 900
        assert evofool_main("evolve", "--resume", run, "--quiet")[0] == 0
        code, _, err = evofool_main("evolve", "--classifier", url, "--ten-crop", "--out", tmp_path / "other")
        assert (code, "can only be asked: ten_crop" in one_line(err)) == (2, True)
    assert_same_elites(run, compiled(GENERATIONS))
