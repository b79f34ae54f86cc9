"""One call for a classifier that a program made: the whole directory, and resumption by the same object."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool import EvofoolError, MapElitesOptions, UsageError
from evofool.images import from_uint8, read_png
from evofool.runs import OWN, RunSettings, prepare
from tests.runs.common import Main, one_line

SHAPE = (5, 4, 3)
TINY: dict[str, Any] = {"search": MapElitesOptions(8), "progress": False}


def logits(weights: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.tensordot(images - 0.5, weights, axes=3)


def other_logits(weights: jax.Array, images: jax.Array) -> jax.Array:
    return logits(weights, 1 - images)


def model(seed: int = 0, function: Callable[..., jax.Array] = logits) -> evofool.Classifier:
    weights = jnp.asarray(np.random.default_rng(seed).normal(size=(*SHAPE, 3)), jnp.float32)
    return evofool.Classifier(weights, function, evofool.ClassifierSpec("mine (1)", SHAPE, ("a", "b", "c")))


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "elites.csv").open()))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, evofool.Fooled]:
    path = tmp_path_factory.mktemp("fool") / "run"
    return path, evofool.fool(model(), path, generations=7, **TINY)


def test_the_saved_images_have_their_confidences_in_plain_numpy(begun: tuple[Path, evofool.Fooled]) -> None:
    path, found = begun
    weights = np.asarray(model().params, np.float64)
    for index, row in enumerate(rows_of(path)):
        image = read_png(path / row["file"])
        np.testing.assert_array_equal(image, found.images[index])
        scores = np.exp(np.tensordot(image / 255 - 0.5, weights, 3))
        expected = (scores / scores.sum())[index]
        assert found.confidences[index] == pytest.approx(expected, abs=1e-5)
        assert float(row["confidence"]) == pytest.approx(expected, abs=1e-5)
    assert {"elites.png", "convergence.png", "lineage.csv", "checkpoints"} <= {p.name for p in path.iterdir()}
    assert repr(found) == f"Fooled({str(path)!r}, generation 7, 3 classes)"
    config = json.loads((path / "config.json").read_text())
    assert config["settings"]["classifier"] == OWN
    assert config["classifier"]["class_names"] == ["a", "b", "c"]
    assert config["classifier"]["name"] == "mine (1)"
    assert len(config["classifier_sha256"]) == 64


def test_a_resumed_run_has_the_bits_of_a_whole_one(
    begun: tuple[Path, evofool.Fooled], tmp_path: Path
) -> None:
    parts, _ = begun
    whole = evofool.fool(model(), tmp_path / "run", generations=12, **TINY)
    resumed = evofool.fool(model(), parts, resume=True, generations=12, progress=False)
    np.testing.assert_array_equal(resumed.images, whole.images)
    np.testing.assert_array_equal(resumed.confidences, whole.confidences)
    assert (parts / "elites.csv").read_bytes() == (tmp_path / "run" / "elites.csv").read_bytes()
    again = evofool.fool(model(), parts, resume=True, progress=False)
    assert again.record["generation"] == 12
    assert "has all of its 12 generations" in again.notes[0]


def test_another_model_does_not_resume_the_run(begun: tuple[Path, evofool.Fooled]) -> None:
    path, _ = begun
    before = (path / "config.json").read_bytes()
    renamed = replace(model(), spec=replace(model().spec, class_names=("a", "c", "b")))
    for other, words in (
        (model(seed=1), "weights of mine .* are not those that"),
        (model(function=other_logits), "other confidences than they were saved with"),
        (renamed, "class_names of mine .* are not those"),
        ("lenet-digits", "weights of lenet-digits are not those"),
    ):
        with pytest.raises(EvofoolError, match=words):
            evofool.fool(other, path, resume=True, generations=15, progress=False)
    with pytest.raises(UsageError, match="seed is 1, not 0"):
        evofool.fool(model(), path, resume=True, seed=1, progress=False)
    with pytest.raises(UsageError, match="already holds a run"):
        evofool.fool(model(), path, **TINY)
    assert (path / "config.json").read_bytes() == before


def test_the_command_line_says_what_the_run_needs(
    begun: tuple[Path, evofool.Fooled], evofool_main: Main
) -> None:
    path, _ = begun
    code, _, err = evofool_main("evolve", "--resume", path)
    assert code == 2
    assert "made: continue it there, with evofool.fool(classifier, " in one_line(err)
    assert repr(str(path)) in err
    code, _, err = evofool_main("evolve", "--classifier", OWN)
    assert code == 2
    assert "a classifier that a Python program made" in one_line(err)
    with pytest.raises(UsageError, match="made by a program, which must pass it"):
        prepare(RunSettings(OWN))
    with pytest.raises(UsageError, match="the settings name the classifier 'lenet-digits'"):
        prepare(RunSettings(), classifier=model())


def test_a_named_classifier_is_fooled_as_on_the_command_line(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    options = {"search": MapElitesOptions(20), "seed": 5, "progress": False}
    evofool.fool("lenet-digits", tmp_path, resume=True, generations=25, **options)
    assert evofool_main("evolve", "--resume", tmp_path, "--generations", 60, "--quiet")[0] == 0
    for name in ("elites.csv", "lineage.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_a_second_call_compiles_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    counts = []
    for name in ("first", "second"):
        found = evofool.fool(
            *(model(), tmp_path / name),
            generations=3,
            search="es",
            encoding="direct",
            targets=[2, "a"],
            precision="bfloat16",
            seeds=2,
        )
        counts.append(len(compiled))
    jax.monitoring.clear_event_listeners()
    assert counts[0] > 0
    assert counts[1] == counts[0]
    assert found.class_names == ("c", "a")
    assert found.images.shape == (2, 2, *SHAPE)
    scores = np.asarray(model()(from_uint8(found.images.reshape(-1, *SHAPE)))).reshape(2, 2, 3)
    np.testing.assert_allclose(scores[:, [0, 1], [2, 0]], found.confidences, atol=1e-5)
    printed = capsys.readouterr().out
    assert "es with the direct encoding against mine (1): 2 classes, 2 runs" in printed
    assert "generation 3 of 3" in printed
    assert "Note: the saved confidences are in float32" in printed


def test_several_runs_are_shown_one_under_the_other(begun: tuple[Path, evofool.Fooled]) -> None:
    _, one = begun
    several = one._replace(images=np.stack([one.images] * 12), confidences=np.stack([one.confidences] * 12))
    rows_of_one, rows = (evofool.show(found).size[1] for found in (one, several))
    assert evofool.show(several).size[0] == evofool.show(one).size[0]
    assert 8 * rows_of_one < rows < 10 * rows_of_one


def test_a_state_is_shown_as_the_run_is(begun: tuple[Path, evofool.Fooled]) -> None:
    _, found = begun
    search = evofool.map_elites(evofool.direct(SHAPE), MapElitesOptions(8))
    sheet = evofool.show(found)
    assert sheet == evofool.show(found.state, search, model())
    assert sheet._repr_png_().startswith(b"\x89PNG")
    enlarged = np.asarray(sheet)
    first = found.images[0].repeat(32, axis=0).repeat(32, axis=1)
    assert any(
        np.array_equal(enlarged[y : y + 160, x : x + 128], first) for y in range(60) for x in range(80)
    )
    with pytest.raises(UsageError, match="with the search and the classifier"):
        evofool.show(found.state)
    with pytest.raises(UsageError, match="one niche for each of 2"):
        evofool.show(found.state, search, model(), targets=(0, 1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"generation": 5}, "unknown setting 'generation': did you mean 'generations'"),
        ({"encoding": "cpn"}, "unknown encoding 'cpn': did you mean 'cppn'"),
        ({"targets": ("d",)}, "unknown class of mine"),
        ({"resume": True, "overwrite": True}, "either resumed or overwritten"),
    ],
)
def test_wrong_settings_leave_no_directory(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        evofool.fool(model(), tmp_path / "run", progress=False, **settings)
    assert not (tmp_path / "run").exists()
