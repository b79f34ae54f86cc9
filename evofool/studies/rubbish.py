"""How certain is a classifier about images that show nothing at all?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, Int

from evofool.attacks.attack import attacked_at_once
from evofool.classifiers import Classifier, load_classifier
from evofool.datasets import load_dataset
from evofool.errors import UsageError, require_choice, require_positive, require_seed, require_share
from evofool.files import unique
from evofool.images import from_uint8, image_files, load_photograph, round_to_8_bits, to_uint8
from evofool.numerics.batches import in_batches
from evofool.report import contact_sheet, format_confidence
from evofool.studies.study import Column, Figure, Row, StudyResult, Table

Noise = Literal["uniform", "gaussian"]
"""Noise images: every value uniform in [0, 1], or Gaussian around one half."""

# So wide that half of the values are clipped to black or white: with less the images are uniformly grey.
_GAUSSIAN_DEVIATION = 0.75
_BLOCK = 64
"""The number of noise images that share a key."""
_SUREST = 8
_COLUMNS = {
    "classifier": Column("classifier"),
    "images": Column("images"),
    "count": Column("count", "{:,}".format),
    "threshold": Column("threshold", "{:.4g}".format),
    "share_above": Column("above", "{:.2%}".format),
    "mean_confidence_above": Column("mean above", format_confidence),
    "share_above_99": Column("above 99%", "{:.2%}".format),
    "commonest_class": Column("commonest"),
    "commonest_share": Column("share", "{:.0%}".format),
}
_REPORTED = (
    Row(
        {
            "classifier": "maxout (MNIST)",
            "images": "gaussian noise",
            "count": 10_000,
            "threshold": 0.5,
            "share_above": 0.9835,
            "mean_confidence_above": 0.928,
        },
        reported="Goodfellow, Shlens & Szegedy (ICLR 2015), appendix A",
    ),
    Row(
        {"classifier": "a network", "images": "noise", "mean_confidence_above": "high"}
        | {"commonest_class": "horse", "commonest_share": 0.7},
        reported="question-and-answer thread",
    ),
)
_DIFFERENCES = (
    "Goodfellow et al. draw noise from N(0, 1) without limits; here images stay in [0, 1] and have 8 bits: "
    f"Gaussian noise has the mean 0.5 and the standard deviation {_GAUSSIAN_DEVIATION} and is clipped.",
    "Their maxout network is not one of these classifiers.",
)


@dataclass(frozen=True)
class RubbishOptions:
    """Which classifiers see how much noise, and which images it is compared with.

    Attributes:
        classifiers: names, or .safetensors files.
        dataset: digits, mnist or a folder with a folder of images per class: test images to compare with.
        images: photographs to compare with, of any size and format, or folders of them.
        count: the number of images of uniform noise, and of Gaussian noise.
        threshold: the confidence above which an image counts as recognised, in [0, 1].
        seed: of the noise.

    Raises:
        UsageError: a value is out of range, or there are no classifiers.
    """

    classifiers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE...")] = ("lenet-digits",)
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME|FOLDER")] = None
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE|FOLDER...")] = ()
    count: int = 10_000
    threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(count=self.count)
        require_seed(self.seed)
        require_share(threshold=self.threshold)
        if not self.classifiers:
            raise UsageError("classifiers must name at least one")


def rubbish(options: RubbishOptions) -> StudyResult:
    """Show classifiers noise: the rubbish class of Goodfellow et al. (ICLR 2015, section 7 and appendix A).

    A classifier that knows its limits would be certain about none of it.

    Args:
        options: the classifiers, the noise, and the images to compare with.

    Raises:
        UsageError: a classifier or a dataset is unknown, or their sizes differ.
        EvofoolError: a file cannot be read.
    """
    classifiers = [load_classifier(name) for name in options.classifiers]
    compared = [dict(_certainty_about_images(options, classifier)) for classifier in classifiers]
    rows, figures = [], {}
    names = unique([classifier.spec.name for classifier in classifiers])
    for name, classifier, about_images in zip(names, classifiers, compared, strict=True):
        about_noise = {
            noise: certainty_about_noise(classifier, noise, count=options.count, seed=options.seed)
            for noise in get_args(Noise)
        }
        everything = {f"{noise} noise": found for noise, found in about_noise.items()} | about_images
        rows += [_row(options, classifier, images, found) for images, found in everything.items()]
        figures[f"The noise that {name} is surest of"] = _surest(options, classifier, about_noise)
    table = Table(_COLUMNS, [*rows, *_REPORTED])
    return StudyResult({"Certainty about noise": table}, figures, _DIFFERENCES)


class Certainty(NamedTuple):
    """How certain a classifier is about images, noise or anything else.

    Attributes:
        confidences: the highest confidence in any class, image by image, in [0, 1].
        classes: the class that has it, as an index.
    """

    confidences: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]

    def share_above(self, threshold: float) -> float:
        """The share of the images about which the classifier is more certain than `threshold`.

        Goodfellow et al. count noise as an error where any class has more than one half.
        """
        return float(np.mean(self.confidences > threshold))

    def mean_confidence_above(self, threshold: float) -> float:
        """The mean confidence on the images that `share_above` counts; nan if there are none."""
        above = self.confidences > threshold
        return float(self.confidences[above].mean()) if above.any() else float("nan")

    def class_shares(self, count: int) -> Float[np.ndarray, " count"]:
        """The share of the images that each of `count` classes gets."""
        return np.bincount(self.classes, minlength=count) / len(self.classes)


def certainty(classifier: Classifier, images: Float[Array, "n h w c"]) -> Certainty:
    """How certain a classifier is about images.

    Args:
        classifier: the classifier in question.
        images: values in [0, 1], at least one.

    Raises:
        UsageError: there are no images, or they are not of the classifier's size.

    Example:
        >>> certainty(load_classifier("lenet-digits"), jnp.zeros((1, 28, 28, 1))).classes.shape
        (1,)
    """
    found = in_batches(partial(_likeliest, classifier), images, attacked_at_once(classifier.spec.input_shape))
    return Certainty(*map(np.asarray, found))


def certainty_about_noise(
    classifier: Classifier, noise: Noise = "uniform", *, count: int = 10_000, seed: int = 0
) -> Certainty:
    """How certain a classifier is about noise images.

    The images are rounded to 8 bits before they are classified, so that those of `noise_images_at` can be
    saved as they were.

    Args:
        classifier: the classifier in question.
        noise: "uniform" in [0, 1], or "gaussian": around 0.5 with a standard deviation of 0.75, clipped to
            [0, 1], which half of the values leave.
        count: the number of images, at least one.
        seed: of the noise. The first images are the same for any count.

    Raises:
        UsageError: an unknown noise, a count that is not positive, or a seed beyond 32 bits.

    Example:
        >>> found = certainty_about_noise(load_classifier("lenet-digits"), count=100)
        >>> found.share_above(0.0), len(found.class_shares(10))
        (1.0, 10)
    """
    require_positive(count=count)
    blocks = jnp.arange(-(-count // _BLOCK))
    size = max(1, attacked_at_once(classifier.spec.input_shape) // _BLOCK)

    def of_blocks(blocks: Int[Array, " b"]) -> tuple[Float[Array, "b m"], Int[Array, "b m"]]:
        images = _blocks_of_noise(classifier.spec.input_shape, noise, seed, blocks)
        confidences, classes = _likeliest(classifier, images.reshape(-1, *classifier.spec.input_shape))
        return confidences.reshape(-1, _BLOCK), classes.reshape(-1, _BLOCK)

    found = in_batches(of_blocks, blocks, size)
    return Certainty(*(np.asarray(values).ravel()[:count] for values in found))


def noise_images_at(
    classifier: Classifier, noise: Noise, indices: Sequence[int], *, seed: int = 0
) -> Float[Array, "n h w c"]:
    """Some of the images that `certainty_about_noise` classifies, for instance the surest ones.

    Args:
        classifier: gives their size.
        noise: "uniform" or "gaussian".
        indices: which of them, counted from 0.
        seed: of the noise.

    Example:
        >>> classifier = load_classifier("lenet-digits")
        >>> found = certainty_about_noise(classifier, count=100)
        >>> surest = noise_images_at(classifier, "uniform", [int(found.confidences.argmax())])
        >>> abs(float(classifier(surest).max()) - float(found.confidences.max())) < 1e-5
        True
    """
    images = [
        _blocks_of_noise(classifier.spec.input_shape, noise, seed, jnp.array([index // _BLOCK]))[
            0, index % _BLOCK
        ]
        for index in indices
    ]
    return jnp.stack(images)


@jax.jit
def _likeliest(
    classifier: Classifier, images: Float[Array, "n h w c"]
) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    confidences = classifier(images)
    return confidences.max(axis=1), confidences.argmax(axis=1)


def _blocks_of_noise(
    shape: tuple[int, int, int], noise: Noise, seed: int, blocks: Int[Array, " b"]
) -> Float[Array, "b m h w c"]:
    require_seed(seed)
    require_choice(get_args(Noise), noise=noise)

    def block(number: Int[Array, ""]) -> Float[Array, "m h w c"]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        if noise == "uniform":
            return jax.random.uniform(key, (_BLOCK, *shape))
        return jnp.clip(0.5 + _GAUSSIAN_DEVIATION * jax.random.normal(key, (_BLOCK, *shape)), 0, 1)

    return round_to_8_bits(jax.vmap(block)(blocks))


def _certainty_about_images(
    options: RubbishOptions, classifier: Classifier
) -> Iterator[tuple[str, Certainty]]:
    shape = classifier.spec.input_shape
    if options.dataset is not None:
        images = load_dataset(options.dataset).test_images[:]
        if images.shape[1:] != shape:
            raise UsageError(
                f"{classifier.spec.name} takes images of {shape}, but those of {options.dataset} are of "
                f"{images.shape[1:]}: compare with photographs, which are resized"
            )
        yield "test images", certainty(classifier, from_uint8(images))
    if options.images:
        levels = np.stack([load_photograph(path, shape) for path in image_files(options.images)])
        yield "photographs", certainty(classifier, from_uint8(levels))


def _row(options: RubbishOptions, classifier: Classifier, images: str, found: Certainty) -> Row:
    shares = found.class_shares(len(classifier.spec.class_names))
    return Row(
        {
            "classifier": classifier.spec.name,
            "images": images,
            "count": len(found.classes),
            "threshold": options.threshold,
            "share_above": found.share_above(options.threshold),
            "mean_confidence_above": found.mean_confidence_above(options.threshold),
            "share_above_99": found.share_above(0.99),
            "commonest_class": classifier.spec.class_names[int(shares.argmax())],
            "commonest_share": float(shares.max()),
        }
    )


def _surest(options: RubbishOptions, classifier: Classifier, about_noise: dict[Noise, Certainty]) -> Figure:
    """The images of each noise that a classifier is surest of, a row for each."""
    images, names, confidences = [], [], []
    for noise, found in about_noise.items():
        surest = np.argsort(-found.confidences, kind="stable")[:_SUREST].tolist()
        images.append(to_uint8(noise_images_at(classifier, noise, surest, seed=options.seed)))
        names += [classifier.spec.class_names[index] for index in found.classes[surest]]
        confidences.append(found.confidences[surest])
    return partial(
        contact_sheet,
        images=np.concatenate(images),
        names=names,
        confidences=np.concatenate(confidences),
        columns=min(_SUREST, options.count),
        subtitle=f"uniform above, Gaussian below; of {options.count:,} images each",
    )
