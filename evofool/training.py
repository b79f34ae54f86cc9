"""Training a classifier on a dataset."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from evofool.attacks import FastGradientSignOptions, Untargeted, fast_gradient_sign
from evofool.classifiers.classifier import Classifier
from evofool.datasets import Dataset
from evofool.errors import EvofoolError, UsageError, require_not_negative, require_positive, require_seed

_EVALUATED_AT_ONCE = 1000


class TrainingResult(NamedTuple):
    """A trained classifier and how well it does.

    Attributes:
        classifier: with its weights after the last epoch.
        losses: the mean training loss of each epoch.
        test_accuracy: the share of the test images that it classifies correctly, in [0, 1].
    """

    classifier: Classifier
    losses: list[float]
    test_accuracy: float


def train(
    classifier: Classifier,
    dataset: Dataset,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    adversarial_epsilon: float | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainingResult:
    r"""Train with Adam and a cosine-decayed learning rate, one compiled call per epoch.

    The loss is the cross-entropy of the classifier's activation: categorical for softmax, the sum of the
    binary ones over the classes for sigmoid. Adversarial training (Goodfellow, Shlens & Szegedy, ICLR 2015,
    section 6) takes half of the loss on the same images after a fast gradient sign step:

    $$\tilde{J}(x, y) = \tfrac12 J(x, y) + \tfrac12 J(x + \epsilon \, \text{sign}(\nabla_x J(x, y)), y)$$

    Args:
        classifier: where to start, from `create_classifier` or `load_classifier`.
        dataset: images of the classifier's size and as many classes.
        epochs: passes over the training images.
        batch_size: images per step; what is left over at the end of an epoch waits for the next shuffle.
        learning_rate: the first one; it falls to zero along a cosine.
        seed: seeds the order of the images.
        adversarial_epsilon: the change of every pixel in adversarial training, in [0, 1], 0 or more; the
            paper's is 0.25. Plain training if not given.
        on_epoch: called after each epoch with how many have been done and its mean loss.

    Returns:
        The trained classifier, with its test accuracy.

    Raises:
        UsageError: a number that is not positive, an epsilon below zero, a seed beyond 32 bits, or a dataset
            of another image size or number of classes.
        EvofoolError: the loss is no longer a finite number.

    Example:
        >>> from evofool import create_classifier, datasets
        >>> digits = datasets.load_dataset("digits")
        >>> linear = create_classifier("linear", (28, 28, 1), digits.class_names)
        >>> train(linear, digits, epochs=5).test_accuracy > 0.8
        True
    """
    require_seed(seed)
    require_positive(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    require_not_negative(adversarial_epsilon=adversarial_epsilon or 0.0)
    _require_fit(classifier, dataset)
    count = len(dataset.train_images)
    batch_size = min(batch_size, count)
    steps = count // batch_size
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, epochs * steps))
    images, labels = jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels)
    optimizer_state = optimizer.init(classifier.params)
    losses: list[float] = []
    for epoch in range(epochs):
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        classifier, optimizer_state, loss = _epoch(
            optimizer,
            (steps, batch_size),
            adversarial_epsilon,
            classifier,
            optimizer_state,
            images,
            labels,
            key,
        )
        losses.append(float(loss))
        if not np.isfinite(losses[-1]):
            raise EvofoolError(
                f"training diverged in epoch {epoch + 1}: try a learning rate below {learning_rate}"
            )
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
    accuracy = test_accuracy(classifier, dataset.test_images, dataset.test_labels)
    return TrainingResult(classifier, losses, accuracy)


def test_accuracy(
    classifier: Classifier, images: UInt8[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"]
) -> float:
    """The share of images, with pixels 0..255, whose most confident class is their label.

    Example:
        >>> from evofool import datasets, load_classifier
        >>> digits = datasets.load_dataset("digits")
        >>> test_accuracy(load_classifier("lenet-digits"), digits.test_images, digits.test_labels) > 0.97
        True
    """
    parts = [slice(start, start + _EVALUATED_AT_ONCE) for start in range(0, len(images), _EVALUATED_AT_ONCE)]
    correct = sum(int(_correct(classifier, images[part], labels[part])) for part in parts)
    return correct / len(images)


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # a test runner would take it for a test


@jax.jit
def _correct(
    classifier: Classifier, images: UInt8[Array, "n h w c"], labels: Int[Array, " n"]
) -> Int[Array, ""]:
    return jnp.sum(classifier.logits(images / 255).argmax(axis=1) == labels)


def _loss(
    classifier: Classifier, images: Float[Array, "n h w c"], labels: Int[Array, " n"]
) -> Float[Array, ""]:
    logits = classifier.logits(images)
    if classifier.spec.activation == "softmax":
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    scores = jax.nn.one_hot(labels, logits.shape[1])
    return optax.sigmoid_binary_cross_entropy(logits, scores).sum(axis=1).mean()


def _adversarial_loss(
    classifier: Classifier, images: Float[Array, "n h w c"], labels: Int[Array, " n"], epsilon: float
) -> Float[Array, ""]:
    attacked = fast_gradient_sign(
        classifier, images, Untargeted(labels), FastGradientSignOptions(epsilon)
    ).images
    # The attack is a constant of the gradient, as in the paper: the network does not learn to steer it.
    attacked = jax.lax.stop_gradient(attacked)
    return (_loss(classifier, images, labels) + _loss(classifier, attacked, labels)) / 2


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _epoch(
    optimizer: optax.GradientTransformation,
    batches: tuple[int, int],
    adversarial_epsilon: float | None,
    classifier: Classifier,
    optimizer_state: Any,
    images: UInt8[Array, "n h w c"],
    labels: Int[Array, " n"],
    key: Key[Array, ""],
) -> tuple[Classifier, Any, Float[Array, ""]]:
    steps, batch_size = batches
    loss_function = _loss
    if adversarial_epsilon is not None:
        loss_function = partial(_adversarial_loss, epsilon=adversarial_epsilon)

    def step(carry: Any, chosen: Int[Array, " b"]) -> Any:
        classifier, optimizer_state = carry
        loss, gradients = jax.value_and_grad(loss_function)(classifier, images[chosen] / 255, labels[chosen])
        updates, optimizer_state = optimizer.update(gradients.params, optimizer_state)
        params = optax.apply_updates(classifier.params, updates)
        return (Classifier(params, classifier.logits_function, classifier.spec), optimizer_state), loss

    order = jax.random.permutation(key, len(images))[: steps * batch_size].reshape(steps, batch_size)
    (classifier, optimizer_state), losses = jax.lax.scan(step, (classifier, optimizer_state), order)
    return classifier, optimizer_state, losses.mean()


def _require_fit(classifier: Classifier, dataset: Dataset) -> None:
    spec = classifier.spec
    if dataset.train_images.shape[1:] != spec.input_shape:
        raise UsageError(
            f"the images of {dataset.name} are {dataset.train_images.shape[1:]} (height, width, channels), "
            f"{spec.name} takes {spec.input_shape}"
        )
    if len(dataset.class_names) != len(spec.class_names):
        raise UsageError(
            f"{dataset.name} has {len(dataset.class_names)} classes, {spec.name} {len(spec.class_names)}"
        )
