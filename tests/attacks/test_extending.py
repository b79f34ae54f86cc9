"""A new attack that needs nothing particular takes one file and one line of the registry."""

import csv
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evofool.attacks import ATTACKS
from evofool.images import write_png
from evofool.registry import Entry

TOY = '''
"""Make images brighter."""

from dataclasses import dataclass

import jax.numpy as jnp

from evofool.attacks import AttackOptions, Untargeted, assess


@dataclass(frozen=True)
class BrighterOptions(AttackOptions):
    """How much brighter.

    Attributes:
        level: what is added to each pixel, in [0, 1].
    """

    level: float = 0.1
    goals = (Untargeted,)


def brighter(classifier, images, goal, options=BrighterOptions()):
    return assess(classifier, images, jnp.clip(images + options.level, 0, 1), goal)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_attack.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_attack", raising=False)
    attack = importlib.import_module("toy_attack")
    monkeypatch.setitem(ATTACKS, "brighter", Entry("Brighter.", attack.BrighterOptions, attack.brighter))


@pytest.mark.usefixtures("toy")
def test_an_attack_of_one_file_runs_from_the_command_line(
    evofool_main: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    write_png(tmp_path / "black.png", np.zeros((28, 28, 1), np.uint8))
    code, _, errors = evofool_main(
        *("attack", "brighter", "--images", tmp_path / "black.png", "--level", "0.2"),
        *("--out", tmp_path / "out", "--quiet"),
    )
    assert (code, errors) == (0, "")
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["linf_saved"]) == pytest.approx(0.2)
    assert "what is added to each pixel" in evofool_main("attack", "brighter", "--help")[1]
    assert "brighter" in evofool_main("list", "attacks")[1]
