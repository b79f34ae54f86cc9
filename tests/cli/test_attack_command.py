"""`evofool attack`: its results, which are measured on the saved files, and what it refuses."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import create_classifier, load_classifier, save_classifier
from evofool.datasets import load_dataset
from evofool.images import from_uint8, read_png, write_png
from evofool.locks import LOCK
from tests.report.test_attacks import labels_of_lines

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three digits of the test set: two, six and seven."""
    folder = tmp_path_factory.mktemp("digits")
    dataset = load_dataset("digits")
    files = []
    for label in (2, 6, 7):
        files.append(folder / f"{label}.png")
        write_png(files[-1], dataset.test_images[dataset.test_labels == label][0])
    return files


@pytest.fixture(scope="module")
def linear_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("linear") / "linear.safetensors"
    classifier = create_classifier("linear", (28, 28, 1), tuple("0123456789"))
    save_classifier(path, classifier, training_data="none", test_accuracy=0.1)
    return path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


METHODS = {
    "fgsm": ["--epsilon", "0.3"],
    "iterated": ["--target", "three", "--steps", "20", "--change", "60"],
    "lbfgs": ["--target", "3", "--searches", "8", "--iterations", "15"],
    "deepfool": [],
    "universal": ["--epsilon", "0.4", "--passes", "3"],
}


@pytest.mark.parametrize("method", METHODS)
def test_every_attack_leaves_images_changes_figures_and_a_table(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path, method: str
) -> None:
    out = tmp_path / "out"
    code, printed, errors = evofool_main(
        "attack", method, "--images", *digit_files, "--out", out, *METHODS[method]
    )
    assert (code, errors) == (0, "")
    assert "as saved" in printed
    names = [file.stem for file in digit_files]
    for folder in ("images", "changes", "changes_x50"):
        assert sorted(path.stem for path in (out / folder).iterdir()) == names
    assert read_png(out / "before_after.png").shape[1] > 1000
    assert (out / "trajectory.png").exists() == (method == "iterated")
    assert (out / "perturbation.png").exists() == (method == "universal")

    classifier = load_classifier("lenet-digits")
    saved = from_uint8(np.stack([read_png(out / "images" / f"{name}.png") for name in names]))
    confidences = classifier(saved)
    rows = rows_of(out)
    assert [row["image"] for row in rows] == names
    for row, measured, before in zip(rows, confidences, ("two", "six", "seven"), strict=True):
        assert row["class_before"] == before
        assert row["class_saved"] == classifier.spec.class_names[int(measured.argmax())]
        assert float(row["confidence_saved"]) == pytest.approx(float(measured.max()), abs=1e-5)
        assert 0 < float(row["linf_saved"]) <= float(row["l2_saved"]) <= float(row["l1_saved"])
        assert row["success"] == "True" or method == "universal"
        if method in ("iterated", "lbfgs"):
            assert row["target"] == "three"
            assert float(row["target_confidence_saved"]) == pytest.approx(float(measured[3]), abs=1e-5)


