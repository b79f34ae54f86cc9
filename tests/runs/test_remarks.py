"""A classifier that tells a search nothing is named as such when the run ends."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from evofool import create_classifier, save_classifier
from evofool.images import write_png
from tests.runs.common import Main

NAMES = ("even", "odd", "neither")
OPTIONS = ("--generations", 3, "--chunk", 2, "--batch-size", 8)


@pytest.fixture
def classifier_file(tmp_path: Path) -> Callable[[float, float], Path]:
    """Save a linear classifier whose weights are multiplied by one number and then raised by another."""

    def save(factor: float, offset: float) -> Path:
        start = create_classifier("linear", (6, 6, 1), NAMES)
        changed = replace(start, params=jax.tree.map(lambda leaf: factor * leaf + offset, start.params))
        path = tmp_path / "it.safetensors"
        save_classifier(path, changed, training_data="none", test_accuracy=0.5)
        return path

    return save


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "elites.csv").open()))


@pytest.mark.parametrize(
    ("offset", "note", "remark", "median"),
    [
        (3e38, "3 of 3 classes have no image: their confidence was never a number", "a number", None),
        (0, "in 3 of 3 classes no image exceeds the confidence of the first one", "the first", 1 / 3),
    ],
)
def test_confidences_that_are_no_numbers_or_all_the_same_are_named_at_the_end(
    tmp_path: Path,
    evofool_main: Main,
    classifier_file: Callable[[float, float], Path],
    offset: float,
    note: str,
    remark: str,
    median: float | None,
) -> None:
    run = tmp_path / "run"
    file = classifier_file(0, offset)  # weights of 3e38 overflow to infinities of both signs
    code, out, err = evofool_main("evolve", "--classifier", file, *OPTIONS, "--out", run)
    assert (code, err) == (0, "")
    assert f"Note: {note}" in out
    assert [row["remark"].endswith(remark) for row in rows_of(run)] == [True] * 3
    assert out.count(rows_of(run)[0]["remark"]) == 3
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line, parse_constant=lambda constant: pytest.fail(constant))
        assert record["median_confidence"] == (median and pytest.approx(median))


def test_a_classifier_that_tells_images_apart_has_no_remark(
    tmp_path: Path, evofool_main: Main, classifier_file: Callable[[float, float], Path]
) -> None:
    run = tmp_path / "run"
    code, out, _ = evofool_main(
        "evolve", "--classifier", classifier_file(1, 0), *OPTIONS, "--out", run, "--seed", 1
    )
    assert code == 0
    assert "Note" not in out
    assert "remark" not in out
    assert {row["remark"] for row in rows_of(run)} == {""}


@pytest.mark.parametrize("attack", ["fgsm", "iterated"])
def test_an_attack_on_logits_that_are_no_numbers_is_one_line(
    tmp_path: Path,
    evofool_main: Main,
    classifier_file: Callable[[float, float], Path],
    attack: str,
) -> None:
    image = tmp_path / "image.png"
    write_png(image, np.zeros((6, 6, 1), np.uint8))
    options = ("--classifier", classifier_file(0, 3e38), "--images", image, "--out", tmp_path / "attack")
    code, _, err = evofool_main("attack", attack, *options)
    assert code == 1
    assert "the gradient of linear is zero or not a number" in err
    assert err.count("\n") == 1
