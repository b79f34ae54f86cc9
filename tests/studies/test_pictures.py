"""Images from anywhere, and one line for each that is not there."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from evofool import load_classifier
from evofool.attacks import FastGradientSignOptions, Untargeted, fast_gradient_sign
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.images import from_uint8, to_uint8, write_png
from evofool.studies.pictures import load_pictures

DIGITS = load_dataset("digits")


def test_a_dataset_gives_images_at_equal_intervals() -> None:
    tests, few, train = load_pictures(["digits", "digits(count=5)", "digits(split=train, count=1442)"])
    np.testing.assert_array_equal(tests.pictures, DIGITS.test_images)
    assert list(tests.classes) == [DIGITS.class_names[label] for label in DIGITS.test_labels]
    chosen = [0, 71, 142, 213, 284]
    np.testing.assert_array_equal(few.pictures, DIGITS.test_images[chosen])
    assert list(few.classes) == [DIGITS.class_names[DIGITS.test_labels[index]] for index in chosen]
    np.testing.assert_array_equal(train.pictures, DIGITS.train_images)


def test_an_attack_on_a_dataset_is_the_attack_on_its_images() -> None:
    source = "fgsm(digits, classifier=lenet-digits, count=7, epsilon=0.2)"
    (pictures,) = load_pictures([source])
    (before,) = load_pictures(["digits(count=7)"])
    assert (pictures.name, pictures.classes) == (source, before.classes)
    labels = jnp.array([DIGITS.class_names.index(name) for name in before.classes])
    images = from_uint8(np.stack(before.pictures))
    goal, options = Untargeted(labels), FastGradientSignOptions(0.2)
    attacked = fast_gradient_sign(load_classifier("lenet-digits"), images, goal, options)
    np.testing.assert_array_equal(pictures.pictures, to_uint8(attacked.images))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(
        ("a.png", "pets/cat/1.png", "pets/cat/2.png", "pets/dog/1.png", "flat/1.png")
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / name, np.full((5, 4, 1), number, np.uint8))
    Image.new("RGB", (9, 9), (9, 9, 9)).save(tmp_path / "b.jpg")
    return tmp_path


def test_files_are_one_set_and_each_folder_is_one(folder) -> None:
    sources = [str(folder / name) for name in ("a.png", "pets", "flat", "b.jpg")]
    pets, flat, files = load_pictures(sources)
    assert (pets.name, flat.name, files.name) == ("pets", "flat", "files")
    assert list(pets.classes) == ["cat", "cat", "dog"]
    assert [int(picture[0, 0, 0]) for picture in pets.pictures] == [1, 2, 3]
    assert (list(flat.classes), list(files.classes)) == ([None], [None, None])
    assert [picture.shape for picture in files.pictures] == [(5, 4, 1), (9, 9, 3)]
    fitted = files.fitted(load_classifier("lenet-digits"))
    assert fitted.images.shape == (2, 28, 28, 1)
    assert fitted.notes[0].startswith(
        "1 of 2 images of files are no longer the same pictures for lenet-digits"
    )


def test_the_images_of_attacks_and_runs_have_the_classes_that_they_are_to_have(
    evofool_main, tmp_path
) -> None:
    attack, one, several = (tmp_path / name for name in ("attack", "one", "several"))
    run = ("evolve", "--generations", 2, "--batch-size", 20, "--quiet")
    assert (
        evofool_main("attack", "fgsm", "--dataset", "digits", "--count", 4, "--quiet", "--out", attack)[0]
        == 0
    )
    assert evofool_main(*run, "--targets", "three", "7", "--out", one)[0] == 0
    for seed in (0, 1):  # as of several seeds
        shutil.copytree(one, several / "seeds" / str(seed))
    attacked, single, both = load_pictures([str(attack), str(one), str(several)])
    assert len(attacked.pictures) == 4
    assert all(name in DIGITS.class_names for name in attacked.classes)
    assert list(single.classes) == ["three", "seven"]
    assert list(both.classes) == 2 * ["three", "seven"]
    assert {picture.shape for picture in [*both.pictures, *attacked.pictures]} == {(28, 28, 1)}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digitz", "unknown source of images 'digitz': did you mean 'digits'"),
        ("digits(number=3)", "unknown option of a dataset 'number'"),
        ("digits(count=many)", "count must be 1 to 355, the test images of digits, not many"),
        ("digits(count=2.5)", "count must be 1 to 355"),
        ("digits(count=356)", "count must be 1 to 355"),
        ("digits(count=0, split=train)", "count must be 1 to 1442, the train images"),
        ("digits(split=all)", "unknown split 'all'"),
        ("digits(3)", "names no images"),
        ("digits(", "cannot be read"),
        ("fgms(digits)", "names no images"),
        ("fgsm()", "source of images"),
        ("fgsm(digitz)", "did you mean 'digits'"),
        ("fgsm(digits(count=3))", "unknown dataset"),
        ("fgsm(digits, mnist)", "names no images"),
        ("fgsm(digits, epsilon=large)", "epsilon of fgsm must be a number, not large"),
        ("fgsm(digits, epsilon=2)", "epsilon must be between 0 and 1"),
        ("fgsm(digits, epsilno=0.1)", "did you mean 'epsilon'"),
        ("fgsm(digits, count=0)", "count must be 1 to 355"),
        ("fgsm(digits, classifier=lenet-digit)", "did you mean 'lenet-digits'"),
        ("iterated(digits, steps=2.5)", "steps of iterated must be a whole number, not 2.5"),
        ("universal(digits, improvement=newton)", "newton"),
        ("FOLDER", "has no images"),
        ("FOLDER/absent.png", "unknown source of images"),
        ("FOLDER/text.png", "text.png"),
        ("fgsm(FOLDER/colours, count=2)", "unknown class of lenet-digits"),
    ],
)
def test_what_are_no_images_ends_in_one_line(tmp_path, source, message) -> None:
    (tmp_path / "pictures").mkdir()
    if "colours" in source:
        for name in ("red", "green"):
            (tmp_path / "colours" / name).mkdir(parents=True)
            for number in range(5):
                write_png(tmp_path / f"colours/{name}/{number}.png", np.zeros((28, 28, 1), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(EvofoolError) as error:
        load_pictures([source.replace("FOLDER", str(tmp_path))])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, UsageError) or "FOLDER" in source
