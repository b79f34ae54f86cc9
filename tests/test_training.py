"""Training: its accuracy, its loss, and its errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool.datasets import Dataset, load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.images import from_uint8
from evofool.training import TrainingOptions, test_accuracy, train


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.mark.parametrize(
    ("network", "activation", "epochs", "accuracy"),
    [("linear", "softmax", 20, 0.90), ("mlp", "sigmoid", 15, 0.92)],
)
def test_networks_learn_to_read_digits(
    digits: Dataset, network: str, activation: str, epochs: int, accuracy: float
) -> None:
    classifier = evofool.create_classifier(network, (28, 28, 1), digits.class_names, activation=activation)
    result = train(classifier, digits, TrainingOptions(epochs=epochs))
    assert result.test_accuracy >= accuracy
    assert len(result.losses) == epochs
    assert result.losses[-1] < result.losses[0]


def test_the_seed_decides_the_result(digits: Dataset) -> None:
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    first, again, other = (
        train(linear, digits, TrainingOptions(epochs=1, seed=seed)).losses for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_loss_is_the_cross_entropy_of_the_activation(digits: Dataset) -> None:
    """The first loss of a network whose logits are all zero: log 10, and ten times log 2."""
    few = digits._replace(train_images=digits.train_images[:8], train_labels=digits.train_labels[:8])
    for activation, loss in {"softmax": np.log(10), "sigmoid": 10 * np.log(2)}.items():
        linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names, activation=activation)
        blank = few._replace(train_images=np.zeros_like(few.train_images))
        assert train(linear, blank, TrainingOptions(epochs=1)).losses[0] == pytest.approx(loss, rel=1e-5)


def test_datasets_that_do_not_fit_are_refused(digits: Dataset) -> None:
    small = evofool.create_classifier("linear", (8, 8, 1), digits.class_names)
    with pytest.raises(UsageError, match=r"takes \(8, 8, 1\)"):
        train(small, digits)
    few = evofool.create_classifier("linear", (28, 28, 1), ("even", "odd"))
    with pytest.raises(UsageError, match="digits has 10 classes, linear 2"):
        train(few, digits)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs must be above zero, not 0"),
        ({"epochs": 10**20}, "epochs must be at most 2147483647, not 1000"),
        ({"batch_size": 10**5000}, "batch_size must be at most 2147483647, not an integer of 5001 digits"),
        ({"learning_rate": float("inf")}, "learning_rate must be above zero and finite, not inf"),
        ({"learning_rate": float("nan")}, "learning_rate must be above zero, not nan"),
        ({"learning_rate": 1e300}, "learning_rate must be at most 3.4"),
        ({"learning_rate": 1e-60}, "learning_rate must be at least 1.2e-38, not 1e-60"),
        ({"epsilon": -0.1}, "epsilon must be between 0 and 1, not -0.1"),
        ({"epsilon": 1.5}, "epsilon must be between 0 and 1, not 1.5"),
        ({"epsilon": float("nan")}, "epsilon must be between 0 and 1, not nan"),
        ({"seed": 2**32}, "seed must be 0 to 4294967295, not 4294967296"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_options_out_of_range_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainingOptions(**options)
    assert str(caught.value).startswith(words)


def test_divergence_names_its_epoch(digits: Dataset) -> None:
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    with pytest.raises(EvofoolError, match="diverged in epoch 1: try a learning rate below"):
        train(linear, digits, TrainingOptions(epochs=1, learning_rate=3e38))


def test_weights_that_overflow_in_the_last_step_are_not_returned(digits: Dataset) -> None:
    """One step of all images: its loss, before the step, is finite."""
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, 3e38) if leaf.ndim == 1 else leaf, linear.params)
    options = TrainingOptions(epochs=1, batch_size=10_000, learning_rate=3e38)
    losses: list[float] = []
    with pytest.raises(EvofoolError, match="diverged in epoch 1"):
        train(replace(linear, params=params), digits, options, on_epoch=lambda _, loss: losses.append(loss))
    assert losses == []


def test_the_accuracy_does_not_depend_on_how_images_are_batched(digits: Dataset) -> None:
    classifier = evofool.load_classifier("lenet-digits")
    images, labels = digits.test_images, digits.test_labels
    correct = classifier.logits(from_uint8(images)).argmax(axis=1) == labels
    assert test_accuracy(classifier, images, labels) == pytest.approx(float(correct.mean()), abs=1e-6)
    with pytest.raises(UsageError, match="there are no images"):
        test_accuracy(classifier, images[:0], labels[:0])


@pytest.mark.slow
def test_the_convolutional_network_learns_to_read_digits(digits: Dataset) -> None:
    cnn = evofool.create_classifier("cnn", (28, 28, 1), digits.class_names, activation="sigmoid")
    assert train(cnn, digits, TrainingOptions(epochs=3)).test_accuracy >= 0.9


@pytest.mark.slow
def test_lenet_on_mnist_reaches_99_percent(data) -> None:
    mnist = load_dataset("mnist")
    lenet = evofool.create_classifier("lenet", (28, 28, 1), mnist.class_names)
    assert train(lenet, mnist).test_accuracy >= 0.99
