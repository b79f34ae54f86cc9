"""The ways to fool a classifier that studies compare: evolution, and the attacks that follow gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple, get_args

import jax
import numpy as np
import tyro
from jaxtyping import Bool, Float, Int, UInt8

from evofool.attacks import (
    AttackResult,
    FastGradientSignOptions,
    Goal,
    GradientAscentOptions,
    IteratedGradientSignOptions,
    PGDOptions,
    SquareOptions,
    Targeted,
    UniversalOptions,
    Untargeted,
    deepfool,
    fast_gradient_sign,
    gradient_ascent,
    iterated_gradient_sign,
    lbfgs,
    noise_images,
    pgd,
    random_targets,
    square,
    universal_perturbation,
)
from evofool.classifiers import AnyClassifier, Classifier, confidences_in_batches
from evofool.errors import UsageError, require_positive, require_share
from evofool.images import from_uint8, to_uint8
from evofool.studies.evolving import evolved
from evofool.studies.work import Work

Way = Literal[
    "direct",
    "cppn",
    "student",
    "ascent",
    "fgsm",
    "iterated",
    "pgd",
    "square",
    "universal",
    "deepfool",
    "lbfgs",
]
"""A way to fool. The first four make images of nothing; the others change images."""

PGD_STEPS, PGD_RESTARTS = 40, 2
"""Of projected gradient descent: the paper's steps on MNIST, and starts."""

_STEPS = 40
"""Of iterated: as many as bring an image to 2.5 times the size of its ball, as Madry et al. (2018) do."""

OF_NOTHING: tuple[Way, ...] = ("direct", "cppn", "student", "ascent")

Images = UInt8[np.ndarray, "n h w c"]
Changed = Float[np.ndarray, "n h w c"]


@dataclass(frozen=True)
class FoolingOptions:
    """How classifiers are fooled.

    Attributes:
        ways: direct, cppn, student (evolution) and ascent (gradients) make images of nothing; fgsm, iterated,
            pgd, square, universal, deepfool and lbfgs change images.
        count: how many images are changed.
        epsilon: the most that fgsm, iterated, pgd, square and universal change a pixel, in [0, 1].
        runs: independent runs of evolution, each of which makes an image for every class.
        queries: the most images that square asks about for each image that it changes.
        generations: of each run; students have as many, with 50 images for each class.
        batch_size: images that each run scores in a generation.

    Raises:
        UsageError: a value is out of range, or there is no way.
    """

    ways: Annotated[tuple[Way, ...], tyro.conf.arg(metavar="WAY...")] = ("direct", "cppn", "fgsm", "deepfool")
    count: int = 1000
    epsilon: float = 0.1
    queries: int = 1000
    runs: int = 20
    generations: int = 400
    batch_size: int = 20

    def __post_init__(self) -> None:
        require_positive(
            count=self.count,
            queries=self.queries,
            runs=self.runs,
            generations=self.generations,
            batch_size=self.batch_size,
        )
        require_share(epsilon=self.epsilon)
        if not self.ways or len(set(self.ways)) != len(self.ways):
            raise UsageError(f"ways must be one or more of {', '.join(get_args(Way))}, each once")


class Fooling(NamedTuple):
    """Images that were made to fool a classifier.

    Attributes:
        images: with 8 bits.
        classes: what each is to be taken for: the class that it was evolved for, or else what the classifier
            takes the changed image for before it is rounded.
        changes: of each image, before it is rounded; None of images of nothing.
        originals: the images before the change; None of images of nothing.
        labels: their classes.
        evaluations: the images that each run of evolution had scored when the median over its classes
            reached 99%; nan where it never did, None of attacks.
        queries: how many images the classifier was asked about for each image; only of square.
    """

    images: Images
    classes: Int[np.ndarray, " n"]
    changes: Changed | None = None
    originals: Images | None = None
    labels: Int[np.ndarray, " n"] | None = None
    evaluations: Float[np.ndarray, " runs"] | None = None
    queries: Int[np.ndarray, " n"] | None = None


class Seen(NamedTuple):
    """How a classifier sees images.

    Attributes:
        fooled: whether each image of nothing has more than 50% in some class, or each changed image is taken
            for anything but its label.
        same_class: whether it is fooled, and takes the image for what it was to be taken for.
        confidences: in the class that it takes each image for.
        wanted: the confidence in the class that the image was to be taken for.
        classes: what it takes each image for.
    """

    fooled: Bool[np.ndarray, " n"]
    same_class: Bool[np.ndarray, " n"]
    confidences: Float[np.ndarray, " n"]
    wanted: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]


