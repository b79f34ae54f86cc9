"""Models on the command line: files with and without options, and the user's own code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")

from evofool import EvofoolError, UsageError, load_classifier
from evofool.cli.results import default_path
from evofool.expressions import Numbers, option_value
from tests.classifiers.onnx_models import fixed, residual, saved

Main = Callable[..., tuple[int, str, str]]

FACTORY = """
import evofool

def bright():
    means = lambda images: images.mean(axis=(1, 2))
    return evofool.from_callable(means, input_shape=(8, 8, 3), name="bright")

def three():
    return 3

def failing():
    raise ValueError("no weights")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with models."""
    monkeypatch.chdir(tmp_path)
    saved(fixed(4), tmp_path / "small.onnx")
    (tmp_path / "small.classes.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    saved(residual(), tmp_path / "net.onnx")
    (tmp_path / "models_of_mine.py").write_text(FACTORY)
    return tmp_path


def test_a_run_against_a_file_is_resumed_from_elsewhere(
    folder: Path, evofool_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run = "onnx(small.onnx, scale=2, mean=0.5)", folder / "run"
    options = ("--batch-size", 20, "--quiet", "--out", run)
    assert evofool_main("evolve", "--classifier", name, "--generations", 2, *options) == (0, "", "")
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["classifier"] == f'onnx({folder}/small.onnx, scale=2.0, mean="0.5")'
    assert {path.name for path in (run / "elites").iterdir()} == {
        "000_one.png",
        "001_two.png",
        "002_three.png",
    }
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert evofool_main("evolve", "--resume", run, "--generations", 3, "--quiet") == (0, "", "")
    monkeypatch.chdir(folder)
    other = ("--classifier", "onnx(small.onnx, scale=3)", "--generations", 4)
    code, _, error = evofool_main("evolve", "--resume", run, *other)
    assert code == 2
    assert "classifier is 'onnx(..., scale=3.0)', not 'onnx(..., scale=2.0" in error
    saved(fixed(4, seed=1), folder / "small.onnx")
    code, _, error = evofool_main("evolve", "--resume", run, "--generations", 4)
    assert (code, error.count("\n")) == (1, 1)
    assert "weights" in error


def test_models_are_parts_of_compositions(folder: Path) -> None:
    ensemble = load_classifier("smoothed(ensemble(net.onnx, onnx(net.onnx, channels=bgr)), 0.1, samples=2)")
    assert ensemble.spec.input_shape == (16, 16, 3)
    assert ensemble.spec.name == "smoothed(ensemble(net, net), sigma=0.1, samples=2)"


def test_a_factory_runs_the_code_that_it_names_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_classifier("models_of_mine:bright").spec.name == "bright"
    assert capsys.readouterr().err == "evofool: running the code of models_of_mine:bright\n"
    for name, words in (
        ("three", r"does not return an evofool\.Classifier, but 3"),
        ("failing", "cannot be run: ValueError: no weights"),
        ("absent", "cannot be run: AttributeError"),
    ):
        with pytest.raises(EvofoolError, match=words):
            load_classifier(f"models_of_mine:{name}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.pt", r"may hold code: export the model with torch\.onnx\.export"),
        ("net.ckpt", "may hold code"),
        ("net.pkl", "may hold code: export the model to ONNX"),
        ("net.h5", r"write it with model\.save"),
        ("smoothed(net.pth)", "may hold code"),
        ("nothing.onnx", "cannot read nothing.onnx"),
        ("onnx(net.onnx, scales=2)", "did you mean 'scale'"),
        ("onnx(net.onnx, mean=red)", "must be numbers with blanks between them"),
        ("onnx(net.onnx, std=0)", "must be above zero"),
        ("onnx(smoothed(lenet-digits))", "is of a file, not of a classifier"),
        ("onnx(net.onnx, height=9, width=9)", r"\(16, 16, 3\), not \(9, 9, 3\)"),
        ("factory(net.onnx)", r"written package\.module:function"),
        ("net", "Allowed: .*the file of a model"),
    ],
)
def test_what_cannot_be_loaded_ends_in_one_line(folder: Path, name: str, words: str) -> None:
    with pytest.raises(EvofoolError, match=words) as caught:
        load_classifier(name)
    assert "\n" not in str(caught.value)


def test_the_kinds_of_models_are_listed(evofool_main: Main) -> None:
    code, out, _ = evofool_main("list", "models")
    assert code == 0
    for word in ("FILE.onnx", "FILE.keras", "MODULE:FUNCTION, which is imported and run", "batch_size"):
        assert word in " ".join(out.split())


def test_a_run_is_named_after_its_model() -> None:
    assert default_path("nets/net.onnx").name.endswith("-net")
    assert default_path("onnx(nets/net.onnx, scale=2)").name.endswith("-onnx_net_scale_2_0")


def test_several_numbers_are_one_option() -> None:
    assert option_value("onnx", "mean", " 0.5  1 ", Numbers) == "0.5 1"
    assert option_value("onnx", "mean", 2, Numbers) == "2"
    for wrong in ("", "a", "1,2"):
        with pytest.raises(UsageError, match="numbers with blanks"):
            option_value("onnx", "mean", wrong, Numbers)
