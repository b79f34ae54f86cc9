"""The run directory end to end: what is in it, and that nothing which happens to a run changes its result."""

import csv
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import evofool
from evofool import (
    Classifier,
    CPPNOptions,
    DirectOptions,
    MapElitesOptions,
    StrategyOptions,
    StudentOptions,
    create_classifier,
    load_classifier,
    save_classifier,
)
from evofool.classifiers import resized
from evofool.encodings import ENCODINGS
from evofool.images import from_uint8, read_png
from evofool.runs import Options, RunDirectory, RunSettings, default_path, evolve, prepare
from evofool.runs.checkpoints import Checkpoints
from evofool.runs.evolve import reported_median
from evofool.runs.job import Job

Main = Callable[..., tuple[int, str, str]]
Start = Callable[..., subprocess.Popen[str]]
SMALL = ("--batch-size", 20, "--seed", 5, "--checkpoint-every", 10)


def archive_of(run: Path) -> list[np.ndarray]:
    """Every array of the newest checkpoint's archive."""
    import jax

    settings = RunSettings.from_json(json.loads((run / "config.json").read_text())["settings"])
    job = prepare(settings)
    checkpoints = Checkpoints(run / "checkpoints", settings)
    state, notes = checkpoints.restore(job.search.init(jax.random.key(0), job.classifier))
    checkpoints.close()
    assert notes == []
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.archive)]


