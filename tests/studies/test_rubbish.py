"""How certain classifiers are about noise, and the study of it on the command line."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest

from evofool import Classifier, ClassifierSpec, create_classifier, load_classifier, save_classifier
from evofool.datasets import load_dataset
from evofool.errors import UsageError
from evofool.images import from_uint8, read_png, write_png
from evofool.studies import Certainty, certainty, certainty_about_noise, noise_images_at
from tests.studies.common import tables


def brightness(params, images):
    level = params * (images.mean(axis=(1, 2, 3)) - 0.5)
    return jnp.stack([-level, level], axis=1)


@pytest.fixture
def balance() -> Classifier:
    return Classifier(jnp.float32(1000), brightness, ClassifierSpec("balance", (4, 4, 1), ("dark", "light")))


@pytest.mark.parametrize("noise", ["uniform", "gaussian"])
def test_symmetric_noise_falls_on_both_sides_of_a_symmetric_classifier(balance, noise) -> None:
    result = certainty_about_noise(balance, noise, count=5000)
    assert len(result.confidences) == 5000
    np.testing.assert_allclose(result.class_shares(2), 0.5, atol=0.03)
    assert result.share_above(0.5) > 0.99  # an image or two is neither dark nor light
    assert result.share_above(0.99) > 0.9
    assert result.mean_confidence_above(0.99) > 0.99


def test_the_same_seed_gives_the_same_noise_however_many_there_are(balance) -> None:
    few, many = certainty_about_noise(balance, count=70), certainty_about_noise(balance, count=200)
    np.testing.assert_array_equal(few.confidences, many.confidences[:70])
    assert (certainty_about_noise(balance, count=70, seed=1).confidences != few.confidences).any()


def test_shares_are_counted_by_hand() -> None:
    result = Certainty(np.array([0.4, 0.6, 0.8]), np.array([0, 2, 2]))
    assert result.share_above(0.5) == pytest.approx(2 / 3)
    assert result.mean_confidence_above(0.5) == pytest.approx(0.7)
    assert np.isnan(result.mean_confidence_above(0.9))
    np.testing.assert_allclose(result.class_shares(4), [1 / 3, 0, 2 / 3, 0])


def test_a_digit_classifier_is_more_certain_of_digits_than_of_noise() -> None:
    lenet = load_classifier("lenet-digits")
    digits = certainty(lenet, from_uint8(load_dataset("digits").test_images))
    assert digits.share_above(0.9) > 0.9
    assert 0 < certainty_about_noise(lenet, count=500).share_above(0.9) < digits.share_above(0.9)


def test_no_images_and_seeds_beyond_32_bits_are_refused(balance) -> None:
    with pytest.raises(UsageError, match="count must be above zero"):
        certainty_about_noise(balance, count=0)
    with pytest.raises(UsageError, match="seed must be 0 to"):
        certainty_about_noise(balance, count=1, seed=2**32)
    with pytest.raises(UsageError, match="no images"):
        certainty(balance, jnp.zeros((0, 4, 4, 1)))


@pytest.mark.parametrize("noise", ["uniform", "gaussian"])
def test_a_noise_image_can_be_drawn_again_as_it_was_classified(balance, noise) -> None:
    result = certainty_about_noise(balance, noise, count=200, seed=5)
    again = noise_images_at(balance, noise, [0, 64, 199, 3], seed=5)
    np.testing.assert_allclose(balance(again).max(axis=1), result.confidences[[0, 64, 199, 3]], rtol=1e-6)
    np.testing.assert_array_equal(jnp.round(again * 255) / 255, again)


# On the command line


def test_several_classifiers_are_shown_noise_beside_test_images(evofool_main, tmp_path) -> None:
    linear = create_classifier("linear", (28, 28, 1), tuple("0123456789"), name="mine")
    save_classifier(tmp_path / "mine.safetensors", linear, training_data="none", test_accuracy=0.1)
    write_png(tmp_path / "black.png", np.zeros((28, 28, 1), np.uint8))
    (tmp_path / "digits").mkdir()
    write_png(tmp_path / "digits" / "large.png", np.zeros((400, 20, 3), np.uint8))
    out = tmp_path / "out"
    code, printed, errors = evofool_main(
        *("study", "rubbish", "--classifiers", "lenet-digits", tmp_path / "mine.safetensors"),
        *("--images", "digits", tmp_path / "digits", "digits(count=5)", tmp_path / "black.png"),
        *("--count", "300", "--threshold", "0.9", "--out", out),
    )
    assert (code, errors) == (0, "")
    assert "Goodfellow" in printed
    assert "Note: 1 of 1 images of digits are no longer the same pictures for lenet-digits" in printed
    with (out / "tables" / "Certainty_about_noise.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sets = {"digits": "355", "digits_2": "1", "digits_3": "5", "files": "1"}
    kinds = ["uniform noise", "gaussian noise", *sets]
    assert [row["count"] for row in rows[2:6]] == list(sets.values())
    assert [row["images"] for row in rows if not row["source"]] == 2 * kinds
    (reported,) = (row for row in rows if "Goodfellow" in row["source"])
    assert (reported["share_above"], reported["mean_confidence_above"]) == ("0.9835", "0.928")
    record = json.loads((out / "study.json").read_text())
    assert record["options"]["count"] == 300
    assert len(record["tables"]["Certainty about noise"]) == len(rows)
    assert record["tables"]["Certainty about noise"][0]["share_above"] == float(rows[0]["share_above"])
    lenet = load_classifier("lenet-digits")
    expected = certainty_about_noise(lenet, "gaussian", count=300)
    assert float(rows[1]["share_above"]) == pytest.approx(expected.share_above(0.9))
    commonest = lenet.spec.class_names[int(np.bincount(expected.classes).argmax())]
    assert rows[1]["commonest_class"] == commonest
    assert float(rows[2]["share_above"]) > 0.9
    assert [read_png(path).ndim for path in (out / "figures").iterdir()] == [3, 3]

    (out / "figures" / "holiday.png").write_text("not of a study")
    options = ("--classifiers", tmp_path / "mine.safetensors", "--count", "3", "--out", out, "--quiet")
    assert evofool_main("study", "rubbish", *options)[0] == 2
    assert evofool_main("study", "rubbish", *options, "--overwrite")[0] == 0
    figures = ["The_noise_that_mine_is_surest_of.png", "holiday.png"]
    assert sorted(path.name for path in (out / "figures").iterdir()) == figures


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "count must be above zero"),
        (["--threshold", "1.5"], "threshold must be between 0 and 1"),
        (["--classifiers", "lenet-digit"], "did you mean 'lenet-digits'"),
        (["--dataset", "digits"], "unknown option --dataset: did you mean --images?"),
        (["--images", "digitz"], "did you mean 'digits'"),
        (["--images", "digits(count=0)"], "count must be 1 to 355, the test images of digits"),
        (["--images", "digits(split=tset)"], "did you mean 'test'"),
        (["--images", "fgsm(digits, epsilon=large)"], "epsilon of fgsm must be a number, not large"),
    ],
)
def test_options_that_do_not_fit_end_in_one_line(evofool_main, tmp_path, options, message) -> None:
    code, _, errors = evofool_main("study", "rubbish", "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_two_classifiers_of_one_name_have_rows_and_figures_of_their_own(evofool_main, tmp_path) -> None:
    files = []
    for seed in (0, 1):
        linear = create_classifier("linear", (28, 28, 1), ("even", "odd"), name="mine", seed=seed)
        files.append(tmp_path / str(seed) / "mine.safetensors")
        files[-1].parent.mkdir()
        save_classifier(files[-1], linear, training_data="none", test_accuracy=0.5)
    out = tmp_path / "out"
    options = ("--classifiers", *files, "--count", "64", "--out", out, "--quiet")
    assert evofool_main("study", "rubbish", *options) == (0, "", "")
    rows = tables(out)["Certainty about noise"]
    assert [row["classifier"] for row in rows] == ["mine", "mine", "mine_2", "mine_2"]
    for seed, row in enumerate(rows[::2]):
        expected = certainty_about_noise(load_classifier(files[seed]), count=64)
        assert row["commonest_share"] == pytest.approx(expected.class_shares(2).max())
    figures = {f"The_noise_that_{name}_is_surest_of.png" for name in ("mine", "mine_2")}
    assert {path.name for path in (out / "figures").iterdir()} == figures
