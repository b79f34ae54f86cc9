"""What the tests of runs share."""

import functools
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evofool.classifiers import weights_digest
from evofool.runs import RunDirectory, RunSettings, prepare
from evofool.runs.checkpoints import Checkpoints
from evofool.search import MapElitesOptions, Runs

Main = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]
SMALL = ("--batch-size", 20, "--seed", 5, "--checkpoint-every", 10)
TINY = ("--batch-size", 2, "--quiet")


def settings_for(generations: int, batch_size: int = 20) -> RunSettings:
    return RunSettings(search=MapElitesOptions(batch_size), generations=generations)


def archive_of(run: Path) -> list[np.ndarray]:
    """Every array of the newest checkpoint's archive."""
    newest = run / "checkpoints" / str(finalised(run)[-1])
    return _archive_of(run, newest.stat().st_mtime_ns)


@functools.cache
def _archive_of(run: Path, changed: int) -> list[np.ndarray]:
    directory = RunDirectory.open(run)
    settings = directory.read_settings()
    job = prepare(settings)
    with directory.held():
        checkpoints = Checkpoints(directory.results, settings, weights_digest(job.classifier))
        state, notes = checkpoints.restore(Runs(job.search).init([0], job.classifier))
        checkpoints.close()
    assert notes == []
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.archive)]


def same_archives(one: Path, other: Path) -> bool:
    pairs = zip(archive_of(one), archive_of(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def logged(run: Path) -> list[int]:
    """The generations in metrics.jsonl."""
    return [json.loads(line)["generation"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finalised(run: Path) -> list[int]:
    folder = run / "checkpoints"
    return (
        sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        if folder.exists()
        else []
    )


def copy_of(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def one_line(err: str) -> str:
    assert err.startswith("evofool: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def edit_config(run: Path, **changes: Any) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["settings"].update(changes)
    path.write_text(json.dumps(config))
