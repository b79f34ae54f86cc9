"""Compositions of classifiers on the command line: wherever a classifier is named."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evofool import EvofoolError, UsageError, create_classifier, load_classifier, save_classifier
from evofool.classifiers import COMPOSITIONS
from evofool.cli.results import default_path
from evofool.datasets import DIGIT_NAMES
from evofool.runs import RunSettings

Main = Callable[..., tuple[int, str, str]]

SMOOTHED = "smoothed(lenet-digits, 0.1, samples=4)"


@pytest.fixture
def linear_file(tmp_path: Path) -> Path:
    file = tmp_path / "my (linear).safetensors"
    linear = create_classifier("linear", (28, 28, 1), DIGIT_NAMES)
    save_classifier(file, linear, training_data="none", test_accuracy=0.1)
    return file


def contents(run: Path) -> list[bytes]:
    pictures = sorted((run / "elites").iterdir())
    assert len(pictures) == 10
    return [
        (run / "elites.csv").read_bytes(),
        (run / "elites.png").read_bytes(),
        *(p.read_bytes() for p in pictures),
    ]


def test_a_resumed_run_against_a_composition_ends_like_an_uninterrupted_one(
    tmp_path: Path, evofool_main: Main
) -> None:
    options = ("--classifier", SMOOTHED, "--batch-size", 20, "--quiet")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert evofool_main("evolve", *options, "--generations", 12, "--out", whole) == (0, "", "")
    assert evofool_main("evolve", *options, "--generations", 5, "--out", parts) == (0, "", "")
    assert evofool_main("evolve", "--resume", parts, "--generations", 12, "--quiet") == (0, "", "")
    assert contents(whole) == contents(parts)
    settings = json.loads((parts / "config.json").read_text())["settings"]
    assert settings["classifier"] == "smoothed(lenet-digits, sigma=0.1, samples=4)"
    # The weights are the same, the composition is not.
    other = SMOOTHED.replace("0.1", "0.2")
    code, _, error = evofool_main("evolve", "--resume", parts, "--classifier", other, "--generations", 13)
    assert code == 2
    assert "classifier is 'smoothed(..., sigma=0.2, samples=4)', not 'smoothed(..., sigma=0.1" in error


@pytest.mark.slow
def test_files_inside_are_found_from_anywhere(
    linear_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evofool_main: Main
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"ensemble(lenet-digits, '{linear_file.name}', vote=majority)"
    options = ("--classifier", text, "--batch-size", 10, "--generations", 2, "--quiet")
    assert evofool_main("evolve", *options, "--out", "run") == (0, "", "")
    stored = json.loads(Path("run/config.json").read_text())["settings"]["classifier"]
    assert stored == f'ensemble(lenet-digits, "{linear_file}", vote=majority)'
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert evofool_main("evolve", "--resume", tmp_path / "run", "--generations", 3, "--quiet") == (0, "", "")
    moved = linear_file.rename(tmp_path / "moved.safetensors")
    resumed = ("evolve", "--resume", tmp_path / "run", "--generations", 4, "--quiet")
    assert evofool_main(*resumed)[0] == 1
    again = ("--classifier", f"ensemble(lenet-digits, {moved}, vote=majority)")
    assert evofool_main(*resumed, *again) == (0, "", "")


@pytest.mark.slow
def test_attacks_and_studies_take_compositions(linear_file: Path, tmp_path: Path, evofool_main: Main) -> None:
    mean = f"ensemble(lenet-digits, '{linear_file}')"
    attack, study = tmp_path / "attack", tmp_path / "study"
    code, out, error = evofool_main(
        *("attack", "universal", "--dataset", "digits", "--count", 3, "--classifier", mean, "--steps", 2),
        *("--other", "rejecting(lenet-digits, 0.99)", linear_file, "--out", attack),
    )
    assert (code, error) == (0, "")
    assert "universal against ensemble(lenet-digits, linear): 3 images" in out
    rates = list(csv.DictReader((attack / "fooling_rates.csv").open()))
    assert [row["classifier"] for row in rates] == [
        "ensemble(lenet-digits, linear)",
        "rejecting(lenet-digits, threshold=0.99)",
        "linear",
    ]
    names = ("eight_bit(lenet-digits, levels=2)", "eight_bit(lenet-digits, 2)")
    code, _, error = evofool_main(
        "study", "rubbish", "--classifiers", *names, "--count", 64, "--out", study, "--quiet"
    )
    assert (code, error) == (0, "")
    assert len(list((study / "figures").glob("*eight_bit_lenet_digits_levels_2*.png"))) == 2


def test_compositions_are_listed_with_their_options(evofool_main: Main) -> None:
    code, out, _ = evofool_main("list", "compositions")
    assert code == 0
    words = " ".join(out.split())
    assert all(name in words for name in COMPOSITIONS)
    assert "Options: sigma=0.25, samples=16, seed=0" in words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smothed(lenet-digits)", "unknown composition 'smothed': did you mean 'smoothed'?"),
        ("smoothed(lenet-digit)", "unknown classifier 'lenet-digit': did you mean 'lenet-digits'?"),
        ("smoothed(lenet-digits, sgma=1)", "unknown option of smoothed 'sgma': did you mean 'sigma'?"),
        ("smoothed(lenet-digits, -1)", "sigma must be above zero, not -1.0"),
        ("smoothed(lenet-digits, samples=1.5)", "samples of smoothed must be a whole number, not 1.5"),
        ("smoothed(lenet-digits, wide)", "sigma of smoothed must be a number, not wide"),
        ("smoothed(lenet-digits, 1, 2, 3, 4)", "smoothed has 3 options, not 4: smoothed(classifier, sigma"),
        ("smoothed(lenet-digits, 1, sigma=1)", "smoothed is given sigma twice"),
        ("smoothed()", "smoothed is made of classifiers: smoothed(classifier, sigma=0.25"),
        (
            "ensemble(lenet-digits, 3)",
            "ensemble is made of classifiers: ensemble(classifier, ..., vote=mean)",
        ),
        ("ensemble(lenet-digits, vote=all)", "unknown vote 'all'. Allowed: mean, majority"),
        ("resized(lenet-digits, 40)", "resized needs width: resized(classifier, height, width)"),
        ("rejecting(lenet-digits, 1)", "threshold must be above 0 and below 1, not 1"),
        ("rejecting(rejecting(lenet-digits))", "has a class 'rejected' already"),
        ("median_filtered(lenet-digits, 4)", "size must be one of 1, 3, 5, 7, not 4"),
        ("eight_bit(lenet-digits, 1)", "levels must be 2 to 65536, not 1"),
        ("with_precision(lenet-digits, half)", "unknown precision 'half'. Allowed: float32"),
        ("blurred(lenet-digits", "there is no file of this name, and 'blurred(lenet-digits' cannot be read"),
        ("blurred(" * 100 + ")" * 100, "at most 32 calls inside one another"),
        ("(" * 10_000, "has 10000 characters, an expression at most 4096"),
    ],
)
def test_mistakes_are_one_line_with_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_classifier(text)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "command",
    [
        ("evolve", "--classifier"),
        ("attack", "fgsm", "--dataset", "digits", "--classifier"),
        ("attack", "universal", "--dataset", "digits", "--other"),
        ("study", "rubbish", "--classifiers"),
    ],
)
def test_every_command_ends_in_this_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evofool_main: Main
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "evofool: resized needs width: resized(classifier, height, width)\n"
    code, _, error = evofool_main(*command, "resized(lenet-digits, 40)")
    assert (code, error) == (2, line)


@pytest.mark.parametrize("text", ["run (1).safetensors", "blurred('a, b.safetensors')"])
def test_a_missing_file_is_missing_whatever_its_name(text: str) -> None:
    with pytest.raises(EvofoolError, match="No such file"):
        load_classifier(text)


def test_directories_are_named_after_compositions(linear_file: Path) -> None:
    name = default_path("attack", "fgsm", f"ensemble('{linear_file}', smoothed(lenet-digits, 0.25))").name
    assert name[15:] == "-attack-fgsm-ensemble_my_linear_smoothed_lenet_digits"
    assert default_path("attack", str(linear_file)).name[15:] == "-attack-my (linear)"


def test_settings_with_the_same_composition_of_other_files_do_not_differ() -> None:
    first, second, third = (
        RunSettings(classifier=f"blurred({inner}, {sigma})")
        for inner, sigma in (("lenet-digits", 1), ("a.safetensors", 1.0), ("lenet-digits", 2))
    )
    assert first.differences(second) == []
    assert first.differences(third) == ["classifier is 'blurred(...)', not 'blurred(..., sigma=2.0)'"]
