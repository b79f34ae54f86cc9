"""The command line as a new user meets it: help, names, mistakes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evofool
from evofool.attacks import ATTACKS
from evofool.classifiers import CLASSIFIERS
from evofool.classifiers.weights import load_weights_file

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bad_weights(tmp_path: Path) -> Path:
    """A folder with files that are no classifier."""
    linear = evofool.create_classifier("linear", (8, 8, 1), ("even", "odd"))
    good = tmp_path / "good.safetensors"
    evofool.save_classifier(good, linear, training_data="none", test_accuracy=0.5)
    content = good.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-10])
    relabelled = content.replace(b'"network":"linear"', b'"network":"lenet" ')
    (tmp_path / "other.safetensors").write_bytes(relabelled)
    (tmp_path / "text.safetensors").write_text("not weights at all, but long enough to look like some\n" * 9)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--classifier", "lenet-digit"), 2, "did you mean 'lenet-digits'"),
        (("--encoding", "drect"), 2, "unknown encoding 'drect': did you mean 'direct'"),
        (("--algorithm", "map-elite"), 2, "did you mean 'map-elites'"),
        (("--targets", "thre"), 2, "did you mean 'three'"),
        (("--targets", "12"), 2, "0 to 9 or a name"),
        (("--targets", "3", "three"), 2, "each once"),
        (("--generations", "0"), 2, "generations must be above zero, not 0"),
        (("--generations", "-5"), 2, "generations must be above zero, not -5"),
        (("--batch-size", "0"), 2, "batch_size must be above zero, not 0"),
        (("--checkpoint-every", "0"), 2, "checkpoint_every must be above zero, not 0"),
        (("--chunk", "0"), 2, "chunk must be above zero, not 0"),
        (("--direct.mutation-rate", "2"), 2, "mutation_rate must be between 0 and 1, not 2.0"),
        (("--algorithm", "es", "--sigma", "0"), 2, "sigma must be above zero, not 0.0"),
        (("--algorithm", "es", "--policies", "51", "--antithetic"), 2, "policies must be even"),
        (("--algorithm", "es", "--optimizer", "sdg"), 2, "did you mean 'sgd'"),
        (("--algorithm", "es", "--advantage", "median"), 2, "unknown advantage 'median'"),
        (("--algorithm", "es", "--encoding", "student", "--estimator", "exact"), 2, "unknown estimator"),
        (("--algorithm", "es", "--encoding", "student", "--targets", "ten"), 2, "unknown class"),
        (("--algorithm", "es", "--devices", "99"), 2, "devices must be 1 to"),
        (("--sigma", "9"), 2, "--sigma requires --algorithm es"),
        (("--estimator", "nonsense"), 2, "--estimator requires --algorithm es"),
        (("--algorithm", "es", "--batch-size", "100"), 2, "--batch-size requires --algorithm map-elites"),
        (("--cppn.add-node-rate", "1"), 2, "--cppn.add-node-rate requires --encoding cppn"),
        (("--student.hidden", "9"), 2, "--student.hidden requires --encoding student"),
        (
            ("--encoding", "cppn", "--direct.mutation-rate", "0.2"),
            2,
            "--direct.mutation-rate requires --encoding direct",
        ),
        (
            ("--algorithm", "es", "--direct.mutation-rate", "0.2"),
            2,
            "--direct.mutation-rate requires --algorithm map-elites",
        ),
        (
            ("--algorithm", "es", "--direct.iso-sigma=1"),
            2,
            "--algorithm map-elites --direct.variation iso-line",
        ),
        (("--no-antithetic",), 2, "--no-antithetic requires --algorithm es"),
        (("--algorithm", "es", "--encoding", "cppn"), 2, "genomes are real-valued arrays"),
        (("--direct.iso-sigma", "0.2"), 2, "--direct.iso-sigma requires --direct.variation iso-line"),
        (
            ("--direct.variation", "iso-line", "--direct.mutation-eta", "9"),
            2,
            "requires --direct.variation source",
        ),
        (("--algorithm", "es", "--sigma", "inf"), 2, "sigma must be above zero and finite, not inf"),
        (("--algorithm", "es", "--policies", "1"), 2, "policies must be 2 or more"),
        (("--seed", "-1"), 2, "seed must be 0 to 4294967295, not -1"),
        (("--seed", str(2**64)), 2, "seed must be 0 to 4294967295"),
        (("--devices", "64"), 2, "devices must be 1 to"),
        (("--classifier", "BAD/cut.safetensors"), 1, "not a whole safetensors file"),
        (("--classifier", "BAD/text.safetensors"), 1, "not a whole safetensors file"),
        (("--classifier", "BAD/other.safetensors"), 1, "damaged"),
        (("--classifier", "BAD/none.safetensors"), 1, "cannot read"),
    ],
)
def test_mistakes_are_one_line(
    args: tuple[str, ...], code: int, words: str, tmp_path: Path, bad_weights: Path, evofool_main: Main
) -> None:
    out = tmp_path / "run"
    args = tuple(arg.replace("BAD", str(bad_weights)) for arg in args)
    exit_code, _, err = evofool_main("evolve", "--out", out, *args)
    assert exit_code == code
    assert words in err
    assert err.startswith("evofool: ")
    assert err.count("\n") == 1
    assert not (out / "elites").exists()


def explained(page: str) -> dict[str, str]:
    """What a page of help says of each option, without its default."""
    texts: dict[str, str] = {}
    option = None
    for text in (line.strip("│ ") for line in page.splitlines()):
        if not text or text[0] in "╭╰":
            option = None
        elif found := re.match(r"(?:-h, )?(--[a-z][\w.-]*)", text):
            option = found[1]
            texts[option] = "".join(re.split(r"  +", text, maxsplit=1)[1:])
        elif option is not None:
            texts[option] += f" {text}"
    return {name: re.sub(r"\((default:.*|required)\)", "", text).strip() for name, text in texts.items()}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            ("evolve",),
            {"--classifier", "--direct.mutation-eta", "--resume", "--chunk", "--quiet"},
        ),
        (("train",), {"--network", "--epsilon", "--quiet"}),
        (("fetch",), {"--url", "--quiet"}),
        (("list",), set()),
        (("study", "rubbish"), {"--classifiers", "--threshold", "--quiet"}),
        *((("attack", method), {"--images", "--quiet"}) for method in ATTACKS),
    ],
)
def test_help_explains_every_option(command: tuple[str, ...], options: set[str], evofool_main: Main) -> None:
    assert command[0] in evofool_main("--help")[1]
    code, page, _ = evofool_main(*command, "--help")
    assert code == 0
    texts = explained(page)
    assert options | {"--help"} <= texts.keys()
    assert [name for name, text in texts.items() if not text] == []


@pytest.mark.parametrize(
    ("choices", "shown", "hidden"),
    [
        (
            (),
            {"--batch-size", "--direct.mutation-rate"},
            {"--sigma", "--cppn.hidden-nodes", "--direct.iso-sigma"},
        ),
        (("--encoding", "cppn"), {"--cppn.hidden-nodes"}, {"--direct.variation", "--student.hidden"}),
        (("--algorithm", "es"), {"--sigma", "--policies"}, {"--batch-size", "--direct.variation"}),
        (("--encoding=student",), {"--student.mutation-sigma", "--student.hidden"}, {"--student.variation"}),
        (
            ("--algorithm", "es", "--encoding", "student"),
            {"--student.hidden", "--estimator"},
            {"--student.mutation-sigma"},
        ),
        (("--direct.variation", "iso-line"), {"--direct.iso-sigma"}, {"--direct.mutation-rate"}),
    ],
)
def test_help_shows_the_options_of_the_choices_alone(
    choices: tuple[str, ...], shown: set[str], hidden: set[str], evofool_main: Main
) -> None:
    code, page, _ = evofool_main("evolve", *choices, "--help")
    assert code == 0
    options = explained(page)
    assert shown <= options.keys()
    assert not hidden & options.keys()
    assert "--algorithm {map-elites,es}" in page
    assert "--encoding {direct,cppn,student}" in page
    assert "None" not in page
    if "cppn" not in choices:
        assert "evofool evolve --encoding cppn --help" in page


def test_the_program_describes_its_commands_and_its_version(evofool_main: Main) -> None:
    page = evofool_main("--help")[1]
    assert {"evolve", "attack", "study", "train", "fetch", "list"} <= set(page.split())
    assert "Union" not in page
    assert evofool_main("--version")[1] == f"evofool {evofool.__version__}\n"


def test_list_names_what_can_be_named(evofool_main: Main) -> None:
    code, out, _ = evofool_main("list")
    assert code == 0
    for name in (*CLASSIFIERS, "lenet", "cnn", "mlp", "linear", "digits", "mnist", "direct", "map-elites"):
        assert name in out
    code, out, _ = evofool_main("list", "datasets")
    assert code == 0
    assert "mnist" in out
    assert "lenet" not in out
    assert evofool_main("list", "dataset") == (0, out, "")
    code, _, err = evofool_main("list", "datsets")
    assert code == 2
    assert "did you mean 'datasets'" in err


def test_train_writes_a_classifier_that_evolve_takes(tmp_path: Path, evofool_main: Main) -> None:
    """A folder of the user's own images in colour, from training to elites."""
    random = np.random.default_rng(0)
    for name, channel in {"red": 0, "green": 1, "blue": 2}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(20):
            pixels = random.integers(0, 100, (8, 10, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    file = tmp_path / "colours.safetensors"
    options = ("--network", "linear", "--dataset", tmp_path / "images", "--epochs", "30")
    code, out, _ = evofool_main("train", *options, "--out", file)
    assert code == 0
    assert "Test accuracy 100.00%" in out
    classifier, metadata = load_weights_file(file)
    assert classifier.spec.class_names == ("blue", "green", "red")
    assert metadata["test_accuracy"] == "1.0000"
    assert "images" in metadata["training_data"]

    code, _, err = evofool_main("train", *options, "--out", file)
    assert code == 2
    assert "already exists: overwrite it" in err
    run = tmp_path / "run"
    code, out, _ = evofool_main("evolve", "--classifier", file, "--generations", "30", "--out", run)
    assert code == 0
    assert "Generation 30" in out
    image = np.asarray(Image.open(run / "elites" / "002_red.png")).astype(float).mean(axis=(0, 1))
    assert image.shape == (3,)
    assert image.argmax() == 0


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--out", "OUT/it.bin"), 2, "must end in .safetensors"),
        (("--out", "OUT/a.safetensors", "--network", "lenet5"), 2, "did you mean 'lenet'"),
        (("--out", "OUT/a.safetensors", "--dataset", "mnits"), 2, "did you mean 'mnist'"),
        (("--out", "OUT/a.safetensors", "--epochs", "0"), 2, "epochs must be above zero"),
        (("--out", "OUT/a.safetensors", "--epsilon", "0.1"), 2, "--epsilon requires --adversarial fgsm"),
        (("--out", "OUT/a.safetensors", "--dataset", "./nowhere"), 2, "no folder"),
        (("--out", "OUT/file/a.safetensors"), 1, "cannot write to"),
        (("--out", f"OUT/{'long' * 75}.safetensors"), 1, "cannot write to"),
        (("--out", "OUT/a.safetensors", "--dataset", f"./{'long' * 75}"), 2, "no folder"),
    ],
)
def test_mistakes_in_training_are_one_line(
    args: tuple[str, ...], code: int, words: str, tmp_path: Path, evofool_main: Main
) -> None:
    (tmp_path / "file").write_text("")
    exit_code, _, err = evofool_main("train", *(arg.replace("OUT", str(tmp_path)) for arg in args))
    assert exit_code == code
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("attack", "ascent", "--target", "3"), ("study", "rubbish")])
def test_a_directory_that_cannot_be_is_one_line(
    command: tuple[str, ...], tmp_path: Path, evofool_main: Main
) -> None:
    exit_code, _, err = evofool_main(*command, "--out", tmp_path / ("long" * 75))
    assert exit_code == 1
    assert "cannot write results to" in err
    assert err.count("\n") == 1


def test_fetch_says_where_it_failed(evofool_main: Main) -> None:
    code, _, err = evofool_main("fetch", "mnist", "--url", "http://127.0.0.1:9/", "--quiet")
    assert code == 1
    assert "http://127.0.0.1:9" in err
    code, _, err = evofool_main("fetch", "imagenet")
    assert code == 2
    assert "mnist" in err


def test_a_run_goes_into_a_new_directory_under_runs_by_default(
    tmp_path: Path, evofool_main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = evofool_main("evolve", "--generations", 2, "--batch-size", 20)
    assert (code, err) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-map-elites-direct-lenet-digits-seed0")
    assert f"runs/{run.name}/elites.png" in out
    assert (run / "elites.png").is_file()


@pytest.mark.slow
def test_with_no_arguments_everything_works(tmp_path: Path) -> None:
    """The first thing that a new user types, in an empty directory."""
    process = subprocess.run(
        [sys.executable, "-m", "evofool", "evolve"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    assert f"runs/{run.name}/elites.png" in process.stdout
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["generation"] == 200
    assert records[-1]["median_confidence"] >= 0.9999
