"""A whole run: nothing that happens to it changes its result."""

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evofool
from evofool.errors import EvofoolError
from evofool.images import from_uint8, read_png
from evofool.runs import RunDirectory, RunOptions, evolve, prepare
from evofool.runs.checkpoints import Checkpoints
from tests.runs.common import (
    SMALL,
    Main,
    Start,
    copy_of,
    finalised,
    logged,
    one_line,
    same_archives,
    settings_for,
    wait_for,
)


def same_tables(one: Path, other: Path) -> bool:
    tables = ("elites.csv", "lineage.csv")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in tables)


def test_every_png_classified_again_has_the_confidence_in_the_table(whole: Path) -> None:
    classifier = evofool.load_classifier("lenet-digits")
    with (whole / "elites.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(classifier.spec.class_names)
    for row in rows:
        confidences = classifier(from_uint8(read_png(whole / row["file"])[None]))[0]
        assert abs(float(confidences[int(row["class"])]) - float(row["confidence"])) <= 1e-5
        assert 1 <= int(row["generation"]) <= 60
        assert row["parent"] in (*classifier.spec.class_names, "")


def test_a_run_in_two_parts_is_the_whole_run(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    parts = tmp_path / "parts"
    assert evofool_main("evolve", "--generations", 25, *SMALL, "--out", parts, "--quiet")[0] == 0
    code, out, _ = evofool_main("evolve", "--resume", parts, "--generations", 60)
    assert code == 0
    assert "Generation 60" in out
    assert same_archives(parts, whole)
    assert logged(parts) == list(range(1, 61))
    assert same_tables(parts, whole)


@pytest.mark.parametrize("chunk", [7, pytest.param(50, marks=pytest.mark.slow)])
def test_the_length_of_chunks_changes_nothing(
    whole: Path, tmp_path: Path, evofool_main: Main, chunk: int
) -> None:
    run = tmp_path / "run"
    options = ("--generations", 60, *SMALL, "--chunk", chunk, "--log-every", 20, "--checkpoint-every", 25)
    assert evofool_main("evolve", *options, "--out", run, "--quiet")[0] == 0
    assert same_archives(run, whole)
    assert logged(run) == [20, 40, 60]


def test_a_run_that_is_stopped_early_has_logged_its_last_generation(tmp_path: Path) -> None:
    settings = settings_for(60)
    job = prepare(settings)
    directory = RunDirectory.create(tmp_path / "run", settings, job.classifier)
    options = RunOptions(log_every=50, chunk=1)
    seen: list[dict[str, Any]] = []
    outcome = evolve(
        settings, job, directory, options=options, on_record=seen.append, stop=lambda: len(seen) == 6
    )
    assert logged(directory.path) == [int(outcome.state.generation)] == [7]
    assert outcome.record == directory.read_metrics()[-1]
    assert (directory.path / "convergence.png").exists()
    resumed = evolve(settings, job, directory, resume=True, options=options)
    assert logged(directory.path) == [50, 60]
    assert resumed.record["seconds"] > outcome.record["seconds"]


def test_a_killed_run_resumes_to_the_same_bits(
    whole: Path, tmp_path: Path, evofool_process: Start, evofool_main: Main
) -> None:
    """SIGKILL at a moment that differs from test run to test run; until then no other process gets in."""
    run = tmp_path / "run"
    process = evofool_process("evolve", "--generations", 60, *SMALL, "--chunk", 1, "--out", run, "--quiet")
    wait_for(lambda: finalised(run) != [], process)
    time.sleep(random.random() * 0.3)
    for attempt in (("--resume", run), ("--out", run, "--overwrite")):
        process.send_signal(signal.SIGSTOP)
        code, _, err = evofool_main("evolve", *attempt)
        process.send_signal(signal.SIGCONT)
        assert code == 1
        assert f"is in use by process {process.pid} on " in one_line(err)
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert evofool_main("evolve", "--resume", run)[0] == 0
    assert same_archives(run, whole)
    assert same_tables(run, whole)
    assert logged(run) == list(range(1, 61))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_saves_and_says_how_to_continue_it(
    tmp_path: Path, evofool_process: Start, evofool_main: Main, number: int, code: int
) -> None:
    run = tmp_path / "run"
    process = evofool_process("evolve", "--generations", 1_000_000, *SMALL, "--log-every", 10, "--out", run)
    wait_for(lambda: finalised(run) != [], process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == ""
    assert f"evofool evolve --resume {run}" in out
    assert (run / "elites.png").exists()
    done = finalised(run)[-1]
    code, out, _ = evofool_main("evolve", "--resume", run, "--generations", done + 5)
    assert code == 0
    assert f"Generation {done + 5:,}" in out


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    """No file may grow beyond 60 kB: checkpoints are smaller, and the log becomes larger."""
    run = tmp_path / "run"
    process = subprocess.run(
        [
            *(sys.executable, "-m", "evofool", "evolve", "--generations", "400", "--batch-size", "4"),
            *("--checkpoint-every", "10", "--chunk", "10", "--quiet", "--out", str(run)),
        ],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    assert process.returncode == 1
    assert "cannot write metrics.jsonl" in one_line(process.stderr)
    assert finalised(run) != []


ES = (
    "--algorithm",
    "es",
    "--encoding",
    "student",
    "--activation",
    "sigmoid",
    "--policies",
    10,
    "--targets",
    "3",
    "7",
)


@pytest.mark.slow
def test_an_evolution_strategy_leaves_its_pictures_and_resumes_to_the_same_bits(
    tmp_path: Path, evofool_main: Main
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = (*ES, "--seed", 3, "--checkpoint-every", 5, "--quiet")
    assert evofool_main("evolve", *options, "--generations", 12, "--out", whole)[0] == 0
    assert evofool_main("evolve", *options, "--generations", 7, "--out", parts)[0] == 0
    assert evofool_main("evolve", "--resume", parts, "--generations", 12, "--quiet")[0] == 0
    assert same_archives(whole, parts)
    files = {path.name for path in whole.iterdir()}
    assert {"rewards.png", "drawings.png", "elites.png"} <= files
    assert "lineage.csv" not in files
    records = [json.loads(line) for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert [record["generation"] for record in records] == list(range(1, 13))
    assert all(len(record["mean_rewards"]) == len(record["max_rewards"]) == 2 for record in records)
    assert records[-1]["evaluations"] == 12 * 2 * (10 + 1)  # the drawing of each class is scored too
    assert (whole / "elites.csv").read_bytes() == (parts / "elites.csv").read_bytes()
    assert set(np.unique(read_png(whole / "elites" / "003_three.png")).tolist()) <= {0, 255}


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run, settings = tmp_path / "run", RunDirectory.open(whole).read_settings()
    RunDirectory.create(run, settings, prepare(settings).classifier).results.release()
    assert finalised(run) == []
    code, out, _ = evofool_main("evolve", "--resume", run)
    assert code == 0
    assert "it starts again" in out
    assert same_archives(run, whole)


def test_a_finished_run_only_gets_new_pictures(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    (run / "elites.png").unlink()
    code, out, _ = evofool_main("evolve", "--resume", run)
    assert code == 0
    assert "only the pictures are new" in out
    assert (run / "elites.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", 6), "seed is 6, not 5"),
        (("--seed", 0), "seed is 0, not 5"),  # the default, but given
        (("--direct.mutation-rate", 0.2), "mutation_rate"),
        (("--generations", 30), "is at generation 60 already"),
        (("--out", "elsewhere"), "leave out --out"),
    ],
)
def test_a_resumed_run_keeps_its_settings(
    whole: Path, tmp_path: Path, evofool_main: Main, options: tuple[Any, ...], words: str
) -> None:
    run = copy_of(whole, tmp_path)
    code, _, err = evofool_main("evolve", "--resume", run, *options)
    assert code == 2
    assert words in one_line(err)
    assert same_archives(run, whole)


def test_a_classifier_may_move(tmp_path: Path, evofool_main: Main) -> None:
    linear = evofool.create_classifier("linear", (8, 8, 1), ("even", "odd"))
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    evofool.save_classifier(old, linear, training_data="none", test_accuracy=0.5)
    run = tmp_path / "run"
    options = ("--batch-size", 10, "--generations", 3, "--out", run, "--quiet")
    assert evofool_main("evolve", "--classifier", old, *options)[0] == 0
    old.rename(new)
    assert evofool_main("evolve", "--resume", run, "--generations", 5, "--quiet")[0] == 1
    resumed = ("--resume", run, "--classifier", new, "--generations", 5, "--quiet")
    assert evofool_main("evolve", *resumed)[0] == 0
    assert evofool_main("evolve", "--resume", run, "--generations", 6, "--quiet")[0] == 0


@pytest.mark.slow
def test_checkpoints_are_rarer_where_they_would_take_much_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(150, batch_size=2)
    job = prepare(settings)

    def generations_kept(name: str, every: int | None, affordable: bool) -> set[str]:
        monkeypatch.setattr(Checkpoints, "affordable", lambda self: affordable)
        directory = RunDirectory.create(tmp_path / name, settings, job.classifier)
        evolve(settings, job, directory, options=RunOptions(every, keep_checkpoints=9))
        return set(map(str, finalised(directory.path)))

    assert generations_kept("cheap", None, True) == {"50", "100", "150"}
    assert generations_kept("dear", None, False) == {"150"}
    assert generations_kept("asked for", 50, False) == {"50", "100", "150"}


def test_a_directory_that_is_removed_ends_the_run_in_one_line(tmp_path: Path) -> None:
    settings = settings_for(20)
    job = prepare(settings)
    directory = RunDirectory.create(tmp_path / "run", settings, job.classifier)
    with pytest.raises(EvofoolError, match=r"cannot write .*: the directory has been removed$"):
        evolve(
            *(settings, job, directory),
            options=RunOptions(checkpoint_every=5, chunk=1),
            on_record=lambda record: shutil.rmtree(directory.path, ignore_errors=True),
        )
    assert not directory.path.exists()


@pytest.mark.slow
def test_a_run_whose_directory_was_released_can_be_resumed_by_another_process(
    whole: Path, tmp_path: Path, evofool_process: Start
) -> None:
    run = copy_of(whole, tmp_path)
    settings = RunDirectory.open(run).read_settings()
    evolve(settings, prepare(settings), RunDirectory.open(run), resume=True)
    process = evofool_process("evolve", "--resume", run, "--quiet")
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert same_tables(run, whole)
