"""Which results have equal bits: in another process, and however a run is cut up.

`python -m benchmarks.accelerator.bits FILE` makes the runs of one process and leaves their states in FILE.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import evofool
from benchmarks.accelerator.correctness import search_of
from benchmarks.accelerator.sections import Step
from benchmarks.harness import Effort, Row, Table, lenet, say
from benchmarks.independent import bits, confidences
from evofool import Classifier, Search
from evofool.classifiers import weights_digest
from evofool.results import Results
from evofool.runs import RUN, RunSettings
from evofool.runs.checkpoints import Checkpoints

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"

_PLAIN = "plain"
_ONE = "one generation"
_COMPARED = {
    "once more": _PLAIN,
    "microbatches": _PLAIN,
    "chunks of 1": _PLAIN,
    "resumed": _PLAIN,
    f"{_ONE}, microbatches": _ONE,
}
"""The ways of making a run, and the one that each is compared with."""

_SECONDS = 150
"""How long a process may take: compiling is most of it."""


def steps(effort: Effort) -> Mapping[str, Step]:
    """Runs in processes of their own, with and without the flag for deterministic operations."""
    return {"processes": partial(_processes, effort)}


def _processes(effort: Effort) -> Table:
    flags = effort.size(("", DETERMINISTIC), ("",))
    with tempfile.TemporaryDirectory() as folder:
        files = {
            (flag, copy): Path(folder, f"{index}-{copy}.npz")
            for index, flag in enumerate(flags)
            for copy in (1, 2)
        }
        # Two at a time: compilation is most of the work, and it is the processor's.
        errors = {}
        for copy in (1, 2):
            started = {key: _start(file, key[0], effort) for key, file in files.items() if key[1] == copy}
            errors |= {key: _ended(process) for key, process in started.items()}
        states = {key: _read(file) for key, file in files.items() if not errors[key]}
    rows: list[Row] = [
        {"flags": flag or "none", "compared": f"process {copy}", "note": error}
        for (flag, copy), error in errors.items()
        if error
    ]
    for flag in flags:
        first, second = (states.get((flag, copy)) for copy in (1, 2))
        rows += [{"flags": flag or "none", **row} for row in _rows(first, second)]
    return Table("Equal bits, MAP-Elites and a strategy against a LeNet", rows)


def _start(file: Path, flag: str, effort: Effort) -> "subprocess.Popen[str]":
    flags = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), flag]))
    command = [sys.executable, "-m", "benchmarks.accelerator.bits", str(file)]
    return subprocess.Popen(
        [*command, *(["--quick"] if effort.quick else [])],
        env={**os.environ, "XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: "subprocess.Popen[str]") -> str:
    """Wait for a process: the last line of its errors if it failed, and nothing if it did not."""
    try:
        _, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"took longer than {_SECONDS} s"
    lines = [line for line in errors.splitlines() if line.strip()]
    return (
        "" if process.returncode == 0 else (lines[-1][:300] if lines else f"exit code {process.returncode}")
    )


def _read(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _rows(first: Mapping[str, np.ndarray] | None, second: Mapping[str, np.ndarray] | None) -> Iterator[Row]:
    for name in dict.fromkeys(key.partition("/")[0] for key in first or second or {}):
        if first and second:
            yield {"search": name, "compared": "two processes", **_row(first, second, name, _PLAIN, _PLAIN)}
        own = first or second
        for way, other in _COMPARED.items():
            yield {"search": name, "compared": way, **_row(own, own, name, way, other)}


def _row(ours: Any, theirs: Any, name: str, way: str, other: str) -> Row:
    first, second = ours[f"{name}/{way}/state"], theirs[f"{name}/{other}/state"]
    gap = np.abs(ours[f"{name}/{way}/confidences"] - theirs[f"{name}/{other}/confidences"])
    return {
        "equal_bits": bool(np.array_equal(first, second)),
        "largest_difference": float(gap.max()),
        "median_of_the_elites_differs_by": float(
            abs(
                np.median(ours[f"{name}/{way}/confidences"])
                - np.median(theirs[f"{name}/{other}/confidences"])
            )
        ),
    }


def _runs(effort: Effort) -> Iterator[tuple[str, Any]]:
    """The states of all searches, each made in every way."""
    network = lenet(effort)
    for kind in effort.size(("direct", "cppn", "student"), ("direct",)):
        search = search_of(kind, network, effort.size(200, 8))
        for way, make in _ways(search, network, effort.size(60, 4)).items():
            started = time.perf_counter()
            yield f"{kind}/{way}", make()
            say(f"      {kind}, {way}: {time.perf_counter() - started:.1f} s")


def _ways(search: Search, network: Classifier, generations: int) -> dict[str, Callable[[], Any]]:
    run = partial(evofool.run, search, network)
    half = evofool.Cut(microbatch=search.evaluations(network) // 2)
    return {
        _PLAIN: partial(run, generations),
        "once more": partial(run, generations),
        "microbatches": partial(run, generations, cut=half),
        "chunks of 1": partial(run, generations, chunk=1),
        "resumed": partial(_resumed, search, network, generations),
        _ONE: partial(run, 1),
        f"{_ONE}, microbatches": partial(run, 1, cut=half),
    }


def _resumed(search: Search, network: Classifier, generations: int) -> Any:
    """The state after a run that wrote a checkpoint half-way, and one that read it."""
    with tempfile.TemporaryDirectory() as folder:
        results = Results.create(Path(folder, "run"), RUN)
        checkpoints = Checkpoints(results, RunSettings(), weights_digest(network))
        checkpoints.save(evofool.run(search, network, generations // 2))
        checkpoints.finish()
        state, _ = checkpoints.restore(search.init(jax.random.key(0), network))
        checkpoints.close()
        results.release()
    return evofool.run(search, network, generations, state=state)


def main() -> None:
    """Make the runs of this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if not options.quick:
        # What another process compiled would make the two equal.
        jax.config.update("jax_enable_compilation_cache", False)
    arrays = {}
    for name, state in _runs(Effort(options.quick)):
        arrays[f"{name}/state"] = np.concatenate(bits(state))
        arrays[f"{name}/confidences"] = confidences(state)
    np.savez(options.file, **arrays)


if __name__ == "__main__":
    main()
