"""Training: its accuracy, its loss, and its errors."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import evofool
from evofool import training
from evofool.classifiers import weights_digest
from evofool.datasets import Dataset, StoredImages, folder, load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.images import from_uint8, write_png
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
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, not -0.1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"dropout": float("nan")}, "dropout must be at least 0 and below 1, not nan"),
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


# Options


def test_training_without_the_new_options_is_plain_adam(digits: Dataset) -> None:
    """Against optax's own Adam, step by step, on the same batches."""
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    options = TrainingOptions(epochs=1, batch_size=500, seed=5)
    trained = train(linear, digits, options).classifier

    order = jax.random.permutation(jax.random.fold_in(jax.random.key(5), 0), len(digits.train_images))
    adam = optax.adam(optax.cosine_decay_schedule(options.learning_rate, 2))
    params, state = linear.params, adam.init(linear.params)
    for chosen in np.asarray(order)[:1000].reshape(2, 500):
        images, labels = from_uint8(digits.train_images[chosen]), digits.train_labels[chosen]

        # The gradient of the cross-entropy of softmax regression, by hand.
        shares = jax.nn.softmax(linear.logits_function(params, images)) - jax.nn.one_hot(labels, 10)
        gradients = jax.tree.map(lambda leaf: leaf, params)
        gradients["fc"]["bias"].set_value((shares / 500).sum(axis=0))
        gradients["fc"]["kernel"].set_value(images.reshape(500, -1).T @ shares / 500)
        updates, state = adam.update(gradients, state)
        params = optax.apply_updates(params, updates)
    for ours, theirs in zip(jax.tree.leaves(trained.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_decay_by_their_share_and_biases_do_not(digits: Dataset) -> None:
    """Of blank images a kernel has no gradient: what it loses is the decay alone, step by step."""
    blank = digits._replace(train_images=np.zeros_like(digits.train_images))
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    options = TrainingOptions(epochs=2, batch_size=300, learning_rate=0.1, weight_decay=0.5)
    before, after = linear.params, train(linear, blank, options).classifier.params
    plain = train(linear, blank, replace(options, weight_decay=0.0)).classifier.params
    steps = 2 * (len(blank.train_images) // 300)
    rates = 0.1 * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
    np.testing.assert_allclose(
        after["fc"]["kernel"][...], np.prod(1 - 0.5 * rates) * before["fc"]["kernel"][...], rtol=1e-5
    )
    np.testing.assert_array_equal(after["fc"]["bias"][...], plain["fc"]["bias"][...])
    np.testing.assert_array_equal(plain["fc"]["kernel"][...], before["fc"]["kernel"][...])


def test_dropout_and_augmentation_are_keyed_by_the_seed(digits: Dataset) -> None:
    few = digits._replace(train_images=digits.train_images[:256], train_labels=digits.train_labels[:256])
    mlp = evofool.create_classifier("mlp", (28, 28, 1), digits.class_names)
    plain = TrainingOptions(epochs=1)
    changed = replace(plain, dropout=0.5, augment="flip-crop")
    first, again, other, without, undropped = (
        train(mlp, few, options).losses
        for options in (
            changed,
            changed,
            replace(changed, seed=1),
            plain,
            replace(plain, augment="flip-crop"),
        )
    )
    assert first == again
    assert len({first[0], other[0], without[0], undropped[0]}) == 4


def test_dropout_needs_hidden_units(digits: Dataset) -> None:
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names)
    with pytest.raises(UsageError, match="linear has no hidden units that could be dropped"):
        train(linear, digits, TrainingOptions(dropout=0.5))


def test_a_dataset_with_its_classes_in_another_order_is_refused(digits: Dataset) -> None:
    linear = evofool.create_classifier("linear", (28, 28, 1), digits.class_names[::-1])
    with pytest.raises(UsageError, match="digits and linear have the same classes in another order"):
        train(linear, digits)


# Images that stay in their files


@pytest.fixture(scope="module")
def noisy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 40 images each, in colour, of sizes between 10 and 20 pixels."""
    folder = tmp_path_factory.mktemp("noisy")
    random = np.random.default_rng(0)
    for name, level in {"dark": 60, "light": 140}.items():
        (folder / name).mkdir()
        for number in range(40):
            shape = (*random.integers(10, 20, 2), 3)
            pixels = random.integers(level, level + 80, shape, dtype=np.uint8)
            write_png(folder / name / f"{number}.png", pixels)
    return folder


def test_images_in_files_train_to_the_same_bits(noisy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TrainingOptions(epochs=2, batch_size=12, dropout=0.2, augment="flip-crop")
    in_memory = load_dataset(str(noisy_folder), image_size=8)
    assert isinstance(in_memory.train_images, np.ndarray)
    monkeypatch.setattr(folder, "IN_MEMORY", 100)
    in_files = load_dataset(str(noisy_folder), image_size=8)
    assert isinstance(in_files.train_images, StoredImages)
    cnn = evofool.create_classifier("cnn", (8, 8, 3), in_files.class_names)
    whole = train(cnn, in_memory, options)
    # In parts of one step each, and of two steps and a rest of one.
    for chunk_bytes in (1, 5000):
        monkeypatch.setattr(training, "_CHUNK_BYTES", chunk_bytes)
        parts = train(cnn, in_files, options)
        assert weights_digest(parts.classifier) == weights_digest(whole.classifier)
        assert parts[1:] == whole[1:]


def test_an_image_that_is_damaged_behind_its_head_ends_training(
    noisy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(noisy_folder, tmp_path / "copy")
    victim = copy / "light" / "3.png"
    victim.write_bytes(victim.read_bytes()[:200])
    monkeypatch.setattr(folder, "IN_MEMORY", 100)
    dataset = load_dataset(str(copy), image_size=8)
    linear = evofool.create_classifier("linear", (8, 8, 3), dataset.class_names)
    with pytest.raises(EvofoolError, match=f"cannot read {victim} as an image"):
        train(linear, dataset, TrainingOptions(epochs=1, batch_size=64))


@pytest.mark.slow
def test_the_residual_network_learns_to_read_digits(digits: Dataset) -> None:
    resnet = evofool.create_classifier("resnet", (28, 28, 1), digits.class_names)
    assert train(resnet, digits, TrainingOptions(epochs=4)).test_accuracy >= 0.9
