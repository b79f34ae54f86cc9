"""Images of nothing that a classifier is certain about: evolved ones, and noise."""

from typing import Literal, get_args

import numpy as np

from evofool.images import to_uint8
from evofool.studies.audit.result import Found, Picture, Section, confidence_text, percent
from evofool.studies.audit.subject import Audited
from evofool.studies.certainty import NOISE_BLOCK, Certainty, Noise, certainty_about_noise, noise_images_at
from evofool.studies.evolving import evolved
from evofool.studies.study import Cell, Column, Row, Table

MOST_SHOWN = 40
"""Images of a gallery, at most."""

LEAST_NOISE = 2 * NOISE_BLOCK
"""Images of noise that are classified together, of both kinds."""

_CERTAIN = 0.99
_SUREST_NOISE = 8
_WORDS = {"direct": "evolved pixels", "cppn": "evolved patterns"}
_CLASSES = {
    "class": Column("class"),
    "confidence": Column("confidence", confidence_text),
    "queries": Column("found after queries", "{:,}".format),
}
_NOISE = {
    "noise": Column("noise"),
    "count": Column("images", "{:,}".format),
    "share_above_50": Column("above 50%", "{:.2%}".format),
    "share_above_99": Column("above 99%", "{:.2%}".format),
    "highest": Column("highest", confidence_text),
    "commonest_class": Column("commonest class"),
    "commonest_share": Column("its share", "{:.0%}".format),
}


def evolution(audited: Audited, queries: int, encoding: Literal["direct", "cppn"]) -> Found:
    """Evolve an image for every class by MAP-Elites (Nguyen, Yosinski & Clune, CVPR 2015).

    Args:
        audited: the classifier.
        queries: the most images that the classifier is shown; at least those of one generation.
        encoding: "direct", which evolves pixels, or "cppn", which evolves patterns.
    """
    size = audited.effort.batch_size
    generations = queries // size
    seed = audited.options.seed
    found = evolved(
        *(audited.work, encoding, audited.classifier, encoding),
        seeds=range(seed, seed + 1),
        generations=generations,
        batch_size=size,
    )
    images, confidences, when = found.images[0], found.confidences[0], found.evaluations[0]
    names, words = audited.names, _WORDS[encoding]
    order = np.argsort(-confidences, kind="stable")
    above, median = float(np.mean(confidences > _CERTAIN)), float(np.median(confidences))
    sentences = [
        f"For {int((confidences > _CERTAIN).sum())} of {len(names)} classes there is an image of {words} "
        f"that shows nothing and that the classifier is more than {_CERTAIN:.0%} certain about. The median "
        f"over the classes is {confidence_text(median)}, after {generations * size:,} queries "
        "for all of them together."
    ]
    gallery = [
        [
            Picture(
                images[index],
                f"{words}, taken for {names[index]}",
                (names[index], confidence_text(confidences[index])),
            )
        ]
        for index in order[:MOST_SHOWN]
    ]
    rows = [
        Row({"class": names[i], "confidence": float(confidences[i]), "queries": int(when[i])}) for i in order
    ]
    title = f"{words[0].upper()}{words[1:]}"
    caption = f"The {len(gallery)} surest" if len(gallery) < len(names) else "One for each class"
    return Found(
        Section(title, sentences, {caption: gallery}, tables={title: Table(_CLASSES, rows)}),
        {f"{encoding}_above_99": above, f"{encoding}_median_confidence": median},
        generations * size,
        {encoding: confidences},
    )


def noise(audited: Audited, queries: int) -> Found:
    """Show the classifier noise: the rubbish class of Goodfellow, Shlens & Szegedy (ICLR 2015).

    Args:
        audited: the classifier.
        queries: the most images, of both kinds together; at least `LEAST_NOISE`.
    """
    seed, count = audited.options.seed, min(audited.effort.noise, queries // LEAST_NOISE * NOISE_BLOCK)
    figures: dict[str, float] = {}
    confidences, gallery, rows, shares = {}, [], [], []
    for kind in get_args(Noise):
        about = _certainty(audited, kind, count)
        share, (commonest, its_share) = about.share_above(0.5), about.commonest()
        shares.append(f"{percent(share)} of {kind if kind == 'uniform' else 'Gaussian'} noise")
        figures[f"{kind}_noise_above_50"] = share
        confidences[f"{kind}_noise"] = about.confidences
        cells: dict[str, Cell] = {"noise": kind, "count": count, "share_above_50": share}
        cells |= {"share_above_99": about.share_above(_CERTAIN), "highest": float(about.confidences.max())}
        rows.append(Row(cells | {"commonest_class": audited.names[commonest], "commonest_share": its_share}))
        surest = about.surest(_SUREST_NOISE)
        drawn = to_uint8(noise_images_at(audited.classifier, kind, surest, seed=seed))
        for index, image in zip(surest, drawn, strict=True):
            name = audited.names[about.classes[index]]
            lines = (name, confidence_text(about.confidences[index]))
            gallery.append([Picture(image, f"{kind} noise, taken for {name}", lines)])
    sentences = [
        f"The classifier sees something in {' and in '.join(shares)}: it is more than 50% certain of some "
        f"class. Of each kind it was shown {count:,} images."
    ]
    section = Section("Noise", sentences, {"The noise that it is surest of": gallery})
    return Found(
        section._replace(tables={"Noise": Table(_NOISE, rows)}), figures, noise_queries(count), confidences
    )


def noise_queries(count: int) -> int:
    """The queries of `noise` for some images of each kind, which are classified in blocks."""
    return -(-count // NOISE_BLOCK) * LEAST_NOISE


def _certainty(audited: Audited, kind: Noise, count: int) -> Certainty:
    def ask() -> dict[str, np.ndarray]:
        seed = audited.options.seed
        return certainty_about_noise(audited.classifier, kind, count=count, seed=seed)._asdict()

    kept = audited.work.arrays(f"noise/{kind}", ask)
    return Certainty(kept["confidences"], kept["classes"])
