"""Training a classifier on a dataset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from evofool.attacks import FastGradientSignOptions, Untargeted, fast_gradient_sign
from evofool.classifiers.classifier import Classifier
from evofool.datasets import Dataset
from evofool.errors import EvofoolError, UsageError, require_positive, require_seed, require_share
from evofool.numerics.batches import in_batches


@dataclass(frozen=True)
class TrainingOptions:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step; the rest of an epoch, less than a batch, is left out.
        learning_rate: the first learning rate of Adam; it falls to zero along a cosine.
        seed: seeds every random number.
        epsilon: the change of every pixel in adversarial training, in [0, 1]; the paper's is 0.25. Training
            is plain if it is None.

    Raises:
        UsageError: a number that is not positive, an epsilon outside [0, 1] or a seed of more than 32 bits.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0
    epsilon: float | None = None

    def __post_init__(self) -> None:
        require_positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        require_seed(self.seed)
        require_share(epsilon=self.epsilon)


class TrainingResult(NamedTuple):
    """A trained classifier and its accuracy.

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
    options: TrainingOptions = TrainingOptions(),
    *,
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
        options: how to train.
        on_epoch: called after each epoch with the number of epochs done and the mean loss of the last.

    Returns:
        The trained classifier, with its test accuracy.

    Raises:
        UsageError: a dataset of another image size or number of classes.
        EvofoolError: the loss or a weight is no longer finite.

    Example:
        >>> from evofool import create_classifier, datasets
        >>> digits = datasets.load_dataset("digits")
        >>> linear = create_classifier("linear", (28, 28, 1), digits.class_names)
        >>> train(linear, digits, TrainingOptions(epochs=5)).test_accuracy > 0.8
        True
    """
    _require_fit(classifier, dataset)
    options = replace(options, batch_size=min(options.batch_size, len(dataset.train_images)))
    images, labels = jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels)
    optimizer_state = _optimizer(options, len(images)).init(classifier.params)
    losses: list[float] = []
    for epoch in range(options.epochs):
        key = jax.random.fold_in(jax.random.key(options.seed), epoch)
        classifier, optimizer_state, loss = _epoch(
            classifier,
            optimizer_state,
            images,
            labels,
            key,
            # The seed is in the key: without it, all seeds share a compiled program.
            options=replace(options, seed=0),
        )
        losses.append(float(loss))
        if not (np.isfinite(losses[-1]) and _all_finite(classifier.params)):
            raise EvofoolError(
                f"training diverged in epoch {epoch + 1}: try a learning rate below {options.learning_rate}"
            )
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
    accuracy = test_accuracy(classifier, dataset.test_images, dataset.test_labels)
    return TrainingResult(classifier, losses, accuracy)


def test_accuracy(
    classifier: Classifier, images: UInt8[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"]
) -> float:
    """The share of images, with pixels 0..255, whose most confident class is their label.

    Raises:
        UsageError: there are no images.

    Example:
        >>> from evofool import datasets, load_classifier
        >>> digits = datasets.load_dataset("digits")
        >>> test_accuracy(load_classifier("lenet-digits"), digits.test_images, digits.test_labels) > 0.97
        True
    """
    correct = in_batches(partial(_are_correct, classifier), (images, labels), TrainingOptions.batch_size)
    return int(correct.sum()) / len(images)


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test otherwise


@jax.jit
def _are_correct(
    classifier: Classifier, batch: tuple[UInt8[Array, "n h w c"], Int[Array, " n"]]
) -> Bool[Array, " n"]:
    images, labels = batch
    return classifier.logits(images / 255).argmax(axis=1) == labels


@jax.jit
def _all_finite(params: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


def _optimizer(options: TrainingOptions, images: int) -> optax.GradientTransformation:
    steps = options.epochs * (images // options.batch_size)
    return optax.adam(optax.cosine_decay_schedule(options.learning_rate, steps))


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
    # No gradient flows through the attack, as in the paper.
    attacked = jax.lax.stop_gradient(attacked)
    return (_loss(classifier, images, labels) + _loss(classifier, attacked, labels)) / 2


@partial(jax.jit, static_argnames="options", donate_argnames="optimizer_state")
def _epoch(
    classifier: Classifier,
    optimizer_state: PyTree,
    images: UInt8[Array, "n h w c"],
    labels: Int[Array, " n"],
    key: Key[Array, ""],
    *,
    options: TrainingOptions,
) -> tuple[Classifier, PyTree, Float[Array, ""]]:
    optimizer = _optimizer(options, len(images))
    steps = len(images) // options.batch_size
    loss_function = _loss
    if options.epsilon is not None:
        loss_function = partial(_adversarial_loss, epsilon=options.epsilon)

    def step(
        carry: tuple[Classifier, PyTree], chosen: Int[Array, " b"]
    ) -> tuple[tuple[Classifier, PyTree], Float[Array, ""]]:
        classifier, optimizer_state = carry
        loss, gradients = jax.value_and_grad(loss_function)(classifier, images[chosen] / 255, labels[chosen])
        updates, optimizer_state = optimizer.update(gradients.params, optimizer_state)
        trained = replace(classifier, params=optax.apply_updates(classifier.params, updates))
        return (trained, optimizer_state), loss

    order = jax.random.permutation(key, len(images))[: steps * options.batch_size]
    order = order.reshape(steps, options.batch_size)
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
