"""A state that was made in Python is saved as a run is."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evofool import (
    EvofoolError,
    MapElitesOptions,
    UsageError,
    create_classifier,
    direct,
    load_classifier,
    map_elites,
    run,
    save_run,
)
from evofool.images import from_uint8
from tests.runs.common import Main

CLASSIFIER = create_classifier("linear", (6, 6, 1), ("even", "odd", "neither"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "elites.csv").open()))


def test_a_saved_state_has_its_images_tables_and_plots(tmp_path: Path) -> None:
    search = map_elites(direct((6, 6, 1)), MapElitesOptions(8), targets=(2, 0))
    metrics: list[dict[str, np.ndarray]] = []
    state = run(search, CLASSIFIER, 7, chunk=3, on_chunk=lambda state, chunk: metrics.append(chunk))
    out = tmp_path / "out"
    save_run(out, search, CLASSIFIER, state, targets=(2, 0), metrics=metrics)
    names = {path.name for path in out.iterdir() if path.suffix in (".png", ".csv")}
    assert names == {"elites.png", "convergence.png", "elites.csv"}
    rows = rows_of(out)
    assert [row["name"] for row in rows] == ["neither", "even"]
    for row, confidence in zip(rows, state.archive.confidences.tolist(), strict=True):
        image = np.asarray(Image.open(out / row["file"])).reshape(1, 6, 6, 1)
        assert float(row["confidence"]) == pytest.approx(confidence, abs=1e-6)
        own = CLASSIFIER(from_uint8(image))[0, int(row["class"])]
        assert float(own) == pytest.approx(confidence, abs=1e-5)
    other = run(search, CLASSIFIER, 8, seed=1)
    with pytest.raises(UsageError, match="already holds a saved state"):
        save_run(out, search, CLASSIFIER, other, targets=(2, 0))
    assert rows_of(out) == rows
    save_run(out, search, CLASSIFIER, other, targets=(2, 0), overwrite=True)
    assert rows_of(out) != rows
    assert not (out / "convergence.png").exists(), "there are no metrics this time"


def test_a_saved_state_equals_the_run_of_the_command_line(
    tmp_path: Path, evofool_main: Main, whole: Path
) -> None:
    classifier = load_classifier("lenet-digits")
    search = map_elites(direct((28, 28, 1)), MapElitesOptions(20))
    save_run(tmp_path, search, classifier, run(search, classifier, 60, seed=5))
    assert rows_of(tmp_path) == rows_of(whole)
    for row in rows_of(whole):
        assert (tmp_path / row["file"]).read_bytes() == (whole / row["file"]).read_bytes()
    code, _, err = evofool_main("evolve", "--resume", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "does not hold a run" in err


def test_a_state_of_other_targets_and_a_path_in_use_are_refused(tmp_path: Path) -> None:
    search = map_elites(direct((6, 6, 1)), MapElitesOptions(8), targets=(2, 0))
    state = run(search, CLASSIFIER, 1)
    with pytest.raises(UsageError, match=r"one niche for each of 3 targets, not \(2,\)"):
        save_run(tmp_path / "out", search, CLASSIFIER, state)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(EvofoolError, match="not empty"):
        save_run(tmp_path, search, CLASSIFIER, state, targets=(2, 0))