def fool(
    work: Work,
    step: str,
    way: Way,
    classifier: AnyClassifier,
    images: Images,
    labels: Int[np.ndarray, " n"],
    options: FoolingOptions,
    seed: int = 0,
    classes: int | None = None,
) -> Fooling:
    """Fool a classifier in one way, as a step of a study.

    Args:
        work: of the study.
        step: the name of the step.
        way: how to fool it.
        classifier: what to fool.
        images: what the ways that change images change, of the classifier's size.
        labels: the class of each.
        options: how far.
        seed: of everything that is random.
        classes: only the first so many classes are to be fooled into; those behind them reject an image. All
            by default. Then fgsm, iterated, pgd and lbfgs lead each image to the likeliest other of them.
    """
    count = len(classifier.spec.class_names)
    if way == "direct" or way == "cppn" or way == "student":
        targets = tuple(range(classes or count))
        seeds = range(seed * options.runs, (seed + 1) * options.runs)
        size = 50 if way == "student" else options.batch_size
        found = evolved(
            *(work, step, classifier, way),
            seeds=seeds,
            generations=options.generations,
            batch_size=size,
            targets=targets,
        )
        shape = found.images.shape[2:]
        return Fooling(
            found.images.reshape(-1, *shape),
            np.tile(targets, len(found.images)),
            evaluations=found.evaluations_to_99,
        )

    def attack() -> dict[str, np.ndarray]:
        if way == "ascent":
            assert isinstance(classifier, Classifier), "a black box has no gradient"
            targets = np.tile(np.arange(classes or count), options.runs)
            start = noise_images(jax.random.key(seed), len(targets), classifier)
            result = gradient_ascent(classifier, start, Targeted(targets), GradientAscentOptions())
            return {"images": np.asarray(to_uint8(result.images)), "classes": targets}
        goal: Goal = Untargeted(labels)
        if way in ("fgsm", "iterated", "pgd", "lbfgs") and classes not in (None, count):
            goal = Targeted(_likeliest_others(classifier, images, labels, classes or count))
        elif way == "lbfgs":
            goal = Targeted(random_targets(jax.random.key(seed), labels, classifier))
        result = _attack(way, options, seed)(classifier, from_uint8(images), goal)
        queries = {} if result.queries is None else {"queries": np.asarray(result.queries)}
        return {
            "changes": np.asarray(result.images - result.originals),
            "classes": np.asarray(result.confidences.argmax(axis=1)),
            **queries,
        }

    arrays = work.arrays(step, attack)
    if way == "ascent":
        return Fooling(arrays["images"], arrays["classes"])
    queries = arrays.get("queries")
    made = Fooling(images, arrays["classes"], arrays["changes"], images, labels, queries=queries)
    return magnified(made, 1.0)


def see(classifier: AnyClassifier, fooling: Fooling, classes: int | None = None) -> Seen:
    """How a classifier sees images that were made to fool it, or another one.

    Args:
        classifier: takes images of this size.
        fooling: the images.
        classes: only the first so many classes count; what is taken for another is rejected. All by default.
    """
    confidences = np.asarray(confidences_in_batches(classifier, from_uint8(fooling.images)))
    taken_for, highest = confidences.argmax(axis=1), confidences.max(axis=1)
    fooled = highest > 0.5 if fooling.labels is None else taken_for != fooling.labels
    fooled &= taken_for < (classes or confidences.shape[1])
    wanted = np.take_along_axis(confidences, fooling.classes[:, None], axis=1)[:, 0]
    return Seen(fooled, fooled & (taken_for == fooling.classes), highest, wanted, taken_for)


def magnified(fooling: Fooling, factor: float) -> Fooling:
    """The images with their changes multiplied, as far as pixels allow; images of nothing as they are."""
    if fooling.originals is None or fooling.changes is None:
        return fooling
    changed = np.clip(fooling.originals / np.float32(255) + factor * fooling.changes, 0, 1)
    return fooling._replace(images=np.asarray(to_uint8(changed)), changes=factor * fooling.changes)


def with_noise(fooling: Fooling, seed: int) -> Fooling:
    """The originals with Gaussian noise of the size of each change, in place of the change.

    This is the control of Szegedy et al. (ICLR 2014, section 4.2). Noise that leaves [0, 1] is clipped.
    """
    assert fooling.originals is not None
    before = fooling.originals / 255
    change = fooling.images / 255 - before
    noise = np.random.default_rng(seed).normal(size=change.shape)
    deviation = np.sqrt(np.square(change).mean(axis=(1, 2, 3), keepdims=True))
    noisy = np.clip(before + deviation * noise, 0, 1)
    return fooling._replace(images=np.rint(255 * noisy).astype(np.uint8))


def _likeliest_others(
    classifier: AnyClassifier, images: Images, labels: Int[np.ndarray, " n"], classes: int
) -> Int[np.ndarray, " n"]:
    confidences = np.asarray(confidences_in_batches(classifier, from_uint8(images)))[:, :classes]
    return np.where(np.arange(classes) == labels[:, None], -1, confidences).argmax(axis=1)


def _attack(way: Way, options: FoolingOptions, seed: int) -> Callable[..., AttackResult]:
    """The attack of a way, with its options."""
    size = options.epsilon
    if way == "fgsm":
        return partial(fast_gradient_sign, options=FastGradientSignOptions(size))
    if way == "iterated":
        steps = IteratedGradientSignOptions(_STEPS, change=2.5 * 255 * size, epsilon=size)
        return partial(iterated_gradient_sign, options=steps)
    if way == "pgd":
        return partial(pgd, options=PGDOptions(size, steps=PGD_STEPS, restarts=PGD_RESTARTS, seed=seed))
    if way == "square":
        asking = SquareOptions(epsilon=size, max_queries=options.queries, seed=seed)
        return partial(square, options=asking)
    if way == "universal":
        return partial(universal_perturbation, options=UniversalOptions(size, fooling_rate=1.0, seed=seed))
    return lbfgs if way == "lbfgs" else deepfool
