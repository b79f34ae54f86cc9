"""How certain is a classifier about images that show nothing at all?"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, get_args

import numpy as np
import tyro

from evofool.classifiers import Classifier
from evofool.errors import UsageError, require_positive, require_seed, require_share
from evofool.files import unique
from evofool.images import from_uint8, to_uint8
from evofool.report import contact_sheet, format_confidence
from evofool.studies.certainty import (
    GAUSSIAN_DEVIATION,
    Certainty,
    Noise,
    certainty,
    certainty_about_noise,
    noise_images_at,
)
from evofool.studies.pictures import load_pictures
from evofool.studies.study import Cell, Column, Figure, Row, StudyResult, Table, reported
from evofool.studies.work import Work

_SUREST = 8
_COLUMNS = {
    "classifier": Column("classifier"),
    "images": Column("images"),
    "count": Column("count", "{:,}".format),
    "share_above": Column("above the threshold", "{:.2%}".format),
    "mean_confidence_above": Column("mean above", format_confidence),
    "share_above_99": Column("above 99%", "{:.2%}".format),
    "commonest_class": Column("commonest"),
    "commonest_share": Column("share", "{:.0%}".format),
}
_PAPER = "Goodfellow, Shlens & Szegedy (ICLR 2015), appendix A: a maxout network, MNIST"
_REPORTED = (
    reported(_PAPER, images="gaussian noise", count=10_000, share_above=0.9835, mean_confidence_above=0.928),
    reported("question-and-answer thread", images="noise", commonest_class="horse", commonest_share=0.7),
)
_DIFFERENCES = (
    "Goodfellow et al. draw noise from N(0, 1) without limits; here images stay in [0, 1] and have 8 bits: "
    f"Gaussian noise has the mean 0.5 and the standard deviation {GAUSSIAN_DEVIATION} and is clipped.",
    "Their maxout network is not one of these classifiers.",
)


@dataclass(frozen=True)
class RubbishOptions:
    """Which classifiers see how much noise, and which images it is compared with.

    Attributes:
        classifiers: names, files of models, or compositions of them.
        images: what to compare with: datasets, folders, photographs, or directories of runs and attacks.
        count: the number of images of uniform noise, and of Gaussian noise.
        threshold: the confidence above which an image counts as recognised, in [0, 1].
        seed: of the noise.

    Raises:
        UsageError: a value is out of range, or there are no classifiers.
    """

    classifiers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE|COMPOSITION...")] = (
        "lenet-digits",
    )
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE|FOLDER...")] = ()
    count: int = 10_000
    threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(count=self.count)
        require_seed(self.seed)
        require_share(threshold=self.threshold)
        if not self.classifiers:
            raise UsageError("classifiers must name at least one")


def rubbish(options: RubbishOptions, work: Work) -> StudyResult:
    """Show classifiers noise: the rubbish class of Goodfellow et al. (ICLR 2015, section 7 and appendix A).

    Args:
        options: the classifiers, the noise, and the images to compare with.
        work: loads the classifiers.
    """
    classifiers = [work.load_classifier(name) for name in options.classifiers]
    sets = load_pictures(options.images)
    rows, figures, notes = [], {}, list(_DIFFERENCES)
    names = unique([classifier.spec.name for classifier in classifiers])
    noises = [f"{noise} noise" for noise in get_args(Noise)]
    set_names = unique([*noises, *(pictures.name for pictures in sets)])[len(noises) :]
    for name, classifier in work.each(list(zip(names, classifiers, strict=True)), "classifier"):
        found = {
            name_of_noise: certainty_about_noise(classifier, noise, count=options.count, seed=options.seed)
            for name_of_noise, noise in zip(noises, get_args(Noise), strict=True)
        }
        figures[f"The noise that {name} is surest of"] = _surest(options, classifier, found)
        for set_name, pictures in zip(set_names, sets, strict=True):
            fitted = pictures.fitted(classifier)
            found[set_name] = certainty(classifier, from_uint8(fitted.images))
            notes += fitted.notes
        for images, about in found.items():
            commonest, share = about.commonest()
            cells: dict[str, Cell] = {"classifier": name, "images": images, "count": len(about.classes)}
            cells["share_above"] = about.share_above(options.threshold)
            cells["mean_confidence_above"] = about.mean_confidence_above(options.threshold)
            cells |= {"share_above_99": about.share_above(0.99), "commonest_share": share}
            rows.append(Row(cells | {"commonest_class": classifier.spec.class_names[commonest]}))
    notes.append(f"The threshold is {options.threshold:.4g}; that of Goodfellow et al. is 0.5.")
    return StudyResult({"Certainty about noise": Table(_COLUMNS, [*rows, *_REPORTED])}, figures, notes)


def _surest(options: RubbishOptions, classifier: Classifier, found: dict[str, Certainty]) -> Figure:
    """The images of each noise that a classifier is surest of, a row for each."""
    images, names, confidences = [], [], []
    for noise, about in zip(get_args(Noise), found.values(), strict=True):
        surest = about.surest(_SUREST)
        images.append(to_uint8(noise_images_at(classifier, noise, surest, seed=options.seed)))
        names += [classifier.spec.class_names[index] for index in about.classes[surest]]
        confidences.append(about.confidences[surest])
    arrays = (np.concatenate(images), names, np.concatenate(confidences))
    subtitle = f"uniform above, Gaussian below; of {options.count:,} images each"
    return partial(contact_sheet, *arrays, columns=min(_SUREST, options.count), subtitle=subtitle)
