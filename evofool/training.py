"""Training a classifier on a dataset."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from evofool.attacks import FastGradientSignOptions, Untargeted, fast_gradient_sign
from evofool.classifiers.classifier import Classifier
from evofool.classifiers.dropout import require_dropout, with_dropout
from evofool.datasets import Dataset
from evofool.datasets.stored import Images, StoredImages
from evofool.errors import (
    EvofoolError,
    UsageError,
    require_below_one,
    require_choice,
    require_not_negative,
    require_positive,
    require_seed,
    require_share,
)
from evofool.images import flip_and_crop
from evofool.numerics.batches import in_batches

Augment = Literal["none", "flip-crop"]
"""How training images are changed at random before each step."""

_CHUNK_BYTES = 2**28
"""Of pixels that are decoded at once, of images that stay in their files."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step; the rest of an epoch, less than a batch, is left out.
        learning_rate: the first learning rate of Adam; it falls to zero along a cosine.
        weight_decay: the share of itself, times the learning rate, that each kernel loses in each step
            (AdamW); biases keep theirs.
        dropout: the probability with which each input of the fully connected layers, but not a pixel, is
            zero in a step, below 1.
        augment: flip-crop: mirror half of the images and shift each by up to an eighth of its height and
            width, its edges mirrored; none: take them as they are.
        seed: seeds every random number.
        epsilon: the change of every pixel in adversarial training, in [0, 1]; the paper's is 0.25. Training
            is plain if it is None.

    Raises:
        UsageError: a number that is not positive, or negative where it may be 0, a dropout outside [0, 1), an
            epsilon outside [0, 1], an unknown augmentation or a seed of more than 32 bits.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    dropout: float = 0.0
    augment: Augment = "none"
    seed: int = 0
    epsilon: float | None = None

    def __post_init__(self) -> None:
        require_positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        require_not_negative(weight_decay=self.weight_decay)
        require_below_one(dropout=self.dropout)
        require_choice(get_args(Augment), augment=self.augment)
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
    r"""Train with Adam and a cosine-decayed learning rate, in a compiled program.

    The loss is the cross-entropy of the classifier's activation: categorical for softmax, the sum of the
    binary ones over the classes for sigmoid. Adversarial training (Goodfellow, Shlens & Szegedy, ICLR 2015,
    section 6) takes half of the loss on the same images after a fast gradient sign step:

    $$\tilde{J}(x, y) = \tfrac12 J(x, y) + \tfrac12 J(x + \epsilon \, \text{sign}(\nabla_x J(x, y)), y)$$

    Weights decay as in Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    Dropout is `with_dropout`, with the same units for both halves of the adversarial loss. Images are flipped
    and cropped as in He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

    All training images are on the device, and an epoch is one call. Those that stay in their files
    (`StoredImages`) are decoded in parts, each while the device works on the one before; the weights are the
    same.

    Args:
        classifier: where to start, from `create_classifier` or `load_classifier`.
        dataset: images of the classifier's size and as many classes.
        options: how to train.
        on_epoch: called after each epoch with the number of epochs done and the mean loss of the last.

    Returns:
        The trained classifier, with its test accuracy.

    Raises:
        UsageError: a dataset of another image size, number or order of classes, or dropout in a network
            without hidden units.
        EvofoolError: the loss or a weight is no longer finite.

    Example:
        >>> from evofool import create_classifier, datasets
        >>> digits = datasets.load_dataset("digits")
        >>> linear = create_classifier("linear", (28, 28, 1), digits.class_names)
        >>> train(linear, digits, TrainingOptions(epochs=5)).test_accuracy > 0.8
        True
    """
    _require_fit(classifier, dataset)
    if options.dropout:
        require_dropout(classifier, options.dropout)
    options = replace(options, batch_size=min(options.batch_size, len(dataset.train_images)))
    steps = len(dataset.train_images) // options.batch_size
    optimizer_state = _optimizer(options, steps).init(classifier.params)
    images = dataset.train_images
    held = images if isinstance(images, StoredImages) else jnp.asarray(images)
    losses: list[float] = []
    for epoch in range(options.epochs):
        key = jax.random.fold_in(jax.random.key(options.seed), epoch)
        order = jax.random.permutation(key, len(images))[: steps * options.batch_size]
        parts = _parts(held, dataset.train_labels, order.reshape(steps, options.batch_size))
        classifier, optimizer_state, loss = _epoch(classifier, optimizer_state, parts, key, options, steps)
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
    classifier: Classifier, images: UInt8[Images, "n h w c"], labels: Int[np.ndarray, " n"]
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


