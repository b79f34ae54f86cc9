"""A hostile user: kills at any moment, and bad input to every command. Prints counts of what went wrong."""

import csv
import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import evofool

pytestmark = pytest.mark.slow

KILLS = 100
KILLS_PER_RUN = 3
LONG = str(10**20)
Main = Callable[..., tuple[int, str, str]]
RUN = ("--generations", "120", "--batch-size", "20", "--seed", "5", "--checkpoint-every", "10", "--quiet")


def start(*args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evofool", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(run: Path) -> dict[str, object]:
    """Everything that must be equal between two runs: all files but times, places and checkpoints."""
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in metrics:
        del record["seconds"], record["evaluations_per_second"]
    pictures = sorted((run / "elites").iterdir())
    return {
        "metrics": metrics,
        "lineage": list(csv.reader((run / "lineage.csv").open())),
        "elites": [(path.name, path.read_bytes()) for path in pictures],
        "elites.csv": (run / "elites.csv").read_bytes(),
        "sheet": (run / "elites.png").read_bytes(),
        "files": sorted(path.name for path in run.iterdir()),
    }


def test_a_run_that_is_killed_a_hundred_times_ends_like_one_that_is_not(tmp_path: Path) -> None:
    assert start("evolve", "--out", tmp_path / "first", *RUN).wait() == 0  # compiles
    began = time.monotonic()
    assert start("evolve", "--out", tmp_path / "whole", *RUN).wait() == 0
    duration = time.monotonic() - began
    expected = contents(tmp_path / "whole")
    moments = random.Random(0)
    counts: Counter[str] = Counter()
    for number in itertools.count():
        run = tmp_path / str(number)
        for _ in range(KILLS_PER_RUN):
            process = start(*_go_on(run))
            time.sleep(moments.uniform(0, 1.1 * duration))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                counts["kills"] += 1
            _, errors = process.communicate()
            counts["tracebacks"] += "Traceback" in errors
        process = start(*_go_on(run))
        _, errors = process.communicate()
        counts["tracebacks"] += "Traceback" in errors
        counts["runs"] += 1
        counts["failures"] += process.returncode != 0
        counts["differences"] += process.returncode != 0 or contents(run) != expected
        if counts["kills"] >= KILLS:
            break
    print(dict(counts))
    assert (counts["failures"], counts["differences"], counts["tracebacks"]) == (0, 0, 0)


def _go_on(run: Path) -> tuple[object, ...]:
    if (run / "config.json").exists():
        return ("evolve", "--resume", run, "--checkpoint-every", "10", "--quiet")
    return ("evolve", "--out", run, *RUN)


def test_two_resumes_at_once_end_like_one(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert start("evolve", "--out", whole, *RUN).wait() == 0
    shorter = ("--generations", "20", *RUN[2:])
    assert start("evolve", "--out", run, *shorter).wait() == 0
    both = [start("evolve", "--resume", run, "--generations", "120", "--quiet") for _ in range(2)]
    outcomes = sorted((process.communicate()[1], process.returncode) for process in both)
    assert [code for _, code in outcomes] == [0, 1]
    assert outcomes[0][0] == ""
    assert outcomes[1][0].count("\n") == 1
    assert "process" in outcomes[1][0]
    assert contents(run) == contents(whole)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that no command can use, and two that some can."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.png").write_text("this is no picture")
    (folder / "empty.png").touch()
    (folder / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(folder / "black.png")
    (folder / "cut.png").write_bytes((folder / "black.png").read_bytes()[:40])
    (folder / "text.safetensors").write_text("these are no weights")
    (folder / "empty.safetensors").touch()
    save_file({"a": np.zeros(3, np.float32)}, folder / "other.safetensors")
    linear = evofool.create_classifier("linear", (28, 28, 1), ("even", "odd"))
    evofool.save_classifier(folder / "linear.safetensors", linear, training_data="none", test_accuracy=0.5)
    whole = (folder / "linear.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-10])
    (folder / "flipped.safetensors").write_bytes(whole[:20] + b"\xff" + whole[21:])
    (folder / "pickle.pt").write_bytes(b"\x80\x04N.")
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "no-classes").mkdir()
    (folder / "damaged-run").mkdir()
    (folder / "damaged-run" / "config.json").write_text("{")
    return folder


def _bad_inputs(files: Path) -> Iterator[tuple[object, ...]]:
    """At least a hundred, over all commands."""
    for number in ("0", "-1", "nan", "inf", LONG, "1e300", "x", ""):
        for option in ("--generations", "--batch-size", "--seed", "--microbatch", "--image-size"):
            if (option, number) != ("--seed", "0"):
                yield ("evolve", option, number)
        yield ("evolve", "--algorithm", "es", "--policies", number)
        yield ("evolve", "--encoding", "cppn", "--cppn.connections", number)
        if number not in ("0",):
            yield ("attack", "fgsm", "--images", files / "black.png", "--epsilon", number)
            yield ("study", "rubbish", "--threshold", number)
        yield ("train", "--epochs", number, "--out", files / "new.safetensors")
    for name in ("", "lenet-digit", "/", "\udcff", "9" * 5000, files, files / "absent.safetensors"):
        yield ("evolve", "--classifier", name)
        yield ("attack", "fgsm", "--images", files / "black.png", "--classifier", name)
        yield ("study", "rubbish", "--classifiers", name)
    for name in ("text", "empty", "other", "cut", "flipped"):
        yield ("evolve", "--classifier", files / f"{name}.safetensors")
    yield ("evolve", "--classifier", files / "pickle.pt")
    for target in ("eleven", "-1", "10", "9" * 5000, ""):
        yield ("evolve", "--targets", target)
        yield ("attack", "lbfgs", "--images", files / "black.png", "--target", target)
    for picture in ("text.png", "empty.png", "cut.png", "drawing.eps", "absent.png", ""):
        yield ("attack", "fgsm", "--images", files / picture)
    for out in (files / "full", files / "black.png", "/proc/nowhere/run", files / "black.png" / "below"):
        yield ("evolve", "--out", out)
        yield ("evolve", "--out", out, "--overwrite")
        yield ("attack", "fgsm", "--images", files / "black.png", "--out", out)
    for run in (files / "full", files / "absent", files / "damaged-run"):
        yield ("evolve", "--resume", run)
    for dataset in ("mnst", files / "absent", files / "no-classes", files / "full"):
        yield ("train", "--dataset", dataset, "--out", files / "new.safetensors")
    yield ("train", "--out", files / "no-suffix")
    yield ("train", "--network", "lenett", "--out", files / "new.safetensors")
    yield ("fetch", "mnst")
    yield ("list", "attackers")
    yield ("evolvee",)
    yield ("attack", "fgms", "--images", files / "black.png")


def test_a_hundred_bad_inputs_end_in_one_line_each(
    files: Path, tmp_path: Path, evofool_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    counts: Counter[str] = Counter()
    wrong = []
    for command in _bad_inputs(files):
        counts["inputs"] += 1
        try:
            code, _, errors = evofool_main(*command)
        except BaseException as error:  # what ends in a traceback
            code, errors = -1, f"{type(error).__name__}: {error}"[:200]
        is_line = errors.startswith("evofool: ") and errors.count("\n") == 1
        if code not in (1, 2) or not is_line:
            wrong.append((command, code, errors[-300:]))
    lost = [path for path, content in before.items() if path.read_bytes() != content]
    for each in wrong:
        print(each)
    print(dict(counts), f"{len(wrong)} wrong, {len(lost)} files lost")
    assert wrong == []
    assert lost == []
    assert not [path for path in tmp_path.iterdir() if path.name != "runs"]
    assert counts["inputs"] >= 100
