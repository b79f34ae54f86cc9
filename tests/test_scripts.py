"""The scripts: their tables and pictures, and user errors in one line."""

import doctest
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.axes import Axes

from evofool import create_classifier, load_classifier, save_classifier
from evofool.attacks import GradientAscentOptions, Targeted, gradient_ascent, noise_images
from evofool.errors import UsageError
from evofool.images import read_png
from evofool.results import Content, Kind, Results
from evofool.runs import RunSettings
from evofool.search import MapElitesOptions
from evofool.studies.audit.directory import AUDIT

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
        ("reproduce_student_teacher", (), "MNIST"),
        ("reproduce_gradient_ascent", (), "lenet_nguyen2015"),
        ("reproduce_panda_to_vulture", (), "set EVOFOOL_DATA"),
        ("reproduce_panda_to_vulture", ("--networks", "lenet-digits"), "photos/giant_panda.jpg"),
        ("reproduce_fooling_mnist", ("--out", "runs"), "lenet_nguyen2015"),
        ("reproduce_fooling_imagenet", ("--out", "runs"), "squeezenet"),
        ("reproduce_student_teacher", ("--out", "/proc/none"), "/proc/none"),
    ],
)
def test_missing_data_is_reported_in_one_line(
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


def test_the_source_rule_takes_all_steps_in_one_round(module: Callable[[str], ModuleType]) -> None:
    script, lenet, targets = module("reproduce_gradient_ascent"), load_classifier("lenet-digits"), [3, 8]
    images, trajectory = script.ascend(lenet, np.array(targets), 0.13, 20, script.OF_THE_SOURCE)
    start = noise_images(jax.random.key(0), 2, lenet, mean_image=0.13)
    options = GradientAscentOptions(20, early_progress=0.04, late_progress=0.2, largest_odds_gain=None)
    expected = gradient_ascent(lenet, start, Targeted(targets), options, mean_image=0.13)
    of_targets = np.asarray(expected.trajectory)[:, [0, 1], targets]
    # The rule's long first steps amplify the rounding of two different programs.
    np.testing.assert_allclose(trajectory, of_targets, rtol=5e-3)
    np.testing.assert_allclose(images, expected.images, atol=5e-3)


@pytest.mark.slow
def test_the_student_and_teacher_tables_have_a_row_per_digit(script: Script, tmp_path: Path) -> None:
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


def test_rewards_are_truncated_never_rounded_up_to_one(module: Callable[[str], ModuleType]) -> None:
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


def test_the_examples_of_the_table_helpers_run(module: Callable[[str], ModuleType]) -> None:
    result = doctest.testmod(module("tables"))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_tables_of_the_readme_match_the_registries(module: Callable[[str], ModuleType]) -> None:
    script = module("readme_tables")
    text = script.README.read_text()
    for name in script.TABLES:
        assert f"<!-- table: {name} -->" in text
    assert module("tables").renewed(text, script.TABLES) == text


def test_a_table_is_renewed_between_its_markers_only(module: Callable[[str], ModuleType]) -> None:
    script = module("readme_tables")
    before, after = "before\n<!-- table: classifiers -->\n", "<!-- end -->\nafter | old |\n"
    renew = module("tables").renewed
    renewed = renew(f"{before}| old |\n{after}", script.TABLES)
    assert renewed.startswith(before)
    assert renewed.endswith(after)
    assert "`lenet-digits`" in renewed
    with pytest.raises(UsageError, match="did you mean 'classifiers'"):
        renew("<!-- table: classifier -->\n<!-- end -->", script.TABLES)
    kind = Kind("a note", {"a.txt": Content("Note", "a short text"), "more/": Content("More", "others")})
    assert script.of_results(kind).splitlines()[2:] == ["| `a.txt` | a short text |", "| `more/` | others |"]


def test_the_tables_of_a_study_are_put_into_a_page(
    module: Callable[[str], ModuleType], evofool_main: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    study, page = tmp_path / "noise", tmp_path / "page.md"
    assert evofool_main("study", "rubbish", "--count", 4, "--out", study)[0] == 0
    other = "<!-- table: other, A title -->\n| kept |\n<!-- end -->\n"
    page.write_text(
        f"# Page\n{other}<!-- table: noise, Certainty about noise -->\n| old |\n<!-- end -->\n"
        "<!-- table: noise, notes -->\n<!-- end -->\n"
    )
    module("study_tables").main(page, (study,))
    text = page.read_text()
    assert "| old |" not in text
    assert other in text
    table, _, notes = (study / "tables.md").read_text().partition("## What differs from the source")
    assert table.partition("\n\n")[2].strip() in text
    assert notes.strip() in text


def test_the_figures_of_audits_are_put_into_a_page(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: a, summary -->\n<!-- end -->\n<!-- table: figures -->\nold\n<!-- end -->\n")
    record = {"options": {}, "command": "", "name": "mine", "summary": ["It is easy."]}
    record |= {"not_run": [{"part": "Noise", "reason": "no time"}], "sections": []}
    record["about"] = {"queries": "7 at most", "device": "a CPU"}
    for name, figures in (
        ("a", {"clean_accuracy": 0.5}),
        ("b", {"clean_accuracy": 0.25, "auroc_cppn": 0.75}),
    ):
        results = Results.create(tmp_path / name, AUDIT)
        results.add("audit.json").write_text(json.dumps(record | {"figures": figures}))
    assert script("audit_tables", "--page", page, "--audits", tmp_path / "a", tmp_path / "b") == 0
    lines = page.read_text().splitlines()
    assert "> It is easy." in lines
    assert "> Not run: Noise: no time." in lines
    assert "| name | what it is | mine | mine |" in lines
    (accuracy,) = (line for line in lines if line.startswith("| `clean_accuracy` |"))
    assert accuracy.endswith("| 50.0% | 25.0% |")
    (auroc,) = (line for line in lines if line.startswith("| `auroc_cppn` |"))
    assert auroc.endswith("|  | 0.75 |")
    assert "old" not in lines
    assert script("audit_tables", "--page", page, "--audits", tmp_path) == 2
    assert "does not hold an audit" in capsys.readouterr().err


def test_models_to_audit_are_seen_alike_by_their_own_frameworks(
    module: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = create_classifier("mlp", (8, 8, 3), tuple("0123456789"))
    save_classifier(tmp_path / "it.safetensors", network, training_data="none", test_accuracy=0.1)
    module("audit_models").write_onnx(tmp_path / "it.safetensors", tmp_path / "it.onnx")
    images = np.random.default_rng(0).random((5, 8, 8, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    (logits,) = session.run(None, {"images": images.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(logits, network.logits(jnp.asarray(images)), atol=1e-5)
    loaded = load_classifier(tmp_path / "it.onnx")
    np.testing.assert_allclose(loaded.logits(jnp.asarray(images)), logits, atol=1e-5)


def test_a_run_is_extended_from_where_it_ended(module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    script = module("fooling")
    short, long = (
        script.finished_run(
            tmp_path / "run", RunSettings(search=MapElitesOptions(20), generations=generations), quiet=True
        )
        for generations in (2, 5)
    )
    assert [record["generation"] for record in long] == [1, 2, 3, 4, 5]
    assert long[:2] == short
    assert len(script.elites_of(tmp_path / "run")) == 10


def test_finished_runs_are_reported_beside_the_paper(
    script: Script,
    module: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    records = []
    for seed, run in enumerate(runs, 3):
        settings = RunSettings(search=MapElitesOptions(20), generations=2 + seed, seed=seed)
        records.append(module("fooling").finished_run(run, settings, quiet=True))
    drawn: dict[str, Any] = {}
    plot = Axes.plot

    def recording(axes: Axes, x: Any, y: Any, **options: Any) -> Any:
        drawn[options["label"]] = (np.asarray(x).tolist(), np.asarray(y).tolist())
        return plot(axes, x, y, **options)

    monkeypatch.setattr(Axes, "plot", recording)
    capsys.readouterr()
    assert script("reproduce_fooling_imagenet", "--out", tmp_path / "out", "--finished", *runs) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| 3", "| 4", "| Nguyen et al."]
    assert [row[3] for row in rows] == ["100", "120", "2,000,000"]
    assert drawn == {
        f"seed {seed}": (
            [record["evaluations"] for record in of_run],
            [100 * record["median_confidence"] for record in of_run],
        )
        for seed, of_run in enumerate(records, 3)
    }
    for picture in ("imagenet-curve.png", "imagenet-cppn.png"):
        assert read_png(tmp_path / "out" / picture).std() > 10
    assert script("reproduce_fooling_imagenet", "--out", tmp_path, "--finished", tmp_path / "none") == 1


def test_a_run_passes_a_median_at_the_first_record_that_reaches_it(
    module: Callable[[str], ModuleType],
) -> None:
    records = [
        {
            "evaluations": 400 * g,
            "seconds": 60.0 * g,
            "median_confidence": median,
            "niches_over_0.99": 1000 + g,
        }
        for g, median in enumerate((0.5, 0.8811, 0.88, 0.93), 1)
    ]
    milestones = module("reproduce_fooling_imagenet").milestones
    assert milestones("11", records, 0.8811) == ("11", "800", "2.0", "1,600", "4.0", "93.00%", "1,004")
    assert milestones("11", records, 0.95)[:3] == ("11", "never", "")


@pytest.mark.slow
def test_the_python_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (SCRIPTS.parent / "README.md").read_text(), re.DOTALL)
    results: list[dict[str, Any]] = [{} for _ in blocks]
    for block, names in zip(blocks, results, strict=True):
        exec(block, names)
    found, state, sides = results
    assert found["found"].confidences.min() > 0.999
    assert state["state"].archive.confidences.min() > 0.999
    assert sides["found"].confidences.min() > 0.5
