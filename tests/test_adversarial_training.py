"""Adversarial training makes a classifier resist the attack of its training."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import pytest

from evofool import Classifier, create_classifier, load_classifier
from evofool.attacks import FastGradientSignOptions, Untargeted, fast_gradient_sign
from evofool.datasets import Dataset, load_dataset
from evofool.images import from_uint8
from evofool.training import TrainingOptions, train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def error_rate(classifier: Classifier, dataset: Dataset, epsilon: float) -> float:
    labels = jnp.asarray(dataset.test_labels)
    images, options = from_uint8(dataset.test_images), FastGradientSignOptions(epsilon)
    result = fast_gradient_sign(classifier, images, Untargeted(labels), options)
    return float(result.success.mean())


@pytest.mark.slow
def test_a_maxout_network_trained_on_attacked_digits_resists_them(digits: Dataset) -> None:
    start = create_classifier("maxout", (28, 28, 1), digits.class_names)
    plain = train(start, digits, TrainingOptions(epochs=4))
    adversarial = train(start, digits, TrainingOptions(epochs=4, epsilon=0.1))
    assert plain.test_accuracy > 0.93
    assert adversarial.test_accuracy > 0.93
    assert error_rate(adversarial.classifier, digits, 0.1) < 0.6 * error_rate(plain.classifier, digits, 0.1)


def test_an_epsilon_of_zero_is_plain_training(digits: Dataset) -> None:
    start = create_classifier("linear", (28, 28, 1), digits.class_names)
    plain = train(start, digits, TrainingOptions(epochs=2))
    zero = train(start, digits, TrainingOptions(epochs=2, epsilon=0.0))
    assert zero.losses == pytest.approx(plain.losses, rel=1e-4)


def test_the_command_trains_adversarially(
    evofool_main: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    out = tmp_path / "it.safetensors"
    options = ("--network", "linear", "--epochs", "1", "--adversarial", "fgsm")
    code, _, errors = evofool_main("train", *options, "--epsilon", "-1", "--out", out)
    assert (code, errors.count("\n")) == (2, 1)
    assert "epsilon must be between 0 and 1, not -1.0" in errors
    code, _, errors = evofool_main("train", "--epsilon", "0.1", "--out", out)
    assert (code, errors) == (2, "evofool: --epsilon requires --adversarial fgsm\n")
    code, _, errors = evofool_main("train", *options, "--epsilon", "0.1", "--out", out)
    assert (code, errors) == (0, "")
    assert load_classifier(out).spec.class_names[3] == "three"
