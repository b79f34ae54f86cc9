"""The run directory: what is in it, what is replaced, and who may write to it."""

import json
import shutil
from pathlib import Path

import pytest

import evofool
from evofool.cli.results import default_path
from evofool.errors import EvofoolError
from evofool.runs import RUN, RunDirectory, prepare
from tests.runs.common import Main, copy_of, edit_config, one_line, same_archives, settings_for


def present(run: Path) -> dict[str, str]:
    """What the command line lists at the end of a run: names by their labels."""
    return {label: path.name for label, path in RunDirectory.open(run).results.present()}


def test_a_run_leaves_what_the_documentation_says(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "elites",
        "elites.csv",
        "lineage.csv",
        "elites.png",
        "convergence.png",
        "manifest.json",
    }
    listed = json.loads((whole / "manifest.json").read_text())["files"]
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("checkpoints/")} == {
        "manifest.json",
        *(name for name in listed if name != "checkpoints/"),
    }
    assert present(whole) == {
        "All classes": "elites.png",
        "Convergence": "convergence.png",
        "Each image": "elites",
        "Confidences": "elites.csv",
        "Lineage": "lineage.csv",
        "Metrics": "metrics.jsonl",
        "Settings": "config.json",
        "Checkpoints": "checkpoints",
    }
    assert all(any(name.startswith(known) for known in RUN.contents) for name in listed)
    config = json.loads((whole / "config.json").read_text())
    assert config["settings"]["seed"] == 5
    assert len(config["classifier_sha256"]) == 64
    assert {"evofool", "jax", "python"} <= config["versions"].keys()
    assert config["device"] != "cpu (cpu)"
    assert len(list((whole / "elites").iterdir())) == 10
    assert (whole / "elites" / "003_three.png").exists()
    assert sorted(int(path.name) for path in (whole / "checkpoints").iterdir()) == [40, 50, 60]