def same_archives(one: Path, other: Path) -> bool:
    pairs = zip(archive_of(one), archive_of(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def logged(run: Path) -> list[int]:
    """The generations in metrics.jsonl."""
    return [json.loads(line)["generation"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 generations at once, the one to compare with."""
    from evofool.cli import main

    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.raises(SystemExit) as ended:
        main([*map(str, ("evolve", "--generations", 60, *SMALL, "--out", path)), "--quiet"])
    assert ended.value.code == 0
    return path


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
    }
    config = json.loads((whole / "config.json").read_text())
    assert config["settings"]["seed"] == 5
    assert len(config["classifier_sha256"]) == 64
    assert {"evofool", "jax", "python"} <= config["versions"].keys()
    assert len(list((whole / "elites").iterdir())) == 10
    assert (whole / "elites" / "003_three.png").exists()
    assert sorted(int(path.name) for path in (whole / "checkpoints").iterdir()) == [40, 50, 60]


def test_the_metrics_are_one_object_per_generation(whole: Path) -> None:
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [record["generation"] for record in records] == list(range(1, 61))
    assert [record["evaluations"] for record in records] == list(range(20, 1220, 20))
    assert {
        "seconds",
        "evaluations_per_second",
        "median_confidence",
        "mean_confidence",
        "min_confidence",
        "niches_over_0.99",
        "niches_over_0.9999",
        "replacements",
    } <= records[0].keys()
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(records))


def test_every_png_classified_again_has_the_confidence_in_the_table(whole: Path) -> None:
    classifier = evofool.load_classifier("lenet-digits")
    with (whole / "elites.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(classifier.spec.class_names)
    for row in rows:
        confidences = classifier(from_uint8(read_png(whole / row["file"])[None]))[0]
        assert abs(float(confidences[int(row["class"])]) - float(row["confidence"])) <= 1e-5
        assert 1 <= int(row["generation"]) <= 60
        assert row["parent"] in (*classifier.spec.class_names, "")


def test_a_run_in_two_parts_is_the_whole_run(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    parts = tmp_path / "parts"
    assert evofool_main("evolve", "--generations", 25, *SMALL, "--out", parts, "--quiet")[0] == 0
    code, out, _ = evofool_main("evolve", "--resume", parts, "--generations", 60)
    assert code == 0
    assert "Generation 60" in out
    assert same_archives(parts, whole)
    generations = [
        json.loads(line)["generation"] for line in (parts / "metrics.jsonl").read_text().splitlines()
    ]
    assert generations == list(range(1, 61))
    assert (parts / "elites.csv").read_bytes() == (whole / "elites.csv").read_bytes()


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_the_length_of_chunks_changes_nothing(
    whole: Path, tmp_path: Path, evofool_main: Main, chunk: int
) -> None:
    run = tmp_path / "run"
    options = ("--generations", 60, *SMALL, "--chunk", chunk, "--log-every", 20, "--checkpoint-every", 25)
    assert evofool_main("evolve", *options, "--out", run, "--quiet")[0] == 0
    assert same_archives(run, whole)
    assert logged(run) == [20, 25, 40, 50, 60]


def test_a_run_that_is_stopped_early_has_logged_its_last_generation(tmp_path: Path) -> None:
    settings = RunSettings(generations=60, search=MapElitesOptions(20))
    job = prepare(settings)
    directory = RunDirectory.create(tmp_path / "run", settings, job.classifier)
    options = Options(log_every=50, chunk=1)
    seen: list[dict[str, Any]] = []
    outcome = evolve(
        settings, job, directory, options=options, on_record=seen.append, stop=lambda: len(seen) == 6
    )
    assert logged(directory.path) == [int(outcome.state.generation)] == [7]
    assert outcome.record == directory.read_metrics()[-1]
    assert (directory.path / "convergence.png").exists()
    resumed = evolve(settings, job, directory, resume=True, options=options)
    assert logged(directory.path) == [7, 50, 60]
    assert resumed.record["seconds"] > outcome.record["seconds"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finalised(run: Path) -> list[int]:
    folder = run / "checkpoints"
    return (
        sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        if folder.exists()
        else []
    )


def test_a_killed_run_resumes_to_the_same_bits(
    whole: Path, tmp_path: Path, evofool_process: Start, evofool_main: Main
) -> None:
    """SIGKILL at a moment that differs from test run to test run; what was logged too far is made again."""
    run = tmp_path / "run"
    process = evofool_process("evolve", "--generations", 60, *SMALL, "--chunk", 1, "--out", run, "--quiet")
    wait_for(lambda: finalised(run) != [], process)
    time.sleep(random.random() * 0.3)
    process.kill()
    process.communicate()
    assert evofool_main("evolve", "--resume", run)[0] == 0
    assert same_archives(run, whole)
    assert (run / "elites.csv").read_bytes() == (whole / "elites.csv").read_bytes()
    generations = [
        json.loads(line)["generation"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    assert generations == list(range(1, 61))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_saves_and_says_how_to_go_on(
    tmp_path: Path, evofool_process: Start, evofool_main: Main, number: int, code: int
) -> None:
    run = tmp_path / "run"
    process = evofool_process("evolve", "--generations", 1_000_000, *SMALL, "--log-every", 10, "--out", run)
    wait_for(lambda: finalised(run) != [], process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == ""
    assert f"evofool evolve --resume {run}" in out
    assert (run / "elites.png").exists()
    done = finalised(run)[-1]
    code, out, _ = evofool_main("evolve", "--resume", run, "--generations", done + 5)
    assert code == 0
    assert f"Generation {done + 5:,}" in out


def copy_of(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def newest_data_file(run: Path) -> Path:
    files = [path for path in (run / "checkpoints" / "60").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole: Path, tmp_path: Path, evofool_main: Main, damage: str
) -> None:
    run = copy_of(whole, tmp_path)
    victim = newest_data_file(run)
    content = bytearray(victim.read_bytes())
    if damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        victim.write_bytes(content)
    elif damage == "remove":
        victim.unlink()
    else:
        for path in (run / "checkpoints" / "60").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    code, out, err = evofool_main("evolve", "--resume", run)
    assert (code, err) == (0, "")
    assert "the checkpoint of generation 60 is damaged" in out
    assert same_archives(run, whole)
    assert len(list((run / "damaged-checkpoints").iterdir())) == 1


def one_line(err: str) -> str:
    assert err.startswith("evofool: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_a_run_without_a_whole_checkpoint_is_not_resumed(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "has no checkpoint that can be read" in one_line(err)
    assert (run / "elites.csv").read_bytes() == (whole / "elites.csv").read_bytes()


def test_a_run_is_never_overwritten_without_being_told(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, err = evofool_main("evolve", "--out", run)
    assert code == 2
    assert "--resume" in one_line(err)
    assert "--overwrite" in err
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


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path, evofool_main: Main) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    code, _, err = evofool_main("evolve", "--out", tmp_path, "--overwrite")
    assert code == 2
    assert "is no run of evofool" in one_line(err)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_output_that_cannot_be_written_is_said_before_the_work(tmp_path: Path, evofool_main: Main) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = evofool_main("evolve", "--out", tmp_path / "file" / "run")
    assert code == 1
    assert "cannot write to" in one_line(err)
    assert "Not a directory" in err


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
        assert "is no run of evofool" in one_line(err)
    assert (tmp_path / "checkpoints" / "1.bin").read_text() == "weeks"


def test_a_name_under_which_checkpoints_would_be_lost_is_refused(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    for folder in ("me[seed1]", "me[seed1]/deeper", "a\\b"):
        code, _, err = evofool_main("evolve", "--out", tmp_path / folder)
        assert code == 2
        assert "checkpoints cannot be written under such a name" in one_line(err)
    assert list(tmp_path.iterdir()) == []
    moved = Path(shutil.copytree(whole, tmp_path / "me[seed1]"))
    code, _, err = evofool_main("evolve", "--resume", moved, "--generations", 61)
    assert code == 2
    assert "checkpoints cannot be written under such a name" in one_line(err)
    moved = moved.rename(tmp_path / "me*{seed1}?")
    assert evofool_main("evolve", "--resume", moved, "--generations", 61, "--quiet")[0] == 0
    assert evofool_main("evolve", "--resume", moved, "--generations", 62, "--quiet")[0] == 0


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path, evofool_main: Main) -> None:
    name = tmp_path / ("long" * 100)
    for option, words in (("--out", "cannot write to"), ("--resume", "cannot read")):
        code, _, err = evofool_main("evolve", option, name)
        assert code == 1
        assert words in one_line(err)
        assert "File name too long" in err


def test_a_run_is_named_after_its_classifier() -> None:
    for classifier, name in {
        "mobilenet-v1-0.25": "map-elites-direct-mobilenet-v1-0.25-seed0",
        "some/lenet.v2.safetensors": "map-elites-direct-lenet.v2-seed0",
    }.items():
        assert default_path(RunSettings(classifier=classifier)).name.endswith(f"-{name}")


def edit_config(run: Path, **changes: Any) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["settings"].update(changes)
    path.write_text(json.dumps(config))


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", 6), "seed is 6, not 5"),
        (("--seed", 0), "seed is 0, not 5"),  # the default, but given
        (("--direct.mutation-rate", 0.2), "mutation_rate"),
        (("--generations", 30), "is at generation 60 already"),
        (("--out", "elsewhere"), "leave out --out"),
    ],
)
def test_a_resumed_run_keeps_its_settings(
    whole: Path, tmp_path: Path, evofool_main: Main, options: tuple[Any, ...], words: str
) -> None:
    run = copy_of(whole, tmp_path)
    code, _, err = evofool_main("evolve", "--resume", run, *options)
    assert code == 2
    assert words in one_line(err)
    assert same_archives(run, whole)


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


def test_a_finished_run_is_only_drawn_again(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    (run / "elites.png").unlink()
    code, out, _ = evofool_main("evolve", "--resume", run)
    assert code == 0
    assert "only the pictures are made anew" in out
    assert (run / "elites.png").exists()


def test_there_must_be_a_run_to_resume(tmp_path: Path, evofool_main: Main) -> None:
    code, _, err = evofool_main("evolve", "--resume", tmp_path / "nowhere")
    assert code == 2
    assert "holds no run" in one_line(err)


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    """No file may grow beyond 60 kB: checkpoints are smaller, and the log becomes larger."""
    run = tmp_path / "run"
    process = subprocess.run(
        [
            *(sys.executable, "-m", "evofool", "evolve", "--generations", "400", "--batch-size", "4"),
            *("--checkpoint-every", "10", "--chunk", "10", "--quiet", "--out", str(run)),
        ],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    assert process.returncode == 1
    assert "cannot write" in process.stderr.splitlines()[-1]
    assert "--resume" in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
    assert finalised(run) != []


ES = (
    "--algorithm",
    "es",
    "--encoding",
    "student",
    "--activation",
    "sigmoid",
    "--policies",
    10,
    "--targets",
    "3",
    "7",
)


def test_an_evolution_strategy_leaves_its_pictures_and_resumes_to_the_same_bits(
    tmp_path: Path, evofool_main: Main
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = (*ES, "--seed", 3, "--checkpoint-every", 5, "--quiet")
    assert evofool_main("evolve", *options, "--generations", 12, "--out", whole)[0] == 0
    assert evofool_main("evolve", *options, "--generations", 7, "--out", parts)[0] == 0
    assert evofool_main("evolve", "--resume", parts, "--generations", 12, "--quiet")[0] == 0
    assert same_archives(whole, parts)
    files = {path.name for path in whole.iterdir()}
    assert {"rewards.png", "drawings.png", "elites.png"} <= files
    assert "lineage.csv" not in files
    records = [json.loads(line) for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert [record["generation"] for record in records] == list(range(1, 13))
    assert all(len(record["mean_rewards"]) == len(record["max_rewards"]) == 2 for record in records)
    assert records[-1]["evaluations"] == 12 * 2 * 10
    assert (whole / "elites.csv").read_bytes() == (parts / "elites.csv").read_bytes()
    assert set(np.unique(read_png(whole / "elites" / "003_three.png")).tolist()) <= {0, 255}


def test_wrong_options_leave_the_run_that_is_to_be_overwritten(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    for option in ("--log-every", "--chunk", "--checkpoint-every", "--keep-checkpoints"):
        code, _, err = evofool_main("evolve", "--out", run, "--overwrite", option, 0)
        assert code == 2
        assert "must be above zero" in one_line(err)
    assert same_archives(run, whole)


def test_a_run_that_was_cut_before_its_first_checkpoint_begins_anew(
    whole: Path, tmp_path: Path, evofool_main: Main, evofool_process: Start
) -> None:
    run = tmp_path / "run"
    process = evofool_process("evolve", "--generations", 60, *SMALL, "--chunk", 1, "--out", run, "--quiet")
    wait_for((run / "config.json").exists, process)
    process.kill()
    process.communicate()
    assert finalised(run) == []
    code, out, _ = evofool_main("evolve", "--resume", run)
    assert code == 0
    assert "begins anew" in out
    assert same_archives(run, whole)


def test_a_classifier_may_move(tmp_path: Path, evofool_main: Main) -> None:
    linear = evofool.create_classifier("linear", (8, 8, 1), ("even", "odd"))
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    evofool.save_classifier(old, linear, training_data="none", test_accuracy=0.5)
    run = tmp_path / "run"
    options = ("--batch-size", 10, "--generations", 3, "--out", run, "--quiet")
    assert evofool_main("evolve", "--classifier", old, *options)[0] == 0
    old.rename(new)
    assert evofool_main("evolve", "--resume", run, "--generations", 5, "--quiet")[0] == 1
    resumed = ("--resume", run, "--classifier", new, "--generations", 5, "--quiet")
    assert evofool_main("evolve", *resumed)[0] == 0
    assert evofool_main("evolve", "--resume", run, "--generations", 6, "--quiet")[0] == 0


def test_another_encoding_in_the_config_is_a_mismatch_and_no_damage(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    edit_config(run, encoding=ENCODINGS.to_json(StudentOptions()))
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "encoding.name is 'student' there and 'direct' in" in one_line(err)
    assert not (run / "damaged-checkpoints").exists()
    edit_config(run, encoding=ENCODINGS.to_json(DirectOptions()), seed=-3)
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "settings of the run are damaged" in one_line(err)


def test_a_damaged_line_of_the_lineage_is_dropped(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    with (run / "lineage.csv").open("a") as file:
        file.write("x,y,z,u,v\n")
    code, _, _ = evofool_main("evolve", "--resume", run, "--generations", 62, "--quiet")
    assert code == 0
    assert "x,y" not in (run / "lineage.csv").read_text()


def test_damaged_tables_are_rewound_to_what_is_whole(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    records = (run / "metrics.jsonl").read_bytes()
    for damage in (b"{}", b"[]", b"7", b'{"generation": null, "seconds": 1}', b'{"gener', b"\xff\xfe"):
        (run / "metrics.jsonl").write_bytes(records + damage + b"\n" + records)
        assert len(RunDirectory.open(run).read_metrics()) == 60
    with (run / "lineage.csv").open("ab") as file:
        file.write(b"\xff\xfe\n")
    assert evofool_main("evolve", "--resume", run, "--generations", 61, "--quiet")[0] == 0
    assert logged(run) == list(range(1, 62))
    assert (run / "lineage.csv").read_text().startswith((whole / "lineage.csv").read_text())


def test_a_run_is_compared_with_what_is_reported_of_such_a_run(tmp_path: Path) -> None:
    sklearn_digits = load_classifier("lenet-digits")
    linear = create_classifier("linear", (28, 28, 1), sklearn_digits.spec.class_names)
    file, data = tmp_path / "it.safetensors", "mnist, 60000 images, 10 epochs"
    save_classifier(file, linear, training_data=data, test_accuracy=0.9)
    digits = resized(load_classifier(file), 56, 56)
    names = tuple(f"class {index}" for index in range(1000))
    imagenet = create_classifier("googlenet", (32, 32, 3), names, seed=None)
    grey = create_classifier("linear", (8, 8, 1), names, seed=None)

    def reported(classifier: Classifier, *targets: int, **settings: Any) -> float | None:
        classes = targets or tuple(range(len(classifier.spec.class_names)))
        job = Job(classifier, classifier, None, None, classes)  # type: ignore[arg-type]
        found = reported_median(RunSettings(**settings), job)
        return None if found is None else found.confidence

    assert reported(digits) == reported(digits, encoding=CPPNOptions()) == 0.9999
    assert reported(sklearn_digits) is None
    assert reported(imagenet) == 0.2159
    assert reported(imagenet, encoding=CPPNOptions()) == 0.8811
    assert reported(grey) is None
    assert reported(digits, 3, 7) is None
    assert reported(digits, encoding=StudentOptions(), search=StrategyOptions()) is None
    assert reported(digits, encoding=DirectOptions(), search=StrategyOptions()) is None


def test_checkpoints_are_rarer_where_they_would_take_much_of_a_run(tmp_path, monkeypatch):
    settings = RunSettings(generations=150, search=MapElitesOptions(2))
    job = prepare(settings)

    def generations_kept(name: str, every: int | None, affordable: bool) -> set[str]:
        monkeypatch.setattr(Checkpoints, "affordable", lambda self, share: affordable)
        directory = RunDirectory.create(tmp_path / name, settings, job.classifier)
        evolve(settings, job, directory, options=Options(every, keep_checkpoints=9))
        return {path.name for path in directory.checkpoints.iterdir()}

    assert generations_kept("cheap", None, True) == {"50", "100", "150"}
    assert generations_kept("dear", None, False) == {"150"}
    assert generations_kept("asked for", 50, False) == {"50", "100", "150"}


def test_a_checkpoint_can_be_afforded_once_the_last_one_is_a_small_share_of_the_time(tmp_path, monkeypatch):
    settings = RunSettings(search=MapElitesOptions(2))
    job = prepare(settings)
    checkpoints = Checkpoints(tmp_path / "checkpoints", settings)
    assert checkpoints.affordable(0.03)
    clock = itertools.chain([1000.0], itertools.repeat(1003.0))  # begun, and whole three seconds later
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    checkpoints.save(job.search.init(jax.random.key(0), job.scorer))
    checkpoints.finish()
    monkeypatch.setattr(time, "perf_counter", lambda: 1099.0)
    assert not checkpoints.affordable(0.03)
    monkeypatch.setattr(time, "perf_counter", lambda: 1101.0)
    assert checkpoints.affordable(0.03)
    checkpoints.close()