def _epoch(
    classifier: Classifier,
    optimizer_state: PyTree,
    parts: Iterator["_Part"],
    key: Key[Array, ""],
    options: TrainingOptions,
    steps: int,
) -> tuple[Classifier, PyTree, Float[Array, ""]]:
    """The classifier and the optimiser's state after an epoch, and its mean loss."""
    # The seed is in the key: without it, all seeds share a compiled program.
    options = replace(options, seed=0)
    losses: list[Float[Array, " s"]] = []
    for part in parts:
        # The device has at most one part to work on while the next is decoded.
        jax.block_until_ready(losses)
        classifier, optimizer_state, losses_of_part = _steps(
            classifier, optimizer_state, part, key, options=options, steps_of_epoch=steps
        )
        losses.append(losses_of_part)
    return classifier, optimizer_state, jnp.concatenate(losses)[:steps].mean()


class _Part(NamedTuple):
    """Some steps of an epoch, in the form of the compiled program.

    Attributes:
        images: in 0..255, at least those of these steps.
        labels: of these images.
        batches: which of them each step takes; rows behind the last step are not used.
        first: the number of the first step in its epoch.
        steps: how many there are.
    """

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]
    batches: Int[Array, "s b"]
    first: int
    steps: int


def _parts(
    images: UInt8[Array | StoredImages, "n h w c"],
    labels: Int[np.ndarray, " n"],
    batches: Int[Array, "s b"],
) -> Iterator[_Part]:
    """An epoch in one part if its images are on the device, else in parts that are decoded one by one."""
    steps, batch_size = batches.shape
    if not isinstance(images, StoredImages):
        yield _Part(images, jnp.asarray(labels), batches, 0, steps)
        return
    bytes_of_batch = batch_size * images.nbytes // len(images)
    size = max(1, min(steps, _CHUNK_BYTES // bytes_of_batch))
    for first in range(0, steps, size):
        chosen = np.asarray(batches[first : first + size]).ravel()
        decoded = np.zeros((size * batch_size, *images.shape[1:]), np.uint8)
        decoded[: len(chosen)] = images[chosen]
        its_labels = np.zeros(size * batch_size, labels.dtype)
        its_labels[: len(chosen)] = labels[chosen]
        rows = jnp.arange(size * batch_size).reshape(size, batch_size)
        yield _Part(*(jnp.asarray(decoded), jnp.asarray(its_labels), rows), first, len(chosen) // batch_size)


def _optimizer(options: TrainingOptions, steps_of_epoch: int) -> optax.GradientTransformation:
    rate = optax.cosine_decay_schedule(options.learning_rate, options.epochs * steps_of_epoch)
    return optax.adamw(rate, weight_decay=options.weight_decay, mask=_are_kernels)


def _are_kernels(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


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


@partial(jax.jit, static_argnames=("options", "steps_of_epoch"), donate_argnames="optimizer_state")
def _steps(
    classifier: Classifier,
    optimizer_state: PyTree,
    part: _Part,
    key: Key[Array, ""],
    *,
    options: TrainingOptions,
    steps_of_epoch: int,
) -> tuple[Classifier, PyTree, Float[Array, " s"]]:
    """The classifier and the optimiser's state after a part of an epoch, and the loss of each step.

    The number of steps is an argument of the loop, so that the program and its bits do not depend on it.
    """
    optimizer = _optimizer(options, steps_of_epoch)
    loss_function = _loss
    if options.epsilon is not None:
        loss_function = partial(_adversarial_loss, epsilon=options.epsilon)

    def loss_of(
        params: PyTree, images: Float[Array, "b h w c"], labels: Int[Array, " b"], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        trained = replace(classifier, params=params)
        if options.dropout:
            trained = with_dropout(trained, options.dropout, key)
        return loss_function(trained, images, labels)

    def step(
        index: Int[Array, ""], carry: tuple[PyTree, PyTree, Float[Array, " s"]]
    ) -> tuple[PyTree, PyTree, Float[Array, " s"]]:
        params, optimizer_state, losses = carry
        chosen = part.batches[index]
        images = part.images[chosen]
        # 0 and 1 are the keys that the order of the images was drawn from.
        step_key = jax.random.fold_in(jax.random.fold_in(key, 2), part.first + index)
        augment_key, dropout_key = jax.random.split(step_key)
        if options.augment == "flip-crop":
            images = flip_and_crop(images, augment_key)
        loss, gradients = jax.value_and_grad(loss_of)(params, images / 255, part.labels[chosen], dropout_key)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state, losses.at[index].set(loss)

    carry = classifier.params, optimizer_state, jnp.zeros(len(part.batches))
    params, optimizer_state, losses = jax.lax.fori_loop(0, part.steps, step, carry)
    return replace(classifier, params=params), optimizer_state, losses


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
    names = dataset.class_names
    if names != spec.class_names and sorted(names) == sorted(spec.class_names):
        raise UsageError(f"{dataset.name} and {spec.name} have the same classes in another order")
