"""Attacks that only ask, beside Foolbox's and ART's: what they reach with the same number of queries."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.harness import Effort, NotInstalledError, Row, Table
from benchmarks.peers import needs
from evofool import Classifier, load_classifier
from evofool.attacks import (
    HopSkipJumpOptions,
    SquareOptions,
    Untargeted,
    hop_skip_jump,
    predicted_classes,
    square,
)
from evofool.datasets import load_dataset
from evofool.images import from_uint8

_BATCH = 64


class _Outcome(NamedTuple):
    """The images that an attack made, and the queries of each of them, or their mean alone."""

    images: np.ndarray
    queries: np.ndarray


class _Counted:
    """The classifier as a function of NumPy arrays that counts images."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.images = classifier, 0
        self._score = jax.jit(classifier.logits)

    def __call__(self, images: Any) -> np.ndarray:
        images = np.asarray(images, np.float32).clip(0, 1)
        self.images += len(images)
        parts = []
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            missing = max(2, 1 << (len(part) - 1).bit_length()) - len(part)
            filled = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
            parts.append(np.asarray(self._score(filled))[: len(part)])
        return np.concatenate(parts)


def queries(effort: Effort) -> Iterator[Table]:
    """Square and HopSkipJump on digits, beside ART and Foolbox, for as many queries (ART: steps).

    Square: the share of the digits that it misleads in a ball, and the queries that it took. HopSkipJump: the
    median length of the change. All digits are classified correctly at first.
    """
    classifier = load_classifier("lenet-digits")
    x, y = _digits(classifier, effort.size(10, 3))
    rows = []
    for norm, epsilon in effort.size((("linf", 0.15), ("l2", 2.0)), (("linf", 0.25),)):
        most = effort.size(300, 20)
        options = SquareOptions(norm=norm, epsilon=epsilon, max_queries=most)
        result = square(classifier, x, Untargeted(y), options)
        name = f"square, {norm} {epsilon:g}, {most} queries"
        ours = _Outcome(np.asarray(result.images), np.asarray(result.queries))
        rows += [_row(name, "evofool", classifier, x, y, ours)]
        rows += _peer(name, "ART", classifier, x, y, lambda: _art_square(classifier, x, y, options))  # noqa: B023
    steps = effort.size(4, 1)
    theirs: list[_Outcome] = []
    peer = _peer(
        "HopSkipJump, L2",
        "Foolbox",
        classifier,
        x,
        y,
        lambda: theirs.append(_foolbox_hop_skip_jump(classifier, x, y, steps)) or theirs[0],
    )
    most = int(theirs[0].queries.mean()) if theirs else 1000
    jumped = hop_skip_jump(classifier, x, Untargeted(y), HopSkipJumpOptions(max_queries=most))
    ours = _Outcome(np.asarray(jumped.images), np.asarray(jumped.queries))
    rows += [_row("HopSkipJump, L2", "evofool", classifier, x, y, ours), *peer]
    yield Table(f"Attacks that only ask, on {len(x)} digits against {classifier.spec.name}", rows)


def _digits(classifier: Classifier, count: int) -> tuple[jax.Array, jax.Array]:
    """Digits that are classified correctly."""
    dataset = load_dataset("digits")
    images, labels = from_uint8(dataset.test_images), np.asarray(dataset.test_labels)
    right = np.flatnonzero(np.asarray(predicted_classes(classifier, images)) == labels)[:count]
    return images[right], jax.numpy.asarray(labels[right])


def _row(name: str, by: str, classifier: Classifier, x: Any, y: Any, outcome: _Outcome) -> Row:
    wrong = np.asarray(predicted_classes(classifier, jax.numpy.asarray(outcome.images))) != np.asarray(y)
    change = (outcome.images - np.asarray(x)).reshape(len(x), -1)
    return {
        "attack": name,
        "by": by,
        "success": round(float(wrong.mean()), 3),
        "mean_queries": round(float(outcome.queries.mean()), 1),
        "median_queries": round(float(np.median(outcome.queries)), 1) if outcome.queries.size > 1 else "",
        "median_l2": round(float(np.median(np.linalg.norm(change, axis=1))), 3),
        "largest_linf": round(float(np.abs(change).max()), 3),
    }


def _peer(
    name: str, by: str, classifier: Classifier, x: Any, y: Any, attack: Callable[[], _Outcome]
) -> list[Row]:
    try:
        return [_row(name, by, classifier, x, y, attack())]
    except NotInstalledError as error:
        return [{"attack": name, "by": by, "note": str(error)}]


@needs("adversarial-robustness-toolbox")
def _art_square(classifier: Classifier, x: Any, y: Any, options: SquareOptions) -> _Outcome:
    """ART's, image by image, so that the queries of each are known."""
    from art.attacks.evasion import SquareAttack
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    counted = _Counted(classifier)
    model = BlackBoxClassifierNeuralNetwork(
        counted,
        x.shape[1:],
        len(classifier.spec.class_names),
        channels_first=False,
        clip_values=(0.0, 1.0),
    )
    np.random.seed(options.seed)  # noqa: NPY002
    made, asked = [], []
    for image, label in zip(np.asarray(x), np.asarray(y), strict=True):
        before = counted.images
        attack = SquareAttack(
            model,
            norm=np.inf if options.norm == "linf" else 2,
            eps=options.epsilon,
            max_iter=options.max_queries - 2,
            p_init=options.share,
            nb_restarts=1,
            verbose=False,
        )
        made.append(attack.generate(image[None], np.array([label]))[0])
        asked.append(counted.images - before)
    return _Outcome(np.stack(made), np.array(asked))


@needs("foolbox")
def _foolbox_hop_skip_jump(classifier: Classifier, x: Any, y: Any, steps: int) -> _Outcome:
    import eagerpy
    import foolbox

    counted = _Counted(classifier)
    model = foolbox.JAXModel(
        lambda images: jax.numpy.asarray(counted(images)), bounds=(0, 1), data_format="channels_last"
    )
    attack = foolbox.attacks.HopSkipJumpAttack(steps=steps, constraint="l2")
    _, images, _ = attack(model, eagerpy.astensor(x), eagerpy.astensor(y), epsilons=None)
    return _Outcome(np.asarray(images.raw), np.array([counted.images / len(x)]))
