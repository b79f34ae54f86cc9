"""Does adversarial training cost clean accuracy? A maxout network, longer trained and regularised.

    python scripts/adversarial_training.py --epochs 60 --seeds 1 --out runs/adversarial-training

Goodfellow, Shlens & Szegedy (ICLR 2015, section 6) report that adversarial training lowers the clean test
error of their maxout network from 0.94% to 0.84%. `evofool train` raises it. This script trains the same
network (two layers of 240 maxout units of 5 pieces) on MNIST with and without adversarial training, for few
epochs by Adam, and for few and many as in the maxout paper (Goodfellow et al., ICML 2013, section 5.1): by
dropout, a limit on the norm of each unit's weights, and momentum. The attack sees the same units dropped as
the loss, or others. It prints a Markdown table and what it shows. Each finished run is kept as JSON under
OUT, so an interrupted call goes on with what is missing.

A run is also stopped early, where the validation images are classified best: the clean ones, or after
adversarial training the attacked ones, as in the paper.

Differences from the papers: a cosine schedule; 50,000 training images at the end, too, where the papers go on
with all 60,000; no layers of 1,600 units, which the paper needed for its best result (0.782%).
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8
from mnist_classifiers import console
from run import run
from tables import markdown, spread

from evofool.classifiers import Classifier, create_classifier, with_dropout
from evofool.datasets import load_dataset
from evofool.files import replacing

EPSILON = 0.25
BATCH_SIZE = 128
FEW_EPOCHS = 5
ADAM_RATE = 2e-3
VALIDATION_IMAGES = 10_000
INPUT_DROPOUT, HIDDEN_DROPOUT = 0.2, 0.5
SGD_RATE, MOMENTUM = 0.1, 0.7
LARGEST_NORM = 1.9365
"""Of the weights into one piece of a unit; as the four above, from the settings of the maxout paper."""

REPORTED = {False: "0.94%", True: "0.84%"}


class Setting(NamedTuple):
    """One row of the table."""

    epochs: int
    regularised: bool  # by dropout and a limit on norms, with momentum; else by nothing, with Adam
    adversarial: bool
    other_units: bool = False  # whether the attack sees other units dropped than the loss


class Outcome(NamedTuple):
    """Errors in [0, 1]: at the end, and at the epoch of the lowest error on the validation images."""

    clean: float
    attacked: float
    clean_when_stopped: float
    attacked_when_stopped: float
    stopped_at: int


class Data(NamedTuple):
    """Images in 0..255 and labels."""

    images: UInt8[Array, "n 28 28 1"]
    labels: Int[Array, " n"]


def main(out: Path = Path("runs/adversarial-training"), epochs: int = 60, seeds: int = 3) -> None:
    """Train what is missing and print the table.

    Args:
        out: the folder of the finished runs.
        epochs: passes over 50,000 images in the long runs.
        seeds: runs of each setting.
    """
    mnist = load_dataset("mnist")
    images, labels = jnp.asarray(mnist.train_images), jnp.asarray(mnist.train_labels)
    training = Data(images[:-VALIDATION_IMAGES], labels[:-VALIDATION_IMAGES])
    validation = Data(images[-VALIDATION_IMAGES:], labels[-VALIDATION_IMAGES:])
    test = Data(jnp.asarray(mnist.test_images), jnp.asarray(mnist.test_labels))
    settings = [
        Setting(length, regularised, adversarial)
        for length, regularised in ((FEW_EPOCHS, False), (FEW_EPOCHS, True), (epochs, True))
        for adversarial in (False, True)
    ]
    settings.append(Setting(epochs, regularised=True, adversarial=True, other_units=True))
    outcomes: dict[Setting, list[Outcome]] = {setting: [] for setting in settings}
    for seed in range(seeds):
        for setting in settings:
            outcomes[setting].append(outcome_of(setting, seed, training, validation, test, out))
            print_table(outcomes, out / "tables.md")


def outcome_of(
    setting: Setting, seed: int, training: Data, validation: Data, test: Data, out: Path
) -> Outcome:
    """The outcome of a run, read from its file or trained."""
    recipe = "regularised" if setting.regularised else "plain"
    loss = training_of(setting).replace(" ", "-")
    path = out / f"{setting.epochs}-{recipe}-{loss}-{seed}.json"
    if path.is_file():
        return Outcome(**json.loads(path.read_text()))
    history = []
    for epoch, classifier in enumerate(trained(setting, seed, training), start=1):
        validated = (attacked_error if setting.adversarial else error)(classifier, validation)
        errors = (validated, error(classifier, test), attacked_error(classifier, test))
        history.append(tuple(map(float, errors)))
        console.print(f"{path.stem}: epoch {epoch}, errors {history[-1]}")
    stopped = int(np.argmin([validated for validated, _, _ in history]))
    outcome = Outcome(*history[-1][1:], *history[stopped][1:], stopped + 1)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(outcome._asdict()))
    return outcome


def trained(setting: Setting, seed: int, training: Data) -> Iterator[Classifier]:
    """The classifier after each epoch."""
    digits = tuple("0123456789")
    classifier = create_classifier("maxout", (28, 28, 1), digits, seed=seed)
    steps = len(training.labels) // BATCH_SIZE
    rate = optax.cosine_decay_schedule(SGD_RATE if setting.regularised else ADAM_RATE, setting.epochs * steps)
    optimizer = optax.sgd(rate, MOMENTUM) if setting.regularised else optax.adam(rate)
    state = optimizer.init(classifier)
    for epoch in range(setting.epochs):
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        classifier, state = one_epoch(optimizer, setting._replace(epochs=0), classifier, state, training, key)
        yield classifier


@partial(jax.jit, static_argnames=("optimizer", "setting"))
def one_epoch(
    optimizer: optax.GradientTransformation,
    setting: Setting,
    classifier: Classifier,
    state: PyTree,
    training: Data,
    key: Key[Array, ""],
) -> tuple[Classifier, PyTree]:
    """The classifier and the optimiser's state after a pass over the training images."""
    order_key, dropout_key = jax.random.split(key)
    steps = len(training.labels) // BATCH_SIZE
    order = jax.random.permutation(order_key, len(training.labels))[: steps * BATCH_SIZE]

    def loss(classifier: Classifier, images: Array, labels: Array, key: Key[Array, ""]) -> Array:
        scores = logits(classifier, images, key if setting.regularised else None)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    def total_loss(classifier: Classifier, images: Array, labels: Array, key: Key[Array, ""]) -> Array:
        clean = loss(classifier, images, labels, key)
        if not setting.adversarial:
            return clean
        # 0 and 1 are the keys of the pixels and of the hidden units.
        of_attack = jax.random.fold_in(key, 2) if setting.other_units else key
        slope = jax.grad(loss, argnums=1)(classifier, images, labels, of_attack)
        attacked = jax.lax.stop_gradient(jnp.clip(images + EPSILON * jnp.sign(slope), 0, 1))
        return (clean + loss(classifier, attacked, labels, key)) / 2

    def step(
        carry: tuple[Classifier, PyTree], batch: tuple[Array, Array]
    ) -> tuple[tuple[Classifier, PyTree], None]:
        classifier, state = carry
        chosen, number = batch
        images, labels = training.images[chosen] / 255, training.labels[chosen]
        key = jax.random.fold_in(dropout_key, number)
        gradient = jax.grad(total_loss)(classifier, images, labels, key)
        updates, state = optimizer.update(gradient, state)
        classifier = optax.apply_updates(classifier, updates)
        return (limited(classifier) if setting.regularised else classifier, state), None

    batches = order.reshape(steps, BATCH_SIZE), jnp.arange(steps)
    (classifier, state), _ = jax.lax.scan(step, (classifier, state), batches)
    return classifier, state