def test_ascent_starts_from_noise_for_each_target(evofool_main: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, errors = evofool_main(
        *("attack", "ascent", "--target", "three", "8", "--steps", "150", "--mean-level", "0.2"),
        *("--decay", "0.001", "--out", out),
    )
    assert (code, errors) == (0, "")
    rows = rows_of(out)
    assert [row["target"] for row in rows] == ["three", "eight"]
    assert [path.name for path in sorted((out / "images").iterdir())] == ["003_three.png", "008_eight.png"]
    for row in rows:
        assert float(row["target_confidence"]) > 0.99
        assert 0 <= int(row["first_step"]) <= int(row["step_over_99"])
    assert (out / "sheet.png").exists()
    assert (out / "trajectory.png").exists()


def test_a_template_is_added_to_a_linear_classifiers_images(
    evofool_main: Command, digit_files: list[Path], linear_file: Path, tmp_path: Path
) -> None:
    classifier = load_classifier(str(linear_file))
    image = from_uint8(read_png(digit_files[0]))[None]
    target = int(jnp.argmin(classifier(image)))
    code, _, errors = evofool_main(
        *("attack", "template", "--classifier", linear_file, "--images", digit_files[0]),
        *("--target", target, "--epsilon", "1", "--out", tmp_path / "out"),
    )
    assert (code, errors) == (0, "")
    (row,) = rows_of(tmp_path / "out")
    assert row["target"] == str(target)
    assert float(row["target_confidence"]) > float(row["target_confidence_before"])


def test_watched_classes_are_drawn(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = labels_of_lines(monkeypatch)
    classes = []
    for watched in ((), ("--watch", "zero", "4")):
        out = tmp_path / str(len(watched))
        code, _, errors = evofool_main(
            *("attack", "iterated", "--images", digit_files[0], *watched),
            *("--epsilon", "0.2", "--change", "50", "--steps", "5", "--out", out, "--quiet"),
        )
        assert (code, errors) == (0, "")
        assert all(float(row["linf"]) <= 0.2 + 1e-6 for row in rows_of(out))
        classes.append(set(drawn))
        drawn.clear()
    assert not classes[0] & {"zero", "four"}
    assert classes[1] >= {"zero", "four"}


@pytest.mark.slow
def test_a_universal_change_is_tried_on_held_out_images_and_on_other_classifiers(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path
) -> None:
    dataset, out = load_dataset("digits"), tmp_path / "out"
    made_from, held_out = tmp_path / "made_from", tmp_path / "held_out"
    for folder, images in ((made_from, dataset.train_images[:40]), (held_out, dataset.test_images[:50])):
        folder.mkdir()
        for number, image in enumerate(images):
            write_png(folder / f"{number}.png", image)
    # Another network, which takes images of another size.
    other = tmp_path / "small.safetensors"
    save_classifier(
        other,
        create_classifier("linear", (14, 14, 1), tuple("0123456789"), name="small"),
        training_data="none",
        test_accuracy=0.1,
    )
    code, printed, errors = evofool_main(
        *("attack", "universal", "--epsilon", "0.3", "--passes", "8", "--out", out, "--other", other),
        *("--images", *sorted(made_from.iterdir()), "--held-out", *sorted(held_out.iterdir())),
    )
    assert (code, errors) == (0, "")
    with (out / "fooling_rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["classifier"], row["images"]) for row in rows] == [
        ("lenet-digits", "40 it is made from"),
        ("lenet-digits", "50 held out"),
        ("small", "40 it is made from"),
        ("small", "50 held out"),
    ]
    assert float(rows[1]["fooling_rate"]) > float(rows[1]["random_signs"])
    assert all(0 <= float(row["fooling_rate"]) <= 1 for row in rows)
    assert "50 held out" in printed
    # What is told of the images that it was made from is what lies in their files.
    saved = [row["class_saved"] != row["class_before"] for row in rows_of(out)]
    assert float(rows[0]["fooling_rate"]) == pytest.approx(np.mean(saved))


def test_files_of_one_name_stay_apart(evofool_main: Command, digit_files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    # The number that the second one gets must not make it the third.
    given = (digit_files[0], tmp_path / "other" / "2.png", tmp_path / "2_2.png")
    for path, source in zip(given, digit_files, strict=True):
        path.write_bytes(source.read_bytes())
    # Nor is a name in brackets markup.
    out = tmp_path / "[b]" / "[" / "x]"
    code, printed, _ = evofool_main("attack", "fgsm", "--images", *given, "--epsilon", "0", "--out", out)
    assert code == 0
    assert f" {out / 'results.csv'}\n" in printed
    names = [row["image"] for row in rows_of(out)]
    assert names == ["2", "2_3", "2_2"]
    for name, path in zip(names, given, strict=True):
        np.testing.assert_array_equal(read_png(out / "images" / f"{name}.png"), read_png(path))


def test_results_go_into_a_new_directory_under_runs_by_default(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = evofool_main("attack", "fgsm", "--images", digit_files[0])
    assert (code, errors) == (0, "")
    (out,) = (tmp_path / "runs").iterdir()
    assert out.name.endswith("-attack-fgsm-lenet-digits")
    assert len(rows_of(out)) == 1


def test_images_without_a_gradient_are_left_as_they_are_among_others(
    evofool_main: Command, tmp_path: Path
) -> None:
    classifier = create_classifier("mlp", (8, 8, 1), ("even", "odd"))
    # With such biases a black image moves no hidden unit.
    params = jax.tree.map(lambda leaf: leaf - 0.1 if leaf.ndim == 1 else leaf, classifier.params)
    save_classifier(
        tmp_path / "it.safetensors", replace(classifier, params=params), training_data="", test_accuracy=0.5
    )
    noise = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    files = [tmp_path / f"{number}.png" for number in range(17)]
    for file, image in zip(files, [*noise, np.zeros((8, 8, 1), np.uint8)], strict=True):
        write_png(file, image)
    options = ("--classifier", tmp_path / "it.safetensors", "--out", tmp_path / "out")
    code, printed, errors = evofool_main("attack", "fgsm", *options, "--images", *files)
    assert (code, errors) == (0, "")
    assert "the gradient is zero at the start of 1 of 17 images" in printed
    rows = rows_of(tmp_path / "out")
    assert [float(row["linf"]) > 0 for row in rows] == [True] * 16 + [False]
    assert rows[16]["success"] == "False"
    code, _, errors = evofool_main("attack", "fgsm", *options, "--images", files[16], "--overwrite")
    assert code == 1
    assert "is zero or not a number" in errors


def test_a_dataset_comes_with_its_labels(evofool_main: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, errors = evofool_main(
        "attack", "fgsm", "--dataset", "digits", "--count", 100, "--out", out
    )
    assert (code, errors) == (0, "")
    digits, classifier = load_dataset("digits"), load_classifier("lenet-digits")
    chosen = [number * len(digits.test_images) // 100 for number in range(100)]
    labels = digits.test_labels[chosen]
    rows = rows_of(out)
    assert [row["label"] for row in rows] == [digits.class_names[label] for label in labels]
    assert [row["image"] for row in rows] == [
        f"{index:05}_{digits.class_names[label]}" for index, label in zip(chosen, labels, strict=True)
    ]
    before = np.asarray(classifier(from_uint8(digits.test_images[chosen]))).argmax(axis=1)
    wrong = int((before != labels).sum())
    assert wrong > 0
    assert f"{wrong} of 100 images are misclassified before the attack, and counted apart" in printed
    # Away from the label, which need not be the class that was predicted.
    assert all((row["success"] == "True") == (row["class"] != row["label"]) for row in rows)
    right = before == labels
    assert [row["correct_before"] == "True" for row in rows] == right.tolist()
    fooled, saved = (
        sum(row[column] == "True" for row, counts in zip(rows, right, strict=True) if counts)
        for column in ("success", "success_saved")
    )
    counted = 100 - wrong
    assert (
        f"Fooled on {saved} of {counted} correct images as saved with 8 bits, on {fooled} before" in printed
    )
    assert f"Clean accuracy {counted:.1f}%, robust accuracy {counted - saved:.1f}% as saved" in printed
    config = json.loads((out / "config.json").read_text())
    assert config["attack"] == {"name": "fgsm", "max_queries": None, "epsilon": None, "norm": "linf"}
    assert config["images"] == {"dataset": "digits", "split": "test", "count": 100}


def test_several_epsilons_make_a_curve(evofool_main: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    epsilons = ("0.02", "0.1", "0.3")
    code, printed, errors = evofool_main(
        *("attack", "fgsm", "--dataset", "digits", "--count", 20, "--out", out, "--epsilon", *epsilons)
    )
    assert (code, errors) == (0, "")
    assert "Clean accuracy" in printed
    with (out / "curve.csv").open(newline="") as file:
        curve = list(csv.DictReader(file))
    assert [row["epsilon"] for row in curve] == list(epsilons)
    assert read_png(out / "curve.png").size > 0
    for row, epsilon in zip(curve, epsilons, strict=True):
        rows = rows_of(out / "epsilons" / epsilon)
        assert max(float(each["linf"]) for each in rows) == pytest.approx(float(epsilon))
        # An image counts that is right before the attack and after it.
        robust = [each["correct_before"] == "True" and each["success_saved"] == "False" for each in rows]
        assert float(row["robust_accuracy_saved"]) == pytest.approx(np.mean(robust))
        attacked = [each for each in rows if each["correct_before"] == "True"]
        assert int(row["attacked"]) == len(attacked)
        success = np.mean([each["success"] == "True" for each in attacked])
        assert float(row["success"]) == pytest.approx(success)
        config = json.loads((out / "epsilons" / epsilon / "config.json").read_text())
        assert config["attack"]["epsilon"] == float(epsilon)
    robust = [float(row["robust_accuracy_saved"]) for row in curve]
    assert robust == sorted(robust, reverse=True)
    assert robust[0] > robust[2]
    # A file in place of the folder is a new result: nothing of the old one stays.
    again = ("--count", 20, "--epsilon", "0.1", "--overwrite", "--quiet")
    assert evofool_main("attack", "fgsm", "--dataset", "digits", "--out", out, *again)[0] == 0
    assert not (out / "epsilons").exists()
    assert not (out / "curve.csv").exists()


def test_an_epsilon_out_of_range_among_others_is_refused_before_any_attack(
    evofool_main: Command, tmp_path: Path
) -> None:
    options = ("--dataset", "digits", "--out", tmp_path / "out", "--epsilon", "0.1", "2")
    code, printed, errors = evofool_main("attack", "fgsm", *options)
    assert (code, printed, errors.count("\n")) == (2, "", 1)
    assert "epsilon must be between 0 and 1" in errors
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_of_the_target_already_is_left_out_and_said(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path
) -> None:
    code, printed, errors = evofool_main(
        *("attack", "fgsm", "--images", *digit_files, "--target", "two", "--out", tmp_path / "out")
    )
    assert (code, errors) == (0, "")
    assert "1 of 3 images are left out, which are of 'two' already" in printed
    assert [row["image"] for row in rows_of(tmp_path / "out")] == ["6", "7"]


@pytest.mark.slow
def test_images_of_a_dataset_that_are_of_the_target_are_left_out(
    evofool_main: Command, tmp_path: Path
) -> None:
    options = ("--dataset", "digits", "--split", "train", "--steps", "3", "--change", "60")
    code, printed, errors = evofool_main(
        "attack", "iterated", *options, "--target", "three", "--count", 20, "--out", tmp_path / "out"
    )
    assert (code, errors) == (0, "")
    digits = load_dataset("digits")
    labels = [digits.class_names[digits.train_labels[len(digits.train_labels) * n // 20]] for n in range(20)]
    assert labels.count("three") > 0
    assert [row["label"] for row in rows_of(tmp_path / "out")] == [name for name in labels if name != "three"]
    assert f"{labels.count('three')} of 20 images are left out, which are of 'three' already" in printed


def test_a_dataset_of_other_classes_is_attacked_without_its_labels(
    evofool_main: Command, tmp_path: Path
) -> None:
    save_classifier(
        tmp_path / "it.safetensors",
        create_classifier("linear", (28, 28, 1), ("even", "odd")),
        training_data="",
        test_accuracy=0.5,
    )
    options = ("--classifier", tmp_path / "it.safetensors", "--dataset", "digits", "--out", tmp_path / "out")
    code, printed, _ = evofool_main("attack", "fgsm", *options)
    assert code == 0
    assert "linear lacks classes of digits, so its labels are not used" in printed
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 10
    assert "label" not in rows[0]


def test_a_folder_stands_for_the_images_in_it(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    long = tmp_path / f"{'long' * 60}.png"  # with a number and an ending it is too long a name for most disks
    long.write_bytes(digit_files[0].read_bytes())
    images = ("--images", digit_files[0].parent, tmp_path)
    code, _, errors = evofool_main("attack", "fgsm", *images, "--out", tmp_path / "out")
    assert (code, errors) == (0, "")
    assert [row["image"] for row in rows_of(tmp_path / "out")] == ["2", "6", "7", "long" * 50]


def test_a_photograph_that_becomes_another_picture_is_said_loudly(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    write_png(tmp_path / "cat.png", np.kron(colours, np.ones((10, 10, 1), np.uint8)))
    images = ("--images", digit_files[0], *[tmp_path / "cat.png"] * 7)
    code, _, errors = evofool_main("attack", "fgsm", *images, "--out", tmp_path / "out", "--quiet")
    words = "640x480 colour, shrunk to 28x28 grey"
    said = f"evofool: warning: {tmp_path / 'cat.png'}: {words}: what is attacked is no longer this picture"
    assert code == 0
    assert errors.splitlines()[:5] == [said] * 5
    assert errors.splitlines()[5:] == ["evofool: warning: the same holds of 2 more (see results.csv)"]
    assert [row["altered"] for row in rows_of(tmp_path / "out")] == ["", *[words] * 7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "digits", "--images", "it.png"], "leave one out"),
        (
            ["--dataset", "digits", "--count", "356"],
            "count must be 1 to 355, the images of digits for testing",
        ),
        (["--dataset", "digits", "--split", "train", "--count", "0"], "count must be 1 to 1442"),
        (["--dataset", "digts"], "did you mean 'digits'"),
        (["--images", "it.png", "--count", "3"], "--count and --split choose images of a --dataset"),
        ([], "as in `evofool attack fgsm --dataset digits`"),
    ],
)
def test_what_cannot_be_attacked_ends_in_one_line(
    evofool_main: Command, arguments: list[str], message: str
) -> None:
    code, _, errors = evofool_main("attack", "fgsm", *arguments)
    assert (code, errors.count("\n")) == (2, 1)
    assert message in errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fgsm", "--target", "two"], 2, "is classified as 'two' already"),
        (["lbfgs", "--target", "2"], 2, "is classified as 'two' already"),
        (["iterated", "--target", "thre"], 2, "did you mean 'three'"),
        (["iterated", "--target", "10"], 2, "allowed are 0 to 9"),
        (["iterated", "--watch", "tree"], 2, "did you mean 'three'"),
        (["fgsm", "--epsilon", "-0.1"], 2, "epsilon must be between 0 and 1"),
        (["iterated", "--change", "-1"], 2, "change must be 0 or more"),
        (["iterated", "--steps", "0"], 2, "steps must be above zero"),
        (["pgd", "--seed", str(2**32)], 2, "seed must be 0 to"),
        (["pgd", "--norm", "l2"], 2, "one of 76/255 in every value of these images has 8.4"),
        (["pgd", "--restarts", "0"], 2, "restarts must be above zero"),
        (["ascent"], 2, "require one --target"),
        (["ascent", "--target", "3", "--uniform"], 2, "without --images"),
        (["ascent", "--target", "3", "--seed", "0"], 2, "without --images"),
        (["ascent", "--target", "3", "--mean-level", "1.5"], 2, "must be between 0 and 1, not 1.5"),
        (["universal", "--seed", str(2**64)], 2, "seed must be 0 to"),
        (["universal", "--norm", "l2"], 2, "one of 10/255 in every value of these images has 1.1"),
        (["template", "--target", "3"], 2, "is not linear"),
        (["fgsm", "--classifier", "lenet-digit"], 2, "did you mean 'lenet-digits'"),
    ],
)
def test_wrong_options_end_in_one_line(
    evofool_main: Command,
    digit_files: list[Path],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    method, *options = arguments
    found, _, errors = evofool_main(
        "attack", method, "--images", digit_files[0], "--out", tmp_path / "out", *options
    )
    assert found == code
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", str(2**64)], "seed must be 0 to 4294967295"),
        (["--mean-level", "-0.1"], "must be between 0 and 1, not -0.1"),
    ],
)
def test_wrong_options_of_the_noise_end_in_one_line(
    evofool_main: Command, tmp_path: Path, options: list[str], message: str
) -> None:
    code, _, errors = evofool_main("attack", "ascent", "--target", "3", "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_ends_in_one_line(
    evofool_main: Command, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    code, _, errors = evofool_main(
        "attack", "fgsm", "--images", tmp_path / "bad.png", "--out", tmp_path / "out"
    )
    assert code == 1
    assert "cannot read" in errors
    assert errors.count("\n") == 1


def test_a_directory_with_files_is_not_written_into(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, errors = evofool_main("attack", "fgsm", "--images", digit_files[0], "--out", tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert "is not empty" in errors
    code, _, errors = evofool_main("attack", "fgsm", "--out", tmp_path / "new")
    assert (code, errors.count("\n")) == (2, 1)
    assert "nothing to attack" in errors


def files_in(folder: Path) -> list[str]:
    """Without the lock, which goes with the last reference to it, so at any time."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if path.name != LOCK)


def test_only_the_results_of_an_attack_are_overwritten(
    evofool_main: Command, digit_files: list[Path], linear_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--classifier", linear_file, "--out", out)
    images = ("--images", *digit_files[:2])
    code, _, _ = evofool_main("attack", "universal", *options, *images, "--passes", "1")
    assert code == 0
    for mine in (out / "mine.txt", out / "images" / "mine.png"):
        mine.write_text("mine")
    before = files_in(out)
    again = ("--images", digit_files[2], "--overwrite")
    code, _, _ = evofool_main("attack", "fgsm", *options, "--epsilon", "-1", *again)
    assert code == 2
    assert files_in(out) == before
    code, printed, _ = evofool_main("attack", "fgsm", *options, *again)
    assert code == 0
    assert "perturbation.png" not in printed
    assert files_in(out) == [
        *("before_after.png", "changes/7.png", "changes_x50/7.png", "config.json", "images/7.png"),
        *("images/mine.png", "manifest.json", "mine.txt", "results.csv"),
    ]


def test_a_directory_without_results_is_not_overwritten(
    evofool_main: Command, digit_files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    mine = [tmp_path / "results.csv", tmp_path / "images" / "2.png"]
    for path in mine:
        path.write_text("mine")
    for command in (("attack", "fgsm", "--images", digit_files[0]), ("study", "rubbish", "--count", "2")):
        code, _, errors = evofool_main(*command, "--out", tmp_path, "--overwrite")
        assert (code, errors.count("\n")) == (2, 1)
        assert "is not empty and does not hold" in errors
    assert [path.read_text() for path in mine] == ["mine", "mine"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["squeezenet-1.0", "mobilenet-v1-0.25"])
def test_the_panda_becomes_a_vulture(evofool_main: Command, data: Path, tmp_path: Path, network: str) -> None:
    photograph = data / "photos" / "giant_panda.jpg"
    if not photograph.is_file():
        pytest.skip("needs EVOFOOL_DATA with photos/giant_panda.jpg")
    code, _, errors = evofool_main(
        *("attack", "iterated", "--classifier", network, "--images", photograph),
        *("--target", "vulture", "--steps", "100", "--out", tmp_path / "out"),
    )
    assert (code, errors) == (0, "")
    classifier = load_classifier(network)
    saved = from_uint8(read_png(tmp_path / "out" / "images" / "giant_panda.png"))
    assert float(classifier(saved[None])[0, classifier.spec.class_index("vulture")]) >= 0.9
    (row,) = rows_of(tmp_path / "out")
    assert row["class_before"] == "giant panda"
    assert json.loads(row["success_saved"].lower())
    assert jnp.isfinite(float(row["distortion"]))
