"""The log of a run: valid JSON, of which nothing readable is ever lost."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evofool.report import convergence_plot, reward_plot
from evofool.results import Results
from evofool.runs import RunDirectory
from evofool.runs.directory import RUN
from evofool.runs.metrics import MetricsLog, is_logged, read_metrics
from tests.runs.common import Main, copy_of, logged, one_line


def strict(line: str) -> dict[str, Any]:
    """A line as a strict parser reads it, which NaN and Infinity are not JSON for."""

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    return json.loads(line, parse_constant=refuse)


def test_the_metrics_are_one_object_per_generation(whole: Path) -> None:
    records = [strict(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [record["generation"] for record in records] == list(range(1, 61))
    assert [record["evaluations"] for record in records] == list(range(20, 1220, 20))
    assert {
        "seconds",
        "evaluations_per_second",
        "median_confidence",
        "mean_confidence",
        "min_confidence",
        "niches_over_0.99",
        "niches_over_0.9999",
        "replacements",
    } <= records[0].keys()
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(records))


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    results = Results.create(tmp_path / "run", RUN)
    log = MetricsLog(results, evaluations=4, every=1)
    log.rewind(0)
    names = ("median", "min", "max", "lower_quartile", "upper_quartile")
    confidences = {f"{name}_confidence": np.array([-np.inf, 0.5], np.float32) for name in names}
    rewards = np.array([[np.nan, 0.25], [0.5, np.inf]], np.float32)
    log.add(2, {**confidences, "mean_rewards": rewards, "max_rewards": rewards}, saving=True)
    path = results.path / "metrics.jsonl"
    first, second = map(strict, path.read_text().splitlines())
    assert (first["median_confidence"], second["median_confidence"]) == (None, 0.5)
    assert (first["mean_rewards"], second["mean_rewards"]) == ([None, 0.25], [0.5, None])
    records = read_metrics(path)
    assert np.isnan(records[0]["median_confidence"])
    np.testing.assert_equal(records[0]["mean_rewards"], [np.nan, 0.25])
    convergence_plot(records, tmp_path / "convergence.png")
    reward_plot(records, ["a", "b"], tmp_path / "rewards.png")


def test_ten_million_generations_are_fewer_than_ten_thousand_lines() -> None:
    chosen = [generation for generation in range(1, 32_001) if is_logged(generation)]
    assert chosen[:1000] == list(range(1, 1001))
    of_doublings = [sum(1000 * 2**k < each <= 2000 * 2**k for each in chosen) for k in range(5)]
    assert of_doublings == [500] * 5
    assert 1000 + 500 * np.log2(10**7 / 1000) < 10_000
    last = [generation for generation in range(10**7 - 50_000, 10**7) if is_logged(generation)]
    assert np.diff(last).tolist() == [2**14] * (len(last) - 1)


@pytest.mark.parametrize("lengths", [[1] * 30, [7, 7, 7, 7, 2], [30]])
@pytest.mark.parametrize("ends", [[30], [12, 19, 30]])
def test_a_run_in_parts_logs_the_lines_of_one_that_is_whole(
    tmp_path: Path, lengths: list[int], ends: list[int]
) -> None:
    """Each part ends with a checkpoint, and the next goes on from it."""
    results = Results.create(tmp_path / "run", RUN)
    done, seconds = 0, 0.0
    for end in ends:
        log = MetricsLog(results, evaluations=4, every=5)
        assert log.rewind(done) == []
        assert log.newest.get("generation", 0) == done
        for length in lengths:
            if (taken := min(length, end - done)) > 0:
                done += taken
                record = log.add(done, {"median_confidence": np.ones(taken)}, saving=done == end)
        lines = read_metrics(results.path / "metrics.jsonl")
        on_grid = [generation for generation in range(1, end + 1) if generation % 5 == 0]
        assert [line["generation"] for line in lines] == on_grid + [end] * (end % 5 > 0)
        assert lines[-1] == record
        assert record["seconds"] >= seconds
        seconds = record["seconds"]


def test_the_line_of_a_checkpoint_stays_until_another_follows(tmp_path: Path) -> None:
    results = Results.create(tmp_path / "run", RUN)
    log = MetricsLog(results, evaluations=4, every=100)
    log.rewind(0)
    seen = []
    for generation in range(1, 6):
        log.add(generation, {"median_confidence": np.ones(1)}, saving=generation in (2, 4))
        seen.append([record["generation"] for record in read_metrics(results.path / "metrics.jsonl")])
    assert seen == [[], [2], [2], [4], [4]]


DAMAGE = [
    *(
        b"{}",
        b"[]",
        b"7",
        b'{"generation": null, "seconds": 1}',
        b'{"gener',
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
    ),
    *(b'{"generation": 1, "seconds": NaN}', b'{"generation": 1.5, "seconds": 1}', b"1" * 5000),
    *(
        b'{"generation": 7, "seconds": 1}',
        b'{"generation": 999, "seconds": 1}',
    ),  # repeated, too early
]


def test_lines_around_a_damaged_one_are_kept_and_it_is_moved_aside(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    with (run / "metrics.jsonl").open("wb") as file:
        for index, line in enumerate(lines):
            file.write(line)
            if 20 <= index < 20 + len(DAMAGE):
                file.write(DAMAGE[index - 20] + b"\n")
    assert [r["generation"] for r in RunDirectory.open(run).read_metrics() if r["generation"] < 999] == list(
        range(1, 61)
    )
    code, out, _ = evofool_main("evolve", "--resume", run, "--generations", 61)
    assert code == 0
    assert f"{len(DAMAGE)} damaged lines of metrics.jsonl moved to {run / 'damaged-lines.txt'}" in out
    assert logged(run) == list(range(1, 62))
    assert (run / "metrics.jsonl").read_bytes().startswith(b"".join(lines))
    aside = (run / "damaged-lines.txt").read_bytes()
    assert all(line in aside for line in DAMAGE)
    code, out, _ = evofool_main("evolve", "--resume", run, "--generations", 62)
    assert "damaged" not in out.partition("Generation 62")[0]
    assert f"Damaged      {run / 'damaged-lines.txt'}" in out


def test_a_flipped_bit_loses_one_line_at_most(whole: Path, tmp_path: Path) -> None:
    results = Results.create(tmp_path / "run", RUN)
    path = results.add("metrics.jsonl")
    content = (whole / "metrics.jsonl").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        MetricsLog(results, evaluations=20, every=1).rewind(60)
        kept = path.read_bytes().splitlines()
        lost = set(content.splitlines()) - set(kept)
        aside = results.path / "damaged-lines.txt"
        assert len(lost) <= 2, "a line break that is lost joins two lines"
        assert len(kept) == 60 or aside.exists(), "what is not kept is moved aside"
        aside.unlink(missing_ok=True)


def test_the_end_of_a_line_that_a_kill_cut_short_is_dropped_without_a_word(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"generation": 61, "seco')
    code, out, _ = evofool_main("evolve", "--resume", run)
    assert code == 0
    assert "damaged" not in out
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(("keep", "words"), [(0, "from 1 to 60"), (40, "from 41 to 60")])
def test_records_that_are_missing_are_reported(
    whole: Path, tmp_path: Path, evofool_main: Main, keep: int, words: str
) -> None:
    run = copy_of(whole, tmp_path)
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:keep]) + lines[keep][:30])
    code, out, _ = evofool_main("evolve", "--resume", run, "--generations", 61)
    assert code == 0
    assert f"metrics.jsonl lacks the generations {words}" in out
    assert logged(run) == [*range(1, keep + 1), 61]


def test_a_last_line_without_its_line_break_is_kept(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    (run / "metrics.jsonl").write_bytes((whole / "metrics.jsonl").read_bytes().rstrip())
    assert evofool_main("evolve", "--resume", run, "--generations", 61, "--quiet")[0] == 0
    assert logged(run) == list(range(1, 62))


def test_a_log_that_cannot_be_read_is_one_line(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "Is a directory" in one_line(err)