def logits(
    classifier: Classifier, images: Float[Array, "n h w c"], key: Key[Array, ""] | None
) -> Float[Array, "n 10"]:
    """Logits, with dropout of pixels and of hidden units where a key is given."""
    if key is None:
        return classifier.logits(images)
    pixel_key, hidden_key = jax.random.split(key)
    kept = jax.random.bernoulli(pixel_key, 1 - INPUT_DROPOUT, images.shape)
    images = jnp.where(kept, images / (1 - INPUT_DROPOUT), 0)
    return with_dropout(classifier, HIDDEN_DROPOUT, hidden_key).logits(images)


def limited(classifier: Classifier) -> Classifier:
    """The classifier with the norm of each column of a matrix at most `LARGEST_NORM`."""

    def limit(weights: Array) -> Array:
        if weights.ndim < 2:
            return weights
        norms = jnp.linalg.norm(weights, axis=0)
        return weights * jnp.minimum(1, LARGEST_NORM / (norms + 1e-7))

    return jax.tree.map(limit, classifier)


@jax.jit
def error(classifier: Classifier, data: Data) -> Float[Array, ""]:
    """The share of images that are misclassified."""
    return jnp.mean(logits(classifier, data.images / 255, None).argmax(axis=1) != data.labels)


@jax.jit
def attacked_error(classifier: Classifier, data: Data) -> Float[Array, ""]:
    """The same after a fast gradient sign step of 0.25."""

    def loss(images: Array) -> Array:
        scores = logits(classifier, images, None)
        return optax.softmax_cross_entropy_with_integer_labels(scores, data.labels).sum()

    images = data.images / 255
    attacked = jnp.clip(images + EPSILON * jnp.sign(jax.grad(loss)(images)), 0, 1)
    return jnp.mean(logits(classifier, attacked, None).argmax(axis=1) != data.labels)


