"""Runs over several processes on this machine: the elites are those of one process, and all end together."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs.common import (
    SMALL,
    Main,
    Start,
    copy_of,
    finalised,
    logged,
    one_line,
    same_archives,
    wait_for,
)

Processes = list[subprocess.Popen[str]]
Several = Callable[..., Processes]


@pytest.fixture
def several(evofool_process: Start) -> Iterator[Several]:
    """Start `evofool evolve` as several processes; `own` has options for each."""
    started: Processes = []

    def start(*options: Any, own: tuple[tuple[Any, ...], ...] = ((), ()), devices: int = 1) -> Processes:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"localhost:{free.getsockname()[1]}"
        for number, more in enumerate(own):
            cluster = ("--coordinator", coordinator, "--processes", len(own), "--process-id", number)
            flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
            started.append(evofool_process("evolve", *cluster, *options, *more, XLA_FLAGS=flags))
        return started[-len(own) :]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(processes: Processes) -> list[tuple[int, str, str]]:
    """The exit code, output and errors of each; none may hang."""
    outputs = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def same_elites(one: Path, other: Path) -> bool:
    names = ["elites.csv", *(f"elites/{path.name}" for path in (one / "elites").iterdir())]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_two_processes_make_the_run_of_one_which_goes_on_with_it(
    whole: Path, tmp_path: Path, several: Several, evofool_main: Main
) -> None:
    run = tmp_path / "run"
    first, second = ended(several("--generations", 35, *SMALL, "--out", run))
    assert first[0] == 0
    assert "Generation 35" in first[1]
    assert "Gloo" not in first[1]
    assert first[2] == ""
    assert second == (0, "", "")
    assert evofool_main("evolve", "--resume", run, "--generations", 60, "--quiet")[0] == 0
    assert same_archives(run, whole)
    assert same_elites(run, whole)
    assert (run / "lineage.csv").read_bytes() == (whole / "lineage.csv").read_bytes()
    assert logged(run) == list(range(1, 61))


@pytest.mark.slow
def test_independent_runs_over_processes_are_those_of_one_process(
    tmp_path: Path, several: Several, evofool_main: Main
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    options = ("--generations", 12, *SMALL, "--seeds", 3)
    assert evofool_main("evolve", *options, "--out", alone, "--quiet")[0] == 0
    shortened = ("--generations", 7, *SMALL, "--seeds", 3, "--out", together, "--quiet")
    assert ended(several(*shortened, devices=2)) == [(0, "", "")] * 2
    assert ended(several("--resume", together, "--generations", 12, "--quiet")) == [(0, "", "")] * 2
    for seed in range(5, 8):
        assert same_elites(alone / "seeds" / str(seed), together / "seeds" / str(seed))
    assert (alone / "seeds.csv").read_bytes() == (together / "seeds.csv").read_bytes()


@pytest.mark.slow
def test_only_process_0_needs_the_directory(whole: Path, tmp_path: Path, several: Several) -> None:
    run = copy_of(whole, tmp_path)
    shutil.rmtree(run / "checkpoints" / "60")
    shutil.rmtree(run / "elites")
    resumed = (("--resume", run), ("--resume", tmp_path / "nowhere"))
    assert [code for code, _, _ in ended(several("--quiet", own=resumed))] == [0, 0]
    assert same_archives(run, whole)
    assert same_elites(run, whole)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "own", "words"),
    [
        (("--classifier", "lenet-digit"), ((), ()), "did you mean 'lenet-digits'"),
        ((), ((), ("--generations", 0)), "generations must be above zero"),
        ((), (("--sede", 3), ()), "unknown option --sede"),
        ((), ((), ("--resume", "runs/a")), "--resume must be given to all"),
        ((), ((), ("--seed", 3)), "seed is 3 in process 1 and 0 in process 0"),
        (("--devices", 1), ((), ()), "several processes use all of their 2 devices, not 1"),
    ],
)
def test_a_mistake_ends_all_processes(
    tmp_path: Path, several: Several, options: tuple[Any, ...], own: tuple[Any, ...], words: str
) -> None:
    for code, out, err in ended(several("--out", tmp_path / "run", *options, own=own)):
        assert (code, out) == (2, "")
        assert words in one_line(err)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_the_others_end_when_one_process_is_killed_and_any_number_goes_on(
    whole: Path, tmp_path: Path, several: Several, evofool_main: Main, killed: int
) -> None:
    run = tmp_path / "run"
    processes = several("--generations", 60, *SMALL, "--chunk", 1, "--out", run, "--quiet")
    wait_for(lambda: finalised(run) != [], processes[0])
    processes[killed].kill()
    code, _, err = ended(processes)[1 - killed]
    assert code != 0
    assert "process" in one_line(err)
    if killed == 0:
        assert evofool_main("evolve", "--resume", run, "--quiet")[0] == 0
    else:
        resumed = ended(several("--resume", run, "--quiet", own=((), (), ())))
        assert resumed == [(0, "", "")] * 3
    assert same_archives(run, whole)
    assert same_elites(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_to_one_process_stops_all_at_the_same_generation(
    tmp_path: Path, several: Several, evofool_main: Main, signalled: int
) -> None:
    run = tmp_path / "run"
    processes = several("--generations", 1_000_000, *SMALL, "--out", run)
    wait_for(lambda: finalised(run) != [], processes[0])
    processes[signalled].send_signal(signal.SIGTERM)
    first, second = ended(processes)
    assert first[0] == 143
    assert f"evofool evolve --resume {run}" in first[1]
    assert second == (143, "", "")
    done = finalised(run)[-1]
    assert evofool_main("evolve", "--resume", run, "--generations", done, "--quiet")[0] == 0


@pytest.mark.slow
def test_a_failure_of_process_0_ends_the_others(tmp_path: Path, several: Several) -> None:
    run = tmp_path / "run"
    processes = several("--generations", 1_000_000, *SMALL, "--out", run, "--quiet")
    wait_for(lambda: finalised(run) != [], processes[0])
    run.rename(tmp_path / "elsewhere")
    for code, out, err in ended(processes):
        assert (code, out) == (1, "")
        assert "cannot write" in one_line(err)


STUDENT = ("--algorithm", "es", "--encoding", "student", "--activation", "sigmoid", "--policies", 20)
ENCODINGS = {
    "direct": ("--batch-size", 30),
    "cppn": ("--encoding", "cppn", "--batch-size", 30),
    "student": (*STUDENT, "--targets", 3, 7),
}


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_elites_are_the_same_however_many_processes_and_devices_and_in_whatever_order(
    tmp_path: Path, several: Several, evofool_process: Start, encoding: str
) -> None:
    def in_one(devices: int) -> Callable[..., None]:
        def evolve(*options: Any) -> None:
            flags = f"--xla_force_host_platform_device_count={devices}"
            process = evofool_process("evolve", *options, "--devices", devices, "--quiet", XLA_FLAGS=flags)
            assert process.communicate() == ("", "")
            assert process.returncode == 0

        return evolve

    def in_two(*options: Any) -> None:
        assert ended(several(*options, "--quiet", devices=4)) == [(0, "", "")] * 2

    layouts = {"two processes of four devices": in_two, "eight devices": in_one(8), "one": in_one(1)}
    whole = tmp_path / "whole"
    layouts["one"](*ENCODINGS[encoding], "--generations", 24, "--out", whole)
    for first, begin in layouts.items():
        begun = tmp_path / first
        begin(*ENCODINGS[encoding], "--generations", 11, "--out", begun)
        for second, go_on in layouts.items():
            if second == first:
                continue
            run = Path(shutil.copytree(begun, tmp_path / f"{first}, then {second}"))
            go_on("--resume", run, "--generations", 24)
            assert same_elites(run, whole), run
            assert same_archives(run, whole), run
