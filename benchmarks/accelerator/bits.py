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
from benchmarks.harness import Effort, Row, Table, lenet
from benchmarks.independent import bits, confidences
from evofool import Classifier, Search
from evofool.classifiers import weights_digest
from evofool.files import replacing
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

_SECONDS = 60
"""How long a process may take on an accelerator: compiling is most of it."""


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
            deadline = time.perf_counter() + effort.size(_SECONDS, 10 * _SECONDS)
            started = {key: _start(file, key[0], effort) for key, file in files.items() if key[1] == copy}
            for key, process in started.items():
                errors[key] = _error(process, files[key], deadline)
        states = {key: _read(file) for key, file in files.items()}
    rows: list[Row] = [
        {"flags": flag or "none", "compared": f"process {copy}", "note": error}
        for (flag, copy), error in errors.items()
        if error
    ]
    for flag in flags:
        rows += [{"flags": flag or "none", **row} for row in _rows(states[flag, 1], states[flag, 2])]
    return Table("Equal bits, MAP-Elites and a strategy against a LeNet", rows)


def _start(file: Path, flag: str, effort: Effort) -> "subprocess.Popen[bytes]":
    flags = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), flag]))
    command = [sys.executable, "-m", "benchmarks.accelerator.bits", str(file)]
    with file.with_suffix(".txt").open("w") as errors:
        return subprocess.Popen(
            [*command, *(["--quick"] if effort.quick else [])],
            env={**os.environ, "XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            cwd=Path(__file__).parents[2],
            stderr=errors,
        )


def _error(process: "subprocess.Popen[bytes]", file: Path, deadline: float) -> str:
    """Wait for a process: the last line of its errors if it failed, and nothing if it did not."""
    try:
        process.wait(max(0.0, deadline - time.perf_counter()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "stopped, because it took too long"
    if process.returncode == 0:
        return ""
    lines = file.with_suffix(".txt").read_text(errors="replace").split("\n")
    return next((line[:300] for line in reversed(lines) if line.strip()), f"exit code {process.returncode}")


def _read(file: Path) -> dict[str, np.ndarray]:
    """What a process has finished: all searches, or those before it failed."""
    if not file.exists():
        return {}
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _rows(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> Iterator[Row]:
    searches = {key.partition("/")[0]: own for own in (second, first) for key in own}
    for name, own in searches.items():
        if f"{name}/{_PLAIN}/state" in first.keys() & second.keys():
            yield {"search": name, "compared": "two processes", **_row(first, second, name, _PLAIN, _PLAIN)}
        for way, other in _COMPARED.items():
            yield {"search": name, "compared": way, **_row(own, own, name, way, other)}


def _row(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str, way: str, other: str) -> Row:
    found, expected = ours[f"{name}/{way}/confidences"], theirs[f"{name}/{other}/confidences"]
    return {
        "equal_bits": np.array_equal(ours[f"{name}/{way}/state"], theirs[f"{name}/{other}/state"]),
        "largest_difference": float(np.abs(found - expected).max()),
        "medians_differ_by": float(abs(np.median(found) - np.median(expected))),
    }


def _leave(file: Path, effort: Effort) -> None:
    """Make all searches in every way, and leave their states in a file after each of them."""
    network = lenet(effort)
    arrays = {}
    for kind in effort.size(("direct", "cppn", "student"), ("direct",)):
        search = search_of(kind, network, effort.size(200, 8))
        for way, make in _ways(search, network, effort.size(60, 4)).items():
            state = make()
            arrays[f"{kind}/{way}/state"] = np.concatenate(bits(state))
            arrays[f"{kind}/{way}/confidences"] = confidences(state)
        with replacing(file) as temporary, temporary.open("wb") as opened:
            np.savez(opened, **arrays)


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
    _leave(options.file, Effort(options.quick))


if __name__ == "__main__":
    main()