def test_a_run_is_never_overwritten_without_being_told(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, err = evofool_main("evolve", "--out", run)
    assert code == 2
    assert "already holds a run: overwrite it, or choose another directory" in one_line(err)
    code, _, err = evofool_main("evolve", "--out", run, "--overwrite", "--targets", "eleven")
    assert code == 2
    assert "eleven" in one_line(err)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (run / "mine.txt").write_text("keep")
    code, _, _ = evofool_main(
        "evolve", "--out", run, "--overwrite", "--generations", 2, "--targets", "3", "--quiet"
    )
    assert code == 0
    assert [path.name for path in (run / "elites").iterdir()] == ["003_three.png"]
    assert (run / "mine.txt").read_text() == "keep"


def test_wrong_options_leave_the_run_that_is_to_be_overwritten(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    for option in ("--log-every", "--chunk", "--checkpoint-every", "--keep-checkpoints"):
        code, _, err = evofool_main("evolve", "--out", run, "--overwrite", option, 0)
        assert code == 2
        assert "must be above zero" in one_line(err)
    assert same_archives(run, whole)


def test_a_config_of_something_else_does_not_make_a_directory_a_run(
    tmp_path: Path, evofool_main: Main
) -> None:
    """The folder of a language model has a config.json and may have checkpoints."""
    (tmp_path / "checkpoints").mkdir()
    for file, content in {"config.json": '{"model_type": "bert"}', "checkpoints/1.bin": "weeks"}.items():
        (tmp_path / file).write_text(content)
    for overwrite in ((), ("--overwrite",)):
        code, _, err = evofool_main("evolve", "--out", tmp_path, *overwrite)
        assert code == 2
        assert "is not empty and does not hold a run" in one_line(err)
    assert (tmp_path / "checkpoints" / "1.bin").read_text() == "weeks"


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path, evofool_main: Main) -> None:
    name = tmp_path / ("long" * 100)
    for option, words in (("--out", "cannot write"), ("--resume", "cannot read")):
        code, _, err = evofool_main("evolve", option, name)
        assert code == 1
        assert words in one_line(err)
        assert "File name too long" in err


def test_a_run_is_named_after_its_classifier() -> None:
    for classifier, name in {
        "mobilenet-v1-0.25": "map-elites-direct-mobilenet-v1-0.25-seed0",
        "some/lenet.v2.safetensors": "map-elites-direct-lenet.v2-seed0",
    }.items():
        assert default_path("map-elites", "direct", classifier, "seed0").name.endswith(f"-{name}")


def test_there_must_be_a_run_to_resume(tmp_path: Path, evofool_main: Main) -> None:
    code, _, err = evofool_main("evolve", "--resume", tmp_path / "nowhere")
    assert code == 2
    assert "does not hold a run" in one_line(err)


def test_other_weights_under_the_same_name_are_noticed(tmp_path: Path, evofool_main: Main) -> None:
    def save(seed: int) -> None:
        linear = evofool.create_classifier("linear", (8, 8, 1), ("even", "odd"), seed=seed)
        evofool.save_classifier(tmp_path / "it.safetensors", linear, training_data="none", test_accuracy=0.5)

    save(seed=1)
    run = tmp_path / "run"
    options = ("--classifier", tmp_path / "it.safetensors", "--batch-size", 10, "--out", run, "--quiet")
    assert evofool_main("evolve", *options, "--generations", 3)[0] == 0
    save(seed=2)
    code, _, err = evofool_main("evolve", "--resume", run, "--generations", 5)
    assert code == 1
    assert "are not those that" in one_line(err)


def test_a_config_that_does_not_match_is_named(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    edit_config(run, seed=6)
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "config.json does not match the checkpoints: seed is 6 there and 5 in" in one_line(err)
    edit_config(run, seed=5, encoding={"name": "cubist"})
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "unknown encoding 'cubist'" in one_line(err)
    (run / "config.json").write_text("{")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "config.json is damaged" in one_line(err)


def test_a_linked_folder_is_replaced_and_never_written_through(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run, other = copy_of(whole, tmp_path), tmp_path / "other"
    shutil.copytree(whole, other)
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    for folder in ("elites", "checkpoints"):
        shutil.rmtree(run / folder)
        (run / folder).symlink_to(other / folder)
        code, _, err = evofool_main("evolve", "--resume", run, "--generations", 62)
        assert code == 1
        assert f"{run / folder} is a link" in one_line(err)
        (run / folder).unlink()
    for folder in ("elites", "checkpoints"):
        (run / folder).symlink_to(other / folder)
    tiny = ("--generations", 2, "--batch-size", 4, "--quiet")
    assert evofool_main("evolve", "--out", run, "--overwrite", *tiny)[0] == 0
    assert not (run / "checkpoints").is_symlink()
    assert not (run / "elites").is_symlink()
    assert before == {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}


@pytest.mark.parametrize("folder", ["me[seed1]/deeper", "me*{seed1}?", "50% [x"])
def test_a_directory_may_have_an_unusual_name(folder: str, tmp_path: Path, evofool_main: Main) -> None:
    run = tmp_path / folder
    tiny = ("--batch-size", 4, "--quiet", "--generations")
    assert evofool_main("evolve", "--out", run, *tiny, 2)[0] == 0
    assert evofool_main("evolve", "--resume", run, "--quiet", "--generations", 3)[0] == 0
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["2", "3"]


def test_a_name_that_would_lead_checkpoints_elsewhere_is_refused(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    unprintable = "no control characters or unpaired surrogates"
    names = {"a\\b": "without a backslash", "line\nbreak": unprintable, "not UTF-8 \udcff": unprintable}
    for name, words in names.items():
        code, _, err = evofool_main("evolve", "--out", tmp_path / name)
        assert code == 2
        assert words in one_line(err)
    assert list(tmp_path.iterdir()) == []
    moved = Path(shutil.copytree(whole, tmp_path / "a\\b"))
    code, _, err = evofool_main("evolve", "--resume", moved)
    assert code == 2
    assert "without a backslash" in one_line(err)


def test_leftovers_of_a_kill_are_swept_by_the_next_start(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    leftovers = [run / ".elites.png.123.part", run / "elites" / ".003_three.png.123.part"]
    for path in leftovers:
        path.write_text("half of it")
    folders = [run / "checkpoints" / name for name in ("70.part", "70.part.orbax-checkpoint-tmp")]
    for folder in folders:
        shutil.copytree(run / "checkpoints" / "60", folder)
    assert evofool_main("evolve", "--resume", run, "--quiet")[0] == 0
    assert not any(path.exists() for path in (*leftovers, *folders))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / ".manifest.json.123.part").write_text("half of it")
    assert evofool_main("evolve", "--out", alone, "--generations", 1, "--batch-size", 4, "--quiet")[0] == 0
    assert same_archives(run, whole)


def test_errors_below_the_command_line_do_not_speak_of_it(tmp_path: Path) -> None:
    settings = settings_for(2)
    classifier = prepare(settings).classifier
    RunDirectory.create(tmp_path, settings, classifier)
    with pytest.raises(EvofoolError) as refused:
        RunDirectory.create(tmp_path, settings, classifier)
    assert "--" not in str(refused.value)
