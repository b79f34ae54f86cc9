"""The scripts of the papers' figures: what they write, and that what goes wrong is one line."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from evofool import load_classifier
from evofool.attacks import GradientAscentOptions, Targeted, gradient_ascent, noise_images
from evofool.images import read_png

Script = Callable[..., int]

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, module: Callable[[str], ModuleType]) -> Script:
    """Run a script in this process as its command line does: the exit code."""

    def call(name: str, *args: object) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        try:
            module("run").run(module(name).main)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return call


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("reproduce_fgsm", ("--classifiers", "none"), "MNIST"),
        ("reproduce_lbfgs", ("--classifiers", "none"), "MNIST"),
        ("reproduce_universal", ("--classifiers", "none"), "MNIST"),
        ("reproduce_student_teacher", (), "MNIST"),
        ("reproduce_gradient_ascent", (), "lenet_nguyen2015"),
        ("reproduce_panda_to_vulture", (), "set EVOFOOL_DATA"),
        ("reproduce_panda_to_vulture", ("--networks", "lenet-digits"), "photos/giant_panda.jpg"),
        ("reproduce_fooling_mnist", ("--out", "runs"), "lenet_nguyen2015"),
        ("reproduce_fooling_imagenet", ("--out", "runs"), "squeezenet"),
        ("reproduce_universal", ("--out", "/proc/none"), "MNIST"),
        ("reproduce_student_teacher", ("--out", "/proc/none"), "/proc/none"),
    ],
)
def test_missing_data_ends_in_one_line(
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.delenv("EVOFOOL_DATA", raising=False)
    monkeypatch.setenv("EVOFOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert script(name, *options) == 1
    errors = capfd.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_an_unknown_name_is_a_usage_error(script: Script, tmp_path: Path) -> None:
    assert script("reproduce_fooling_mnist", "--out", tmp_path, "--variants", "drect") == 2


def test_ascent_as_the_source_has_it_takes_all_steps_in_one_go(module: Callable[[str], ModuleType]) -> None:
    script, lenet, targets = module("reproduce_gradient_ascent"), load_classifier("lenet-digits"), [3, 8]
    images, way = script.ascend(lenet, np.array(targets), 0.13, 120, script.OF_THE_SOURCE)
    start = noise_images(jax.random.key(0), 2, lenet, mean_image=0.13)
    options = GradientAscentOptions(120, early_progress=0.04, late_progress=0.2, largest_odds_gain=None)
    expected = gradient_ascent(lenet, start, Targeted(targets), options, mean_image=0.13)
    of_targets = np.asarray(expected.trajectory)[:, [0, 1], targets]
    np.testing.assert_allclose(way, of_targets, rtol=1e-3)
    np.testing.assert_allclose(images, expected.images, atol=1e-3)


@pytest.mark.slow
def test_the_student_and_teacher_in_small(script: Script, tmp_path: Path) -> None:
    small = ("--seeds", 2, "--policies", 3, "--episodes", 2, "--large-policies", 0)
    assert script("reproduce_student_teacher", "--teacher", "lenet-digits", "--out", tmp_path, *small) == 0
    sections = (tmp_path / "tables.md").read_text().split("### ")[1:]
    assert [section.splitlines()[0] for section in sections] == [
        f"{activation} scores, advantage by {advantage}, 3 policies, 2 seeds"
        for advantage in ("mean", "ranks")
        for activation in ("sigmoid", "softmax")
    ]
    for section in sections:
        digits = [line for line in section.splitlines() if line.startswith("|")][2:]
        assert len(digits) == 10
        assert all(line.count("|") == 10 for line in digits)
    assert read_png(tmp_path / "curves.png").std() > 10


def test_a_reward_below_one_does_not_read_as_one(module: Callable[[str], ModuleType]) -> None:
    row: dict[str, Any] = {
        "digit": "zero",
        "runs": 20,
        "first_mean_reward": 0.29,
        "median_spread_of_first_episode": 1.2e-5,
        "best_reaches_0.99": 20,
        "best_episodes_0.99": [1.0, 2.0, 3.0],
        "best_reaches_0.9999": 7,
        "mean_reaches_0.99": 0,
        "mean_episodes_0.99": None,
        "last_mean_reward_of_worst_run": 0.99996,
    }
    text = module("reproduce_student_teacher").table("a setting", [row])
    expected = "| zero | 0.29000 | 0.00001 | 20 of 20 | 2 (1 to 3) | 7 of 20 | 0 of 20 | never | 0.9999 |"
    assert text.splitlines()[0] == "### a setting"
    assert text.splitlines()[-1] == expected
