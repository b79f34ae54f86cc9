"""The ways to fool a classifier that studies compare: evolution, and the attacks that follow gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, get_args

import jax
import numpy as np
import tyro
from jaxtyping import Bool, Float, Int, UInt8

from evofool.attacks import (
    AttackResult,
    DeepFoolOptions,
    FastGradientSignOptions,
    Goal,
    GradientAscentOptions,
    IteratedGradientSignOptions,
    LBFGSOptions,
    Targeted,
    UniversalOptions,
    Untargeted,
    deepfool,
    fast_gradient_sign,
    gradient_ascent,
    iterated_gradient_sign,
    lbfgs,
    noise_images,
    random_targets,
    universal_perturbation,
)
from evofool.attacks.attack import attacked_at_once
from evofool.classifiers import Classifier
from evofool.errors import UsageError, require_positive, require_share
from evofool.images import from_uint8, to_uint8
from evofool.numerics.batches import in_batches
from evofool.studies.evolving import evolved
from evofool.studies.work import Work

Way = Literal["direct", "cppn", "student", "ascent", "fgsm", "iterated", "universal", "deepfool", "lbfgs"]
"""A way to fool. The first four make images of nothing; the others change images."""

OF_NOTHING: tuple[Way, ...] = ("direct", "cppn", "student", "ascent")

Images = UInt8[np.ndarray, "n h w c"]
Changed = Float[np.ndarray, "n h w c"]


@dataclass(frozen=True)
class FoolingOptions:
    """How classifiers are fooled.

    Attributes:
        ways: direct, cppn, student (evolution) and ascent (gradients) make images of nothing; fgsm, iterated,
            universal, deepfool and lbfgs change images.
        count: how many images are changed.
        epsilon: the most that fgsm, iterated and universal change a pixel, in [0, 1].
        runs: independent runs of evolution, each of which makes an image for every class.
        generations: of each run; students have as many, with 50 images for each class.
        batch_size: images that each run scores in a generation.

    Raises:
        UsageError: a value is out of range, or there is no way.
    """

    ways: Annotated[tuple[Way, ...], tyro.conf.arg(metavar="WAY...")] = ("direct", "cppn", "fgsm", "deepfool")
    count: int = 1000
    epsilon: float = 0.1
    runs: int = 20
    generations: int = 400
    batch_size: int = 20

    def __post_init__(self) -> None:
        require_positive(
            count=self.count, runs=self.runs, generations=self.generations, batch_size=self.batch_size
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
    """

    images: Images
    classes: Int[np.ndarray, " n"]
    changes: Changed | None = None
    originals: Images | None = None
    labels: Int[np.ndarray, " n"] | None = None
    evaluations: Float[np.ndarray, " runs"] | None = None


class Seen(NamedTuple):
    """How a classifier sees images.

    Attributes:
        fooled: whether each image of nothing has more than 50% in some class, or each changed image is taken
            for anything but its label.
        same_class: whether it is fooled, and takes the image for what it was to be taken for.
        confidences: in the class that it takes each image for.
        wanted: the confidence in the class that the image was to be taken for.
    """

    fooled: Bool[np.ndarray, " n"]
    same_class: Bool[np.ndarray, " n"]
    confidences: Float[np.ndarray, " n"]
    wanted: Float[np.ndarray, " n"]


def fool(
    work: Work,
    step: str,
    way: Way,
    classifier: Classifier,
    images: Images,
    labels: Int[np.ndarray, " n"],
    options: FoolingOptions,
    seed: int = 0,
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
    """
    if way == "direct" or way == "cppn" or way == "student":
        targets = tuple(range(len(classifier.spec.class_names)))
        seeds = range(seed * options.runs, (seed + 1) * options.runs)
        size = 50 if way == "student" else options.batch_size
        found = evolved(
            work, step, classifier, way, seeds=seeds, generations=options.generations, batch_size=size
        )
        shape = found.images.shape[2:]
        return Fooling(
            found.images.reshape(-1, *shape),
            np.tile(targets, len(found.images)),
            evaluations=found.evaluations_to_99,
        )

    def attack() -> dict[str, np.ndarray]:
        if way == "ascent":
            targets = np.tile(np.arange(len(classifier.spec.class_names)), options.runs)
            start = noise_images(jax.random.key(seed), len(targets), classifier)
            result = gradient_ascent(classifier, start, Targeted(targets), GradientAscentOptions())
            return {"images": np.asarray(to_uint8(result.images)), "classes": targets}
        result = _CHANGES[way](classifier, images, labels, options, seed)
        return {
            "changes": np.asarray(result.images - result.originals),
            "classes": np.asarray(result.confidences.argmax(axis=1)),
        }

    arrays = work.arrays(step, attack)
    if way == "ascent":
        return Fooling(arrays["images"], arrays["classes"])
    made = Fooling(images, arrays["classes"], arrays["changes"], images, labels)
    return magnified(made, 1.0)


def see(classifier: Classifier, fooling: Fooling) -> Seen:
    """How a classifier sees images that were made to fool it, or another one.

    Args:
        classifier: takes images of this size.
        fooling: the images.
    """
    size = attacked_at_once(classifier.spec.input_shape)
    found = in_batches(lambda batch: _confidences(classifier, batch), from_uint8(fooling.images), size)
    confidences = np.asarray(found)
    taken_for, highest = confidences.argmax(axis=1), confidences.max(axis=1)
    fooled = highest > 0.5 if fooling.labels is None else taken_for != fooling.labels
    wanted = np.take_along_axis(confidences, fooling.classes[:, None], axis=1)[:, 0]
    return Seen(fooled, fooled & (taken_for == fooling.classes), highest, wanted)


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


@jax.jit
def _confidences(classifier: Classifier, images: Float[jax.Array, "n h w c"]) -> Float[jax.Array, "n k"]:
    return classifier(images)


_Change = Callable[[Classifier, Images, Int[np.ndarray, " n"], FoolingOptions, int], AttackResult]


def _random(classifier: Classifier, labels: Int[np.ndarray, " n"], seed: int) -> Goal:
    return Targeted(random_targets(jax.random.key(seed), labels, classifier))


_CHANGES: dict[Way, _Change] = {
    "fgsm": lambda classifier, images, labels, options, seed: fast_gradient_sign(
        classifier, from_uint8(images), Untargeted(labels), FastGradientSignOptions(options.epsilon)
    ),
    "iterated": lambda classifier, images, labels, options, seed: iterated_gradient_sign(
        classifier,
        from_uint8(images),
        Untargeted(labels),
        IteratedGradientSignOptions(40, change=2.5 * 255 * options.epsilon, epsilon=options.epsilon),
    ),
    "universal": lambda classifier, images, labels, options, seed: universal_perturbation(
        classifier,
        from_uint8(images),
        Untargeted(labels),
        UniversalOptions(options.epsilon, fooling_rate=1.0, seed=seed),
    ),
    "deepfool": lambda classifier, images, labels, options, seed: deepfool(
        classifier, from_uint8(images), Untargeted(labels), DeepFoolOptions()
    ),
    "lbfgs": lambda classifier, images, labels, options, seed: lbfgs(
        classifier, from_uint8(images), _random(classifier, labels, seed), LBFGSOptions()
    ),
}
