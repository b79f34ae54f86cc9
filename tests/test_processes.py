"""What can be said about several processes without starting any."""

import importlib
import socket
from collections.abc import Callable
from subprocess import Popen

import numpy as np
import pytest

from evofool import UsageError, population_mesh
from evofool.cli.evolve import Evolve
from evofool.native_errors import filtered
from evofool.processes import ProcessOptions, agreed, anywhere, arrays_of_first, is_first, spans_processes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"processes": 2}, "belong together"),
        ({"coordinator": "node:1", "processes": 2}, "belong together"),
        ({"coordinator": "node", "processes": 2, "process_id": 0}, "a host and a port, as in node1:1234"),
        ({"coordinator": "node:0", "processes": 2, "process_id": 0}, "a host and a port"),
        ({"coordinator": ":80", "processes": 2, "process_id": 0}, "a host and a port"),
        ({"coordinator": "node:1", "processes": 2, "process_id": 2}, "process_id must be 0 to 1, not 2"),
        ({"coordinator": "node:1", "processes": 2, "process_id": -1}, "process_id must be 0 or more"),
        ({"coordinator": "node:1", "processes": 0, "process_id": 0}, "processes must be above zero"),
    ],
)
def test_processes_are_named_completely(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ProcessOptions(**options)


def test_a_process_of_its_own_agrees_with_itself() -> None:
    assert not ProcessOptions().several
    assert is_first()
    assert not spans_processes(population_mesh(1))
    assert agreed([True, 3]) == [True, 3]
    assert (anywhere(True), anywhere(False)) == (True, False)
    sent = np.array([-0.0, np.nan], np.float32)
    np.testing.assert_array_equal(arrays_of_first(sent).view(np.uint32), sent.view(np.uint32))


def passed(text: str) -> str:
    return b"".join(filtered(text.encode().splitlines(keepends=True))).decode()


POLLED = "E1126 00:06:48.49 7 coordination_service_agent.cc:289] Polled an error from another task.\nmore\n"
ABORTED = "F1126 00:06:48.49 7 client.h:80] The JAX distributed service detected fatal errors. {}\n  @ 0x7f\n"


def test_an_abort_of_jaxlib_is_one_line() -> None:
    page = POLLED + ABORTED.format("Another task died.")
    line = passed("NCCL WARN\n" + page)
    assert line.startswith("NCCL WARN\nevofool: another process has ended")
    assert line.count("\n") == 2
    assert passed(POLLED + "evofool: disk full\n" + page) == "evofool: disk full\n"
    assert "have not all started" in passed(ABORTED.format("RPC: /xla.coordination/RegisterTask"))


def test_all_other_errors_are_printed_as_they_are() -> None:
    text = "Traceback:\n  File x\nF1126 00:00:00.1 7 cuda.cc:1] out of memory\n" + POLLED
    assert passed(text) == text


command_line = importlib.import_module("evofool.cli.main")  # the package has a function of this name


def test_an_unexpected_error_ends_the_other_processes_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Evolve) -> int:
        raise RuntimeError("no such thing")

    told: list[tuple[str, int]] = []
    monkeypatch.setattr(Evolve, "run", fail)
    monkeypatch.setattr(command_line, "connected", lambda: True)
    monkeypatch.setattr(command_line, "end_all", lambda *failure: told.append(failure))
    with pytest.raises(RuntimeError, match="no such thing"):
        command_line.main(["evolve"])
    assert told == [("RuntimeError: no such thing", 1)]
    assert "Traceback" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(evofool_process: Callable[..., Popen[str]]) -> None:
    with socket.create_server(("", 0)) as taken:
        cluster = (
            "--coordinator",
            f"localhost:{taken.getsockname()[1]}",
            "--processes",
            1,
            "--process-id",
            0,
        )
        process = evofool_process("evolve", *cluster)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("evofool: process 0 cannot listen on port")
    assert err.endswith("choose another port\n")
    assert err.count("\n") == 1


def test_where_no_cluster_is_recognised_the_processes_must_be_named(
    evofool_process: Callable[..., Popen[str]],
) -> None:
    process = evofool_process("evolve", "--distributed")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("evofool: no cluster was recognised: say where process 0 is")
