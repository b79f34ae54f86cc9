"""What a user waits for: the start of the command line, and the checkpoints of a run."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

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

    def whole_run(options: Options) -> None:
        with tempfile.TemporaryDirectory() as folder:
            directory = RunDirectory.create(Path(folder) / "run", settings, job.classifier)
            evolve(settings, job, directory, options=options)

    # Both stop and look as often, so that only the writing differs.
    with_all, with_one = Options(every, chunk=every), Options(settings.generations, chunk=every)
    seconds = interleaved(
        {
            "one checkpoint": Side(lambda: whole_run(with_one)),
            "all checkpoints": Side(lambda: whole_run(with_all)),
        },
        rounds,
        settle=False,
    )
    one, every_time = seconds["one checkpoint"], seconds["all checkpoints"]
    return {
        "encoding": settings.encoding,
        "batch_size": settings.batch_size,
        "generations": settings.generations,
        "checkpoints": settings.generations // every,
        "seconds": spread(every_time),
        "seconds_with_one_checkpoint": spread(one),
        "share_of_the_run_for_checkpoints": spread((every_time - one) / every_time),
        "milliseconds_for_each": spread(1000 * (every_time - one) / (settings.generations // every - 1)),
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
