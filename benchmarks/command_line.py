"""What a user waits for: the start of the command line, and the checkpoints of a run."""

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
from evofool.runs import Options, RunDirectory, RunSettings, evolve, prepare


def start_up(effort: Effort) -> Iterator[Table]:
    """The command line from start to exit, each time in a new process, with a cold and a warm cache."""
    few = effort.size((), ("--generations", "2", "--batch-size", "8"))
    commands = {
        "python: nothing but its start": ["-c", "pass"],
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
                    seconds[name].append(_process_seconds(command, cache))
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
    """A whole run with a checkpoint every 50 generations, in turns with the same run with one at its end."""
    batch, more = effort.size((200, 1024), (8, 16))
    runs = (
        RunSettings(generations=effort.size(500, 4), batch_size=batch),
        RunSettings(generations=effort.size(200, 4), batch_size=more),
        RunSettings(encoding="cppn", generations=effort.size(300, 4), batch_size=batch),
    )
    rows = [_checkpoint_row(settings, effort.size(50, 2), effort.repeats(5)) for settings in runs]
    yield Table("What checkpoints add to a run", rows)


def _checkpoint_row(settings: RunSettings, every: int, rounds: int) -> dict[str, object]:
    job = prepare(settings)

    processor: dict[int, list[float]] = {every: [], settings.generations: []}

    def whole_run(checkpoint_every: int) -> None:
        # Both stop and look as often, so that only the writing differs.
        options, started = Options(checkpoint_every, chunk=every), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            directory = RunDirectory.create(Path(folder) / "run", settings, job.classifier)
            evolve(settings, job, directory, options=options)
        processor[checkpoint_every].append(time.process_time() - started)

    named = {f"a checkpoint every {number}": Side(partial(whole_run, number)) for number in processor}
    often, once = interleaved(named, rounds, settle=False).values()
    # The first run of each compiled.
    processor_often, processor_once = (np.array(seconds[1:]) for seconds in processor.values())
    written = settings.generations // every
    return {
        "encoding": settings.encoding,
        "batch_size": settings.batch_size,
        "generations": settings.generations,
        "checkpoints": written,
        "seconds": spread(often),
        "seconds_with_one_checkpoint": spread(once),
        "share_of_the_run": spread((often - once) / often),
        "share_of_processor_time": spread((processor_often - processor_once) / processor_often),
        "milliseconds_for_each": spread(1000 * (often - once) / (written - 1)),
    }


def _process_seconds(command: list[str], cache: str) -> float:
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