def training_of(setting: Setting) -> str:
    """What the loss was taken of, in words."""
    if setting.other_units:
        return "adversarial through other units"
    return "adversarial" if setting.adversarial else "clean"


def print_table(outcomes: dict[Setting, list[Outcome]], path: Path) -> None:
    """Print the table so far and what it shows, and keep both."""
    heading = ("epochs", "regularised", "training", "clean error", "error under attack")
    heading += ("clean error, stopped early", "stopped at epoch", "clean error reported")
    rows = [
        (
            *(str(setting.epochs), "yes" if setting.regularised else "no"),
            training_of(setting),
            spread([each.clean for each in runs], "{:.2%}".format),
            spread([each.attacked for each in runs], "{:.2%}".format),
            spread([each.clean_when_stopped for each in runs], "{:.2%}".format),
            ", ".join(str(each.stopped_at) for each in runs),
            REPORTED[setting.adversarial] if setting.epochs > FEW_EPOCHS else "",
        )
        for setting, runs in outcomes.items()
        if runs
    ]
    text = "\n".join([markdown(heading, rows), "", *changes(outcomes)])
    path.write_text(f"{text}\n", encoding="utf-8")
    print(text, flush=True)


def changes(outcomes: dict[Setting, list[Outcome]]) -> Iterator[str]:
    """A sentence on each pair of settings: what adversarial training does to the clean error."""
    for setting, runs in outcomes.items():
        plain = outcomes[setting._replace(adversarial=False, other_units=False)]
        pairs = list(zip(plain, runs, strict=False))
        if not setting.adversarial or not pairs:
            continue
        recipe = "regularised" if setting.regularised else "not regularised"
        training = training_of(setting)
        change = spread([100 * (b.clean - a.clean) for a, b in pairs], "{:+.2f}".format)
        stopped = [100 * (b.clean_when_stopped - a.clean_when_stopped) for a, b in pairs]
        yield (
            f"- {setting.epochs} epochs, {recipe}, {training}: the clean error changes by {change} points, "
            f"stopped early by {spread(stopped, '{:+.2f}'.format)}."
        )


if __name__ == "__main__":
    run(main)
