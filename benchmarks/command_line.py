"""Waiting times of the command line: its start, and the checkpoints of a run."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import Effort, Side, Table, interleaved, say, spread
from evofool import CPPNOptions, MapElitesOptions
from evofool.runs import RunDirectory, RunOptions, RunSettings, evolve, prepare


def start_up(effort: Effort) -> Iterator[Table]:
    """The command line from start to exit, in a new process each time, with a cold and a warm cache."""
    few = effort.size((), ("--generations", "2", "--batch-size", "8"))
    commands = {
        "python -c pass": ["-c", "pass"],
        "import of the command line": ["-c", "import evofool.cli"],
        "evofool evolve --generations 1": ["-m", "evofool", "evolve", *few, "--generations", "1"],
        "evofool evolve": ["-m", "evofool", "evolve", *few],
        "evofool evolve --encoding cppn": ["-m", "evofool", "evolve", *few, "--encoding", "cppn"],
        "evofool evolve --algorithm es --encoding student": [
            *("-m", "evofool", "evolve", *few, "--algorithm", "es", "--encoding", "student"),
            *("--activation", "sigmoid"),
        ],
    }
    commands = dict(list(commands.items())[: effort.size(None, 3)])
    cold: dict[str, list[float]] = {name: [] for name in commands}
    warm: dict[str, list[float]] = {name: [] for name in commands}
    rounds = effort.repeats(3)
    for number in range(rounds):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as cache:
                for seconds in (cold, warm):
                    seconds[name].append(process_seconds(command, cache))
            say(f"    round {number + 1} of {rounds}, {name}: {cold[name][-1]:.2f}, {warm[name][-1]:.2f} s")
    rows = [
        {
            "command": name,
            "seconds_with_a_cold_cache": spread(cold[name]),
            "seconds_with_a_warm_cache": spread(warm[name]),
        }
        for name in commands
    ]
    yield Table("Seconds from start to exit", rows)


def checkpoints(effort: Effort) -> Iterator[Table]:
    """Whole runs with checkpoints as by default, every 50 generations, and only at the end."""
    batch, more = effort.size((200, 1024), (8, 16))
    runs = (
        RunSettings(generations=effort.size(500, 4), search=MapElitesOptions(batch)),
        RunSettings(generations=effort.size(200, 4), search=MapElitesOptions(more)),
        RunSettings(search=MapElitesOptions(batch), encoding=CPPNOptions(), generations=effort.size(300, 4)),
    )
    rows = [
        row for settings in runs for row in _checkpoint_rows(settings, effort.size(50, 2), effort.repeats(5))
    ]
    yield Table("The cost of checkpoints", rows)


def _checkpoint_rows(settings: RunSettings, chunk: int, rounds: int) -> Iterator[dict[str, object]]:
    job = prepare(settings)
    last = settings.generations
    processor: dict[int | None, list[float]] = {None: [], chunk: [], last: []}
    written: dict[int | None, int] = {}

    def whole_run(every: int | None) -> None:
        # All stop and look as often, so that only the writing differs.
        # The first run is not timed: it keeps all of them, to be counted.
        keep = RunOptions.keep_checkpoints if every in written else last
        options, started = RunOptions(every, keep, chunk=chunk), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            directory = RunDirectory.create(Path(folder) / "run", settings, job.classifier)
            evolve(settings, job, directory, options=options)
            written.setdefault(every, sum(1 for _ in (directory.path / "checkpoints").iterdir()))
        processor[every].append(time.process_time() - started)

    labels = {None: "by default", chunk: f"every {chunk} generations", last: "at the end"}
    sides = {label: Side(partial(whole_run, every)) for every, label in labels.items()}
    seconds = interleaved(sides, rounds, settle=False)
    once = seconds[labels[last]]
    # The first run of each compiled.
    processor_once = np.array(processor[last][1:])
    for every, label in labels.items():
        row = {
            "encoding": settings.encoding_name,
            "batch_size": job.search.evaluations(job.classifier),
            "generations": last,
            "written": label,
            "checkpoints": written[every],
            "seconds": spread(seconds[label]),
        }
        if every != last:
            added = seconds[label] - once
            processor_share = 1 - processor_once / np.array(processor[every][1:])
            row |= {
                "share_of_the_run": spread(added / seconds[label]),
                "share_of_processor_time": spread(processor_share),
                "milliseconds_for_each": spread(1000 * added / max(1, written[every] - 1)),
            }
        yield row


def process_seconds(command: list[str], cache: str) -> float:
    """From the start of Python to its exit, in a folder of its own."""
    environment = {**os.environ, "EVOFOOL_CACHE": cache, "PYTHONPATH": os.pathsep.join(_search_path())}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - started


def _search_path() -> list[str]:
    """Where this process found evofool, for one that starts in another folder."""
    import evofool

    found = str(Path(evofool.__file__).parents[1])
    return [found, *filter(None, [os.environ.get("PYTHONPATH")])]
