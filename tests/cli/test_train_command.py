"""`evofool train` with a start, a half, an extra class, and images of any size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import evofool
from evofool.classifiers.weights import load_weights_file
from evofool.datasets import load_dataset
from evofool.images import write_png

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """A file of softmax regression for digits, untrained, whose logits are read as sigmoids."""
    path = tmp_path / "linear.safetensors"
    names = load_dataset("digits").class_names
    classifier = evofool.create_classifier("linear", (28, 28, 1), names, activation="sigmoid")
    evofool.save_classifier(path, classifier, training_data="none", test_accuracy=0.1)
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Twenty pictures of noise, in colour and larger than digits."""
    folder = tmp_path / "noise"
    folder.mkdir()
    random = np.random.default_rng(0)
    (folder / "none").mkdir()
    (folder / "few").mkdir()
    write_png(folder / "few" / "0.png", np.zeros((9, 9, 1), np.uint8))
    for number in range(20):
        write_png(folder / f"{number}.png", random.integers(256, size=(40, 60, 3), dtype=np.uint8))
    return folder


def test_training_goes_on_from_a_file(linear: Path, tmp_path: Path, evofool_main: Main) -> None:
    """From the embedded LeNet it starts good; from a file it takes the network and the activation."""
    out = tmp_path / "lenet.safetensors"
    options = ("--epochs", "1", "--learning-rate", "1e-6", "--quiet")
    assert evofool_main("train", "--from", "lenet-digits", *options, "--out", out)[0] == 0
    classifier, metadata = load_weights_file(out)
    assert float(metadata["test_accuracy"]) > 0.97
    assert metadata["training_data"].endswith(", going on from lenet-digits")
    assert classifier.spec.name == "lenet"

    out = tmp_path / "further.safetensors"
    code, printed, _ = evofool_main("train", "--from", linear, "--epochs", "1", "--out", out)
    assert code == 0
    assert printed.startswith("linear (sigmoid) on digits: 1,442 images")
    assert load_weights_file(out)[0].spec.activation == "sigmoid"


def test_halves_share_the_test_images(tmp_path: Path, evofool_main: Main) -> None:
    options = ("--network", "linear", "--epochs", "1", "--quiet")
    files = []
    for half, count in (("first", 723), ("second", 719)):
        files.append(tmp_path / f"{half}.safetensors")
        assert evofool_main("train", *options, "--half", half, "--out", files[-1])[0] == 0
        training_data = load_weights_file(files[-1])[1]["training_data"]
        assert training_data == f"digits, {half} half, {count} images, 1 epochs"
    assert files[0].read_bytes() != files[1].read_bytes()


def test_an_extra_class_is_learnt(linear: Path, noise: Path, tmp_path: Path, evofool_main: Main) -> None:
    """From random weights, and by widening a network, which a second time has the class already."""
    first, second, third = (tmp_path / f"{number}.safetensors" for number in range(3))
    options = ("--extra-class", f"noise={noise}", "--epochs", "1", "--quiet")
    assert evofool_main("train", "--network", "linear", *options, "--out", first)[0] == 0
    assert evofool_main("train", "--from", linear, *options, "--out", second)[0] == 0
    assert evofool_main("train", "--from", second, *options, "--out", third)[0] == 0
    for file, activation in ((first, "softmax"), (second, "sigmoid"), (third, "sigmoid")):
        classifier, metadata = load_weights_file(file)
        assert classifier.spec.class_names[-2:] == ("nine", "noise")
        assert classifier.spec.activation == activation
        assert metadata["training_data"].startswith(
            "digits, 1458 images, 1 epochs, with the extra class noise"
        )


def test_a_folder_of_any_sizes_is_fitted(noise: Path, tmp_path: Path, evofool_main: Main) -> None:
    for name in ("small", "large"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            level = np.full((9 + number, 30, 3), 40 if name == "small" else 200, np.uint8)
            write_png(tmp_path / "images" / name / f"{number}.png", level)
    out = tmp_path / "it.safetensors"
    options = ("--dataset", tmp_path / "images", "--network", "linear", "--epochs", "1", "--out", out)
    code, _, err = evofool_main("train", *options)
    assert (code, err.count("\n")) == (1, 1)
    assert "give an image size" in err
    assert evofool_main("train", *options, "--image-size", "12")[0] == 0
    assert evofool.load_classifier(out).spec.input_shape == (12, 12, 3)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--from", "LINEAR", "--network", "lenet"), 2, "--network lenet differs from that of LINEAR"),
        (("--from", "LINEAR", "--activation", "softmax"), 2, "which is sigmoid"),
        (("--from", "LINEAR", "--dropout", "0.5"), 2, "linear has no hidden units"),
        (("--from", "LINEAR", "--extra-class", "noise"), 2, "--extra-class must be NAME=FOLDER, not 'noise'"),
        (("--from", "LINEAR", "--extra-class", "three=NOISE"), 2, "digits has a class 'three' already"),
        (("--from", "LINEAR", "--extra-class", "noise=NOISE/0.png"), 2, "there is no folder NOISE/0.png"),
        (("--from", "LINEAR", "--extra-class", "noise=NOISE/few"), 2, "needs 5 images or more"),
        (("--from", "LINEAR", "--extra-class", "noise=NOISE/none"), 1, "NOISE/none has no images"),
        (("--from", "nowhere.safetensors"), 1, "cannot read nowhere.safetensors"),
        (("--image-size", "8"), 2, "the images of digits have one size"),
        (("--dropout", "1"), 2, "dropout must be at least 0 and below 1"),
        (("--half", "third"), 2, "invalid choice 'third'"),
    ],
)
def test_mistakes_are_one_line(
    args: tuple[str, ...],
    code: int,
    words: str,
    linear: Path,
    noise: Path,
    tmp_path: Path,
    evofool_main: Main,
) -> None:
    def placed(text: str) -> str:
        return text.replace("LINEAR", str(linear)).replace("NOISE", str(noise))

    found, _, err = evofool_main("train", *map(placed, args), "--out", tmp_path / "out.safetensors")
    assert found == code
    assert placed(words) in err
    assert err.count("\n") == 1


def test_a_wrapped_network_cannot_be_trained(data: Path, tmp_path: Path, evofool_main: Main) -> None:
    code, _, err = evofool_main(
        "train", "--from", "lenet-nguyen2015-mean", "--out", tmp_path / "out.safetensors"
    )
    assert code == 2
    assert "is not one of evofool's networks, so it cannot be trained or saved" in err
