"""Training: what it learns, what it refuses."""

import numpy as np
import pytest

import evofool
from evofool.datasets import Dataset, load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.training import train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.mark.parametrize(
    ("network", "activation", "epochs", "accuracy"),
    [("linear", "softmax", 20, 0.90), ("mlp", "sigmoid", 15, 0.92), ("cnn", "sigmoid", 3, 0.90)],
)
def test_networks_learn_to_read_digits(
    digits: Dataset, network: str, activation: str, epochs: int, accuracy: float
) -> None:
    classifier = evofool.create_classifier(network, (28, 28, 1), digits.class_names, activation=activation)
    result = train(classifier, digits, epochs=epochs)
    assert result.test_accuracy >= accuracy
    assert len(result.losses) == epochs
    assert result.losses[-1] < result.losses[0]


def test_the_seed_decides_the_result(digits: Dataset) -> None:
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    first, again, other = (train(linear, digits, epochs=1, seed=seed).losses for seed in (1, 1, 2))
    assert first == again != other


def test_the_loss_is_the_cross_entropy_of_the_activation(digits: Dataset) -> None:
    """The first loss of a network whose logits are all zero: log 10, and ten times log 2."""
    few = digits._replace(train_images=digits.train_images[:8], train_labels=digits.train_labels[:8])
    for activation, loss in {"softmax": np.log(10), "sigmoid": 10 * np.log(2)}.items():
        linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names, activation=activation)
        blank = few._replace(train_images=np.zeros_like(few.train_images))
        assert train(linear, blank, epochs=1).losses[0] == pytest.approx(loss, rel=1e-5)


def test_what_does_not_fit_is_refused(digits: Dataset) -> None:
    small = evofool.create_classifier("linear", (8, 8, 1), digits.class_names)
    with pytest.raises(UsageError, match=r"takes \(8, 8, 1\)"):
        train(small, digits)
    few = evofool.create_classifier("linear", (28, 28, 1), ("even", "odd"))
    with pytest.raises(UsageError, match="digits has 10 classes, linear 2"):
        train(few, digits)
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    with pytest.raises(UsageError, match="epochs must be above zero, not 0"):
        train(linear, digits, epochs=0)
    with pytest.raises(EvofoolError, match="diverged in epoch 1: try a learning rate below"):
        train(linear, digits, epochs=1, learning_rate=3e38)


@pytest.mark.slow
def test_lenet_on_mnist_reaches_99_percent(data) -> None:
    mnist = load_dataset("mnist")
    lenet = evofool.create_classifier("lenet", (28, 28, 1), mnist.class_names)
    assert train(lenet, mnist).test_accuracy >= 0.99
