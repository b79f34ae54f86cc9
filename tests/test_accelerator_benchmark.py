"""The command that checks and measures evofool on an accelerator: its small form, and sections of its own."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accelerator import __main__ as accelerator
from benchmarks.accelerator import bits, speed
from benchmarks.accelerator.sections import Section, Step
from benchmarks.harness import Effort, Table
from evofool.errors import EvofoolError

Command = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call the command in its small form in this process: the exit code and what it wrote."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        path = tmp_path / "new" / "out.json"
        code = accelerator.main(["--quick", "--json", str(path), *arguments])
        return code, json.loads(path.read_text()) if path.exists() else {}

    return call


def table(title: str) -> Table:
    return Table(title, [{"part": title, "seconds": 1.5}])


def section(seconds: float = 1, **steps: Step) -> Section:
    def made(effort: Effort) -> Mapping[str, Step]:
        return steps

    return Section("A question.", seconds, made)


@pytest.mark.slow
def test_the_small_form_answers_everything(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # These are not needed on the machine of the accelerator.
    for package in ("tyro", "pooch", "matplotlib", "qdax", "evosax"):
        monkeypatch.setitem(sys.modules, package, None)
    code, result = command("--minutes", "60")
    assert code == 0
    assert result["complete"] is True
    assert result["quick"] is True
    assert result["failed"] == {}
    assert all("EVOFOOL_DATA" in reason for reason in result["skipped"].values())
    assert {label.split(":")[0] for label in result["seconds_of_steps"]} == set(accelerator.SECTIONS)
    assert result["command"].startswith("python -m benchmarks.accelerator --quick")
    assert {"device", "versions", "commit", "date"} <= result.keys()
    printed = capsys.readouterr().out
    rows = [row for table in result["tables"] for row in table["rows"]]
    assert all(f"**{table['title']}**" in printed for table in result["tables"])
    assert {row["close"] for row in rows if "close" in row} == {True}
    assert {row["levels_that_differ"] for row in rows if "levels_that_differ" in row} == {0}
    compared = {row["compared"]: row for row in rows if "compared" in row}
    assert {"two processes", *bits._COMPARED} == compared.keys()
    assert {row["equal_bits"] for row in rows if "equal_bits" in row} == {True}
    assert {row["largest_difference"] for row in compared.values()} == {0}


def test_a_step_that_fails_is_survived_and_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaking() -> Table:
        raise RuntimeError("broken\nin two lines")

    def missing() -> Table:
        raise EvofoolError("no weights")

    def unusable(effort: Effort) -> Mapping[str, Step]:
        raise ValueError("no steps")

    sections = {
        "first": section(breaks=breaking, lacks=missing, works=lambda: table("one")),
        "second": Section("A question.", 1, unusable),
        "third": section(works=lambda: table("two")),
    }
    monkeypatch.setattr(accelerator, "SECTIONS", sections)
    code, result = command()
    assert code == 1
    assert [table["title"] for table in result["tables"]] == ["one", "two"]
    assert result["failed"] == {
        "first: breaks": "RuntimeError: broken in two lines",
        "second": "ValueError: no steps",
    }
    assert result["skipped"] == {"first: lacks": "EvofoolError: no weights"}
    assert "failed: first: breaks (RuntimeError: broken in two lines)" in capsys.readouterr().out


def test_what_no_longer_fits_is_left_out_by_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("benchmarks.accelerator.sections.time.perf_counter", lambda: clock[0])

    def taking(seconds: float, title: str) -> Step:
        def step() -> Table:
            clock[0] += seconds
            return table(title)

        return step

    # Of ten minutes the first section has two, the second three, and the third five.
    sections = {
        "first": section(2, short=taking(60, "a"), long=taking(150, "b"), late=taking(1, "c")),
        "second": section(3, begins=taking(100, "d"), late=taking(1, "e")),
        "third": section(5, all=taking(1, "f")),
    }
    monkeypatch.setattr(accelerator, "SECTIONS", sections)
    code, result = command("--minutes", "10")
    assert code == 0
    assert [table["title"] for table in result["tables"]] == ["a", "b", "d", "f"]
    assert result["skipped"] == {"first: late": "no time left", "second: late": "no time left"}
    assert result["seconds_of_steps"]["first: long"] == 150


def test_what_was_measured_is_kept_if_the_command_is_killed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> Table:
        raise KeyboardInterrupt

    monkeypatch.setattr(accelerator, "SECTIONS", {"only": section(works=lambda: table("one"), ends=killed)})
    with pytest.raises(KeyboardInterrupt):
        command()
    result = json.loads((tmp_path / "new" / "out.json").read_text())
    assert [table["title"] for table in result["tables"]] == ["one"]
    assert result["complete"] is False


def test_only_the_chosen_sections_run(command: Command) -> None:
    code, result = command("--sections", "environment")
    assert code == 0
    assert list(result["seconds_of_steps"]) == ["environment: versions"]


def test_a_process_that_fails_is_a_row_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    rows = bits._processes(Effort(quick=True)).rows
    assert rows == [
        {"flags": "none", "compared": f"process {copy}", "note": "exit code 1"} for copy in (1, 2)
    ]


def test_the_full_form_measures_every_search_in_every_precision() -> None:
    steps = speed.searches_steps(Effort())
    assert len(steps) == 3 * (2 * 4 + 2 * 2)
    assert next(iter(steps)) == "direct, LeNet, 1,024, float32"
    assert "cppn, MobileNet, 2,048, tensorfloat32" in steps


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--sections", "goldn"), 2, "unknown section 'goldn': did you mean 'golden'"),
        (("--minutes", "0"), 2, "minutes must be above zero, not 0"),
        (("--json", "/proc/none/out.json"), 1, "cannot write /proc/none/out.json"),
    ],
)
def test_user_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], command: Command, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert command(*arguments)[0] == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
