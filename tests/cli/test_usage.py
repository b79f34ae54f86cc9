"""What is wrong in the words of a command line: one line that says it, and what to do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evofool.classifiers.known import EMBEDDED
from evofool.datasets import load_dataset
from evofool.images import read_png, write_png

Main = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "expected one of {evolve, attack,"),
        (("evolv",), "unknown command 'evolv': did you mean 'evolve'?"),
        (("--foo",), "expected one of {evolve, attack,"),
        (("attack",), "expected one of {ascent, fgsm,"),
        (("attack", "PGD"), "unknown attack 'PGD': did you mean 'pgd'?"),
        (("attack", "i-fgms"), "did you mean 'i-fgsm'? Allowed: ascent, fgsm, iterated, pgd, apgd, fab,"),
        (("evolve", "--bach-size", "3"), "unknown option --bach-size: did you mean --batch-size?"),
        (("evolve", "--population=100"), "unknown option --population: did you mean --batch-size?"),
        (("evolve", "--pop_size", "100"), "did you mean --batch-size? See `evofool evolve --help`."),
        (("evolve", "--populaton", "100"), "did you mean --batch-size?"),
        (("evolve", "--algorithm", "es", "--population", "9"), "did you mean --policies?"),
        (("evolve", "--gen", "9"), "did you mean --generations?"),
        (("evolve", "--epochs", "9"), "did you mean --generations?"),
        (("evolve", "--lr", "0.1"), "did you mean --learning-rate (with --algorithm es)?"),
        (("evolve", "--search", "es"), "did you mean --algorithm?"),
        (("evolve", "-o", "it"), "unknown option -o: did you mean --out?"),
        (("evolve", "--zzzz"), "unknown option --zzzz. See `evofool evolve --help`."),
        (("evolve", "--seed", "abc"), "error parsing --seed: "),
        (("evolve", "--seed"), "missing value for argument"),
        (("evolve", "--precision", "half"), "invalid choice 'half' for argument '--precision'"),
        (("evolve", "extra"), "'extra' belongs to no option"),
        (("evolve", "--out", ""), "the word after --out is empty"),
        (("evolve", "--out="), "the word after --out is empty"),
        (("evolve", "--out", "a\nb"), "must have no control characters"),
        (("attack", "fgsm", "--images", "a\x1b[31m.png"), "must have no control characters"),
        (
            ("attack", "bim", "--step-size", "1"),
            "See `evofool attack iterated --help`.",
        ),
        (("attack", "lbfgs", "--images", "it.png"), "missing from evofool attack lbfgs: --target CLASS"),
        (("attack", "fgsm", "--eps", "0.1"), "did you mean --epsilon?"),
        (("train",), "missing from evofool train: --out PATH"),
        (("train", "--out", "it.safetensors", "--activation", "relu"), "invalid choice 'relu'"),
        (("fetch", "mnist", "digits"), "'digits' belongs to no option"),
    ],
)
def test_a_mistake_in_usage_is_one_line(args: tuple[str, ...], words: str, evofool_main: Main) -> None:
    code, printed, errors = evofool_main(*args)
    assert (code, printed) == (2, "")
    assert errors.startswith("evofool: ")
    assert words in errors
    assert errors.count("\n") == 1
    assert "│" not in errors


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    write_png(tmp_path / "digit.png", load_dataset("digits").test_images[0])
    return tmp_path / "digit.png"


@pytest.mark.parametrize("alias", ["bim", "i-fgsm"])
def test_a_name_of_the_field_makes_the_same_images(
    alias: str, digit: Path, tmp_path: Path, evofool_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (alias, "iterated"):
        options = ("--images", digit, "--steps", "3", "--change", "60", "--out", name)
        assert evofool_main("attack", name, *options)[0] == 0
    made = [read_png(Path(name, "images", "digit.png")) for name in (alias, "iterated")]
    np.testing.assert_array_equal(*made)
    assert "iterated against" in evofool_main("attack", alias, "--images", digit)[1]


def test_help_shows_the_names_of_the_field(evofool_main: Main) -> None:
    for command in (("attack", "--help"), ("attack", "bim", "--help"), ("list", "attacks")):
        code, page, _ = evofool_main(*command)
        assert code == 0
        assert "Also: bim, i-fgsm." in page


def test_a_tilde_is_the_home_folder_where_a_shell_leaves_it(
    digit: Path, tmp_path: Path, evofool_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, errors = evofool_main("attack", "fgsm", "--images", "~/digit.png", "--out=~/a\\b")
    assert (code, errors) == (0, "")
    assert (tmp_path / "a\\b" / "images" / "digit.png").is_file()


def test_a_path_that_is_not_there_is_named(evofool_main: Main) -> None:
    code, _, errors = evofool_main("attack", "fgsm", "--classifier", "./nowhere", "--dataset", "digits")
    assert (code, errors) == (1, "evofool: cannot read ./nowhere: No such file or directory\n")


def test_names_as_long_as_a_disk_takes_make_results_too(
    digit: Path, tmp_path: Path, evofool_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long = f"{'n' * 243}.safetensors"
    Path(long).write_bytes(EMBEDDED.read_bytes())
    digit.rename("a\\b.png")
    code, _, errors = evofool_main("attack", "fgsm", "--classifier", long, "--images", "a\\b.png")
    assert (code, errors) == (0, "")
    (out,) = Path("runs").iterdir()
    assert (out / "images" / "a\\b.png").is_file()
