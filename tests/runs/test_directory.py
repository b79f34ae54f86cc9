"""The run directory: what is in it, what is replaced, and who may write to it."""


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


def test_wrong_options_leave_the_run_that_is_to_be_overwritten(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    for option in ("--log-every", "--chunk", "--checkpoint-every", "--keep-checkpoints"):
        code, _, err = evofool_main("evolve", "--out", run, "--overwrite", option, 0)
        assert code == 2
        assert "must be above zero" in one_line(err)
    assert same_archives(run, whole)


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


def test_there_must_be_a_run_to_resume(tmp_path: Path, evofool_main: Main) -> None:
    code, _, err = evofool_main("evolve", "--resume", tmp_path / "nowhere")
    assert code == 2
    assert "holds no run" in one_line(err)


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
    edit_config(run, seed=5, encoding="cubist")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "unknown encoding 'cubist'" in one_line(err)
    (run / "config.json").write_text("{")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "config.json is damaged" in one_line(err)
