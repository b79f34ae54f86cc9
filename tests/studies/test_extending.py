"""A new study takes one file and one line of the registry."""

import csv
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evofool.images import read_png
from evofool.registry import Entry
from evofool.studies import STUDIES

TOY = '''
"""How bright is a grey image?"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from evofool.errors import require_positive
from evofool.report import contact_sheet
from evofool.studies import Column, Row, StudyResult, Table, Work


@dataclass(frozen=True)
class BrightnessOptions:
    """Which images are looked at.

    Attributes:
        size: height and width of the image.
    """

    size: int = 8

    def __post_init__(self) -> None:
        require_positive(size=self.size)


def brightness(options: BrightnessOptions, work: Work) -> StudyResult:
    found = work.arrays("grey", lambda: {"image": np.full((options.size, options.size, 1), 51, np.uint8)})
    image = found["image"]
    table = Table(
        {"image": Column("image"), "level": Column("level", "{:.0%}".format)},
        [
            Row({"image": "grey", "level": float(image.mean() / 255)}),
            Row({"image": "grey | paper", "level": 0.18}, reported="Adams (1948)"),
            Row({"image": "none", "level": float("nan")}),
        ],
    )
    sheet = partial(contact_sheet, images=image[None], names=["grey"], confidences=np.array([0.2]))
    return StudyResult({"How bright?": table}, {"a/b": sheet}, ["Paper is not a screen."])
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_study.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_study", raising=False)
    study = importlib.import_module("toy_study")
    monkeypatch.setitem(
        STUDIES, "brightness", Entry("How bright?", study.BrightnessOptions, study.brightness)
    )


@pytest.mark.usefixtures("toy")
def test_a_study_of_one_file_runs_from_the_command_line(
    evofool_main: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, errors = evofool_main("study", "brightness", "--size", "4", "--out", out)
    assert (code, errors) == (0, "")
    assert "[1] as reported: Adams (1948)" in printed
    assert "Note: Paper is not a screen." in printed
    assert f" {out / 'tables.md'}\n" in printed
    assert (out / "tables.md").read_text().splitlines() == [
        *("# How bright?", "", "| image | level |", "| --- | --- |", "| grey | 20% |"),
        *("| *grey \\| paper [1]* | *18%* |", "| none | none |", "", "[1] Adams (1948)", ""),
        *("## What differs from the source", "", "- Paper is not a screen."),
    ]
    with (out / "tables" / "How_bright.csv").open(newline="") as file:
        rows = [(row["level"], row["source"]) for row in csv.DictReader(file)]
    assert rows == [("0.2", ""), ("0.18", "Adams (1948)"), ("nan", "")]
    record = json.loads((out / "study.json").read_text())
    assert (record["study"], record["options"]) == ("brightness", {"size": 4})
    assert [row["level"] for row in record["tables"]["How bright?"]] == [0.2, 0.18, None]
    assert read_png(out / "figures" / "a_b.png").shape[2] == 3

    code, _, errors = evofool_main("study", "brightness", "--size", "0", "--out", tmp_path / "none")
    assert (code, errors.count("\n")) == (2, 1)
    assert not (tmp_path / "none").exists()
    code, _, errors = evofool_main("study", "brightness", "--out", out)
    assert (code, errors.count("\n")) == (2, 1)
    assert evofool_main("study", "brightness", "--out", out, "--overwrite", "--quiet")[:2] == (0, "")


@pytest.mark.usefixtures("toy")
def test_its_help_explains_its_options(evofool_main: Callable[..., tuple[int, str, str]]) -> None:
    code, page, _ = evofool_main("study", "brightness", "--help")
    assert code == 0
    assert "height and width of the image" in page
    assert "brightness" in evofool_main("list", "studies")[1]
