"""A study that was stopped at any moment goes on and ends as if it had not been."""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from evofool import create_classifier, save_classifier
from evofool.registry import Entry
from evofool.studies import STUDIES, Column, Row, Spread, StudyResult, Table, Work

Main = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class SquaresOptions:
    """What is squared.

    Attributes:
        numbers: of which there are squares.
        scale: a factor.
        classifier: which is loaded and not used.
    """

    numbers: tuple[int, ...] = (2, 3)
    scale: float = 1.0
    classifier: str = "lenet-digits"


computed: list[str] = []


def squares(options: SquaresOptions, work: Work) -> StudyResult:
    work.load_classifier(options.classifier)

    def compute(number: int) -> dict[str, np.ndarray]:
        computed.append(f"square-{number}")
        return {"square": np.float32(options.scale * number**2)}

    rows = []
    for number in work.each(options.numbers, "number"):
        kept = work.arrays(f"squares/square-{number}", partial(compute, number))
        rows.append(Row({"number": number, "square": Spread.of([float(kept["square"])] * 2)}))
    table = Table({"number": Column("number"), "square": Column("square")}, rows)
    return StudyResult({"Squares": table})


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDIES, "squares", Entry("What are squares?", SquaresOptions, squares))
    computed.clear()


def contents(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


class Killed(BaseException):
    """What no code of a study catches, as a killed process runs no code."""


def test_a_study_may_end_whenever_a_file_is_written(
    evofool_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    assert evofool_main("study", "squares", "--quiet", "--out", whole) == (0, "", "")
    replace = os.replace
    for moment in itertools.count():
        out, left = tmp_path / str(moment), moment

        def replace_or_end(source, target, out=out) -> None:
            nonlocal left
            if str(out) in str(target):
                left -= 1
                if left < 0:
                    raise Killed
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace_or_end)
            try:
                evofool_main("study", "squares", "--quiet", "--out", out)
            except Killed:
                pass
            else:
                break
        computed.clear()
        kept = {path.stem for path in out.glob("steps/squares/*.npz")}
        if (out / "study.json").exists():
            assert evofool_main("study", "squares", "--resume", out, "--quiet") == (0, "", "")
        else:  # it had not begun
            code, _, errors = evofool_main("study", "squares", "--resume", out)
            assert (code in (1, 2), errors.count("\n")) == (True, 1)
            assert evofool_main("study", "squares", "--out", out, "--quiet") == (0, "", "")
        assert kept.isdisjoint(computed)
        written, expected = contents(out), contents(whole)
        del written["manifest.json"], expected["manifest.json"]  # in another order
        assert written == expected
    assert moment >= 10


def test_what_is_no_study_of_that_kind_is_not_resumed(evofool_main: Main, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--numbers", "7", "11", "--scale", "0.5")
    assert evofool_main("study", "squares", *options, "--out", out, "--quiet")[0] == 0
    before = contents(out)
    computed.clear()
    assert evofool_main("study", "squares", "--resume", out, "--quiet") == (0, "", "")
    assert evofool_main("study", "squares", "--resume", out, "--quiet", *options) == (0, "", "")
    assert (contents(out), computed) == (before, [])
    (tmp_path / "empty").mkdir()
    for wrong, message in (
        (("squares", "--resume", out, "--scale", "2"), "a study that is resumed keeps its options"),
        (("squares", "--resume", out, "--out", tmp_path / "new"), "leave out --out and --overwrite"),
        (("squares", "--resume", out, "--overwrite"), "leave out --out and --overwrite"),
        (("rubbish", "--resume", out), "is squares, not rubbish"),
        (("squares", "--resume", tmp_path / "empty"), "does not hold a study"),
        (("squares", "--resume", tmp_path / "absent"), "does not hold a study"),
        (("squares", "--resume", out / "study.json"), "does not hold a study"),
        (("squares", "--resume"), ""),
    ):
        code, printed, errors = evofool_main("study", *wrong)
        assert (code, printed, errors.count("\n")) == (2, "", 1), wrong
        assert message in errors
    assert contents(out) == before

    record = json.loads((out / "study.json").read_text())
    changed = [
        {**record, "study": "cubes"},
        {**record, "study": ["squares"]},
        {**record, "options": {"numbers": [7]}},
        {**record, "options": {**record["options"], "extra": 1}},
        {**record, "options": 5},
        [],
    ]
    for text in ("", "{", "[" * 100_000, *map(json.dumps, changed)):
        (out / "study.json").write_text(text)
        code, _, errors = evofool_main("study", "squares", "--resume", out)
        assert (code, errors.count("\n")) == (1, 1), (text[:80], errors)
        assert "is damaged or of another version of evofool, so the study cannot go on" in errors
    (out / "study.json").unlink()
    code, _, errors = evofool_main("study", "squares", "--resume", out)
    assert (code, errors.count("\n")) == (1, 1)


def test_a_study_is_replaced_when_there_is_something_in_its_place(evofool_main: Main, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evofool_main("study", "squares", "--out", out, "--quiet")[0] == 0
    (out / "steps" / "notes.txt").write_text("mine")
    before = contents(out)
    short = ("--epochs", "1", "--starts", "1", "--count", "5", "--ways", "fgsm", "--dataset", "digits")
    small = create_classifier("linear", (8, 8, 1), ("even", "odd"))
    file = tmp_path / "small.safetensors"
    save_classifier(file, small, training_data="none", test_accuracy=0.5)
    for wrong in (
        ("squares",),
        ("squares", "--overwrite", "--classifier", "lenet-digit"),
        ("rubbish", "--overwrite", "--classifiers", "lenet-digits", "lenet-digit"),
        ("rubbish", "--overwrite", "--images", "digitz"),
        ("transfer", "--overwrite", *short, "--networks", "linear", "linaer"),
        ("transfer", "--overwrite", *short, "--networks", "linear", "alexnet"),
        ("transfer", "--overwrite", *short, "--networks", "linear", "--classifiers", "lenet-digit"),
        ("transfer", "--overwrite", *short, "--networks", "linear", "--classifiers", file),
        (
            "defences",
            "--overwrite",
            *short[4:],
            "--network",
            "linear",
            "--defences",
            "plain",
            "blured(plain)",
        ),
        ("substitute", "--overwrite", "--networks", "linear", "--first", "355"),
    ):
        code, printed, errors = evofool_main("study", *wrong, "--out", out)
        assert (code, printed, errors.count("\n")) == (2, "", 1), (wrong, errors)
        assert contents(out) == before, wrong
    assert evofool_main("study", "squares", "--numbers", "2", "--overwrite", "--out", out, "--quiet")[0] == 0
    after = contents(out)
    assert after["steps/notes.txt"] == b"mine"
    assert [name for name in after if name.endswith(".npz")] == ["steps/squares/square-2.npz"]


def test_one_who_interrupts_a_study_is_told_how_it_goes_on(
    evofool_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(options: SquaresOptions, work: Work) -> StudyResult:
        work.arrays("first", lambda: {"a": np.zeros(1)}) if options.scale == 1 else None
        raise KeyboardInterrupt

    monkeypatch.setitem(STUDIES, "squares", Entry("What are squares?", SquaresOptions, interrupted))
    out = tmp_path / "out"
    code, printed, errors = evofool_main("study", "squares", "--out", out)
    assert (code, errors) == (130, "evofool: interrupted\n")
    assert printed == f"Stopped early. Continue with: evofool study squares --resume {out}\n"
    code, printed, _ = evofool_main("study", "squares", "--scale", "2", "--out", tmp_path / "none")
    assert (code, printed) == (130, "")  # there is nothing yet to go on from


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_ends_like_one_that_is_not(evofool_process, tmp_path) -> None:
    options = (
        *("study", "transfer", "--quiet", "--networks", "linear", "mlp", "--starts", "1", "--epochs", "1"),
        *("--ways", "fgsm", "direct", "--count", "20", "--runs", "2", "--generations", "3"),
    )
    process = evofool_process(*options, "--out", tmp_path / "whole")
    assert process.communicate() == ("", "")
    out, kills = tmp_path / "out", 0

    def written() -> int:
        return sum(1 for path in out.rglob("steps/**/*") if path.suffix in (".npz", ".safetensors"))

    for target in range(1, 9, 2):
        process = evofool_process(
            *(("study", "transfer", "--resume", out, "--quiet") if out.exists() else (*options, "--out", out))
        )
        while process.poll() is None and written() < target:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        assert "Traceback" not in process.communicate()[1]
    assert kills >= 3
    process = evofool_process("study", "transfer", "--resume", out, "--quiet")
    assert (process.communicate(), process.returncode) == (("", ""), 0)
    for name in ("tables.md", "study.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
