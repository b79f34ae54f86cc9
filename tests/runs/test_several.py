"""Several runs in one directory: each is the one that its seed gives alone."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.runs.common import Main

ARGUMENTS = ("evolve", "--batch-size", 20, "--quiet", "--generations", 12)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from evofool.cli import main

    out = tmp_path_factory.mktemp("runs") / "several"
    with pytest.raises(SystemExit):
        main([*map(str, ARGUMENTS), "--seed", "4", "--seeds", "3", "--out", str(out)])
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_elites_of_each_run_are_those_of_its_seed_alone(
    several: Path, evofool_main: Main, tmp_path: Path
) -> None:
    assert sorted(path.name for path in (several / "seeds").iterdir()) == ["4", "5", "6"]
    evofool_main(*ARGUMENTS, "--seed", 5, "--out", tmp_path / "alone")
    alone = contents(tmp_path / "alone")
    assert contents(several / "seeds" / "5") == {
        name: content for name, content in alone.items() if name.startswith("elites/") or name == "elites.csv"
    }


def test_the_table_and_the_metrics_are_over_the_runs(several: Path) -> None:
    from evofool.runs.metrics import read_metrics

    rows = table(several / "seeds.csv")
    assert [row["seed"] for row in rows] == ["4", "5", "6"]
    medians = []
    for row in rows:
        elites = table(several / "seeds" / row["seed"] / "elites.csv")
        medians.append(np.median([float(elite["confidence"]) for elite in elites]))
        assert float(row["median_confidence"]) == pytest.approx(medians[-1], abs=1e-6)
    last = read_metrics(several / "metrics.jsonl")[-1]
    assert last["evaluations"] == 12 * 20 * 3
    for name, value in {
        "median": np.median(medians),
        "lower_quartile": np.quantile(medians, 0.25),
        "min": min(medians),
        "max": max(medians),
    }.items():
        assert last[f"{name}_confidence"] == pytest.approx(value, abs=1e-6)
    assert (several / "elites.png").exists()
    assert (several / "convergence.png").exists()


def test_resumed_runs_end_as_uninterrupted_ones(several: Path, evofool_main: Main, tmp_path: Path) -> None:
    out = tmp_path / "resumed"
    evofool_main(*ARGUMENTS, "--seed", 4, "--seeds", 3, "--out", out, "--generations", 5)
    assert evofool_main("evolve", "--resume", out, "--generations", 12, "--quiet")[0] == 0
    assert contents(out / "seeds") == contents(several / "seeds")
    code, _, error = evofool_main("evolve", "--resume", out, "--seeds", 4)
    assert code == 2
    assert "seeds is 4, not 3" in error


def test_a_number_of_seeds_that_is_not_positive_is_named(evofool_main: Main) -> None:
    code, _, error = evofool_main("evolve", "--seeds", 0)
    assert code == 2
    assert "seeds must be above zero, not 0" in error
