"""Small changes that mislead a classifier about images that it recognises."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from evofool.attacks import fooling_rate
from evofool.classifiers import Classifier
from evofool.images import to_uint8
from evofool.report.attacks import amplified, epsilon_plot
from evofool.studies.audit.result import (
    CURVES,
    ROBUST,
    Balls,
    Found,
    Picture,
    Section,
    Survival,
    confidence_text,
    percent,
)
from evofool.studies.audit.subject import Audited
from evofool.studies.fooling import (
    PGD_RESTARTS,
    PGD_STEPS,
    Fooling,
    FoolingOptions,
    Seen,
    Way,
    fool,
    see,
)
from evofool.studies.pictures import of_dataset
from evofool.studies.study import Cell, Column, Row, Table
from evofool.studies.universal import UniversalStudyOptions, random_signs, universal_change

_EXAMPLES = 6
_PGD_QUERIES = PGD_RESTARTS * (2 * PGD_STEPS + 2)
"""Of each image: the image and its gradient in each step, and the images before and after."""

_SEEN = 1
"""Of each image: once more as it is saved."""

_LEAST_ASKED = 50
_ASKED = {
    "epsilon": Column("epsilon", "{:.4g}".format),
    "share": Column("recognised images that it misleads", percent),
    "median": Column("median queries for these", "{:,.0f}".format),
}
_SIZES = {
    "attack": Column("attack"),
    "epsilon": Column("epsilon", "{:.4g}".format),
    "levels": Column("levels of 255", "{:.3g}".format),
    "accuracy": Column("still classified correctly", percent),
    "computed": Column("before saving", percent),
}
_SMALLEST = {
    "what": Column("quantile"),
    "l2": Column("Euclidean length", "{:.3g}".format),
    "linf": Column("largest change of a pixel, in levels of 255", "{:.3g}".format),
}
_UNIVERSAL = {
    "change": Column("change"),
    "share": Column("held-out images whose class changes", percent),
}


def gradients(audited: Audited, queries: int) -> Found:
    """Follow gradients within balls of several sizes: projected gradient descent (Madry et al. 2018).

    Args:
        audited: the classifier.
        queries: at least `gradient_queries(audited)`.
    """
    scales = audited.effort.scales
    found = _within_balls(audited, "pgd", "Along the gradient", "projected gradient descent", scales)
    (survival,) = found.survival
    return found._replace(figures={"attacked_survives_saving": survival.share})


def gradient_queries(audited: Audited) -> int:
    """The most queries of `gradients`."""
    return len(audited.effort.scales) * int(audited.right.sum()) * _PGD_QUERIES


def asking(audited: Audited, queries: int) -> Found:
    """Ask about random squares within balls of several sizes (Andriushchenko et al., ECCV 2020).

    Args:
        audited: the classifier.
        queries: at least `least_asking(audited)`; each image gets an equal share.
    """
    scales = audited.effort.asked_scales
    each = min(audited.effort.queries, queries // (len(scales) * int(audited.right.sum())) - _SEEN)
    found = _within_balls(audited, "square", "By asking alone", "the square attack", scales, each)
    assert found.balls is not None
    robust = 1 - float(found.balls.saved[scales.index(1.0)].mean())
    return found._replace(figures={"robust_accuracy_asked": robust})


def asking_queries(audited: Audited) -> int:
    """The most queries of `asking`."""
    effort = audited.effort
    return len(effort.asked_scales) * int(audited.right.sum()) * (effort.queries + _SEEN)


def least_asking(audited: Audited) -> int:
    """The fewest queries with which `asking` finds anything."""
    return len(audited.effort.asked_scales) * int(audited.right.sum()) * (_LEAST_ASKED + _SEEN)


def _within_balls(
    audited: Audited, way: Way, title: str, by: str, scales: Sequence[float], queries: int | None = None
) -> Found:
    """Attack within balls of several sizes, with so many queries for each image, or else along gradients."""
    sizes = [min(1.0, scale * audited.epsilon) for scale in scales]
    masks: dict[str, list[Bool[np.ndarray, " n"]]] = {"computed": [], "saved": []}
    examples: Mapping[str, Sequence[Sequence[Picture]]] = {}
    confidences: dict[str, Float[np.ndarray, " n"]] = {}
    survival, asked = [], []
    rows = []
    for size in audited.work.each(sizes, f"size of {by}"):
        made, seen = _misled(audited, way, f"{way}/{size:.6g}", size, queries)
        for name, mask in (("computed", made.classes != made.labels), ("saved", seen.fooled)):
            whole = ~audited.right
            whole[audited.right] = mask
            masks[name].append(masks[name][-1] | whole if masks[name] else whole)
        each = _PGD_QUERIES if made.queries is None else made.queries + _SEEN
        asked.append(int(np.sum(np.broadcast_to(each, len(made.images)))))
        if made.queries is not None:
            misled = made.queries[seen.fooled].astype(float)
            rows.append(
                Row({"epsilon": size, "share": float(seen.fooled.mean()), "median": _quantile(misled, 0.5)})
            )
        if size == audited.epsilon:
            survival = [_survival(by, made, seen)]
            confidences = {"attacked" if queries is None else "asked": seen.confidences[seen.fooled]}
            examples = _examples(audited, made, seen)
    balls = Balls(by, sizes, np.stack(masks["computed"]), np.stack(masks["saved"]))
    left = 1 - float(balls.saved[sizes.index(audited.epsilon)].mean())
    sentences = [
        f"When {by} may change each pixel by {audited.size_in_words}, {percent(left)} of the test images are "
        "still classified correctly."
    ]
    tables = {}
    if queries is not None:
        sentences.append(f"It follows no gradient: it asks about at most {queries:,} images for each.")
        tables = {"Queries of the square attack": Table(_ASKED, rows)}
    section = Section(title, sentences, examples, tables=tables)
    return Found(section, {}, sum(asked), confidences, survival, balls)


def smallest(audited: Audited, queries: int) -> Found:
    """Look for the smallest change of each image by DeepFool (Moosavi-Dezfooli et al., CVPR 2016).

    Args:
        audited: the classifier.
        queries: at least `smallest_queries(audited)`.
    """
    made, seen = _misled(audited, "deepfool", "smallest", audited.epsilon)
    assert made.changes is not None
    misled = made.classes != made.labels
    survival = _survival("DeepFool", made, seen)
    kept = survival.share
    lengths = np.sqrt(np.square(made.changes).sum(axis=(1, 2, 3)))[misled]
    largest = 255 * np.abs(made.changes).max(axis=(1, 2, 3))[misled]
    quantiles = {"smallest": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "largest": 1}
    rows = [
        Row({"what": words, "l2": _quantile(lengths, q), "linf": _quantile(largest, q)})
        for words, q in quantiles.items()
    ]
    median, levels = _quantile(lengths, 0.5), _quantile(largest, 0.5)
    sentences = [
        f"DeepFool misleads the classifier about {percent(float(misled.mean()))} of the images that it "
        f"recognises. Half of these changes have a Euclidean length of less than {median:.3g}, and half "
        f"alter no pixel by more than {levels:.3g} levels of 255.",
        f"As saved with 8 bits, {percent(kept)} of them still mislead it: the others are so close to the "
        "boundary that rounding brings them back.",
    ]
    tables = {"Sizes of the smallest changes": Table(_SMALLEST, rows)}
    return Found(
        Section("The smallest changes", sentences, _examples(audited, made, seen), tables=tables),
        {"median_smallest_l2": median, "deepfool_survives_saving": kept},
        smallest_queries(audited),
        survival=[survival],
    )


def smallest_queries(audited: Audited) -> int:
    """The most queries of `smallest`: the images, and a gradient for each candidate, in 50 steps."""
    candidates = min(10, len(audited.names) - 1)
    return int(audited.right.sum()) * (50 * (candidates + 2) + 2)


def one_for_all(audited: Audited, queries: int) -> Found:
    """Compute one change for most images, and try it on others (Moosavi-Dezfooli et al., CVPR 2017).

    Args:
        audited: the classifier.
        queries: at least `one_for_all_queries(audited)`.
    """
    effort, options = audited.effort, audited.options
    settings = UniversalStudyOptions(
        networks=(), classifiers=(options.classifier,), epsilon=audited.epsilon, passes=effort.passes
    )
    learnt = of_dataset(audited.dataset, count=effort.learnt, split="train")
    held_out = of_dataset(audited.dataset, count=len(audited.images))
    classifier = audited.classifier
    assert isinstance(classifier, Classifier), "a black box has no gradient"
    change = universal_change(settings, audited.work, "universal", classifier, learnt, options.seed)
    signs = random_signs(settings, classifier, options.seed)
    images = held_out.fitted(classifier).images
    share, control = (fooling_rate(classifier, images, each) for each in (change, signs))
    before, labels = audited.images[audited.right], audited.labels[audited.right]
    after = to_uint8(np.clip(before / np.float32(255) + change, 0, 1))
    made = Fooling(after, labels, None, before, labels)
    sentences = [
        f"One change of at most {audited.epsilon:.3g} per pixel, computed on {len(learnt.pictures):,} "
        f"training images, alters the class of {percent(share)} of {len(held_out.pictures):,} test images. "
        f"Random signs of the same size alter that of {percent(control)}."
    ]
    rows = [Row({"change": "one for all", "share": share}), Row({"change": "random signs", "share": control})]
    alone = Picture(amplified(change), "the change for all images, amplified", ("the change, amplified",))
    examples = _examples(audited, made, see(classifier, made))
    galleries = {"The change": [[alone]], **examples}
    tables = {"One change for all images": Table(_UNIVERSAL, rows)}
    return Found(
        Section("One change for all images", sentences, galleries, tables=tables),
        {"universal_fooling_rate": share},
        one_for_all_queries(audited),
    )


def one_for_all_queries(audited: Audited) -> int:
    """The most queries of `one_for_all`: an image and its gradient in each pass, and the images before."""
    effort = audited.effort
    learnt = min(effort.learnt, len(audited.dataset.train_images))
    return learnt * (3 * effort.passes + 1) + 3 * len(audited.images)


def accuracy_against_size(audited: Audited, balls: Sequence[Balls]) -> Found:
    """How many test images are classified correctly, against the size of the changes.

    An image counts as misclassified if any of the attacks, with any change within the size, gets it so.

    Args:
        audited: the classifier.
        balls: what the attacks found, at least one.
    """
    clean = float(audited.right.mean())
    curves: dict[str, Float[np.ndarray, "s 2"]] = {}
    rows = []
    lost = ~audited.right
    for found in balls:
        of_attack = [(0.0, clean)]
        for size, computed, saved in zip(found.sizes, found.computed, found.saved, strict=True):
            cells: dict[str, Cell] = {"attack": found.by, "epsilon": size, "levels": 255 * size}
            cells |= {"accuracy": 1 - float(saved.mean()), "computed": 1 - float(computed.mean())}
            rows.append(Row(cells))
            of_attack.append((size, 1 - float(saved.mean())))
            if size <= audited.epsilon:
                lost = lost | saved
        curves[found.by] = np.array(of_attack)
    robust = 1 - float(lost.mean())
    sentences = [
        f"{percent(clean)} of {len(audited.images):,} test images are classified correctly, and "
        f"{percent(robust)} still are when each pixel may change by {audited.size_in_words}.",
        "Images count as they are saved, with 8 bits. An attack that finds nothing proves nothing: the true "
        "robust accuracy is at most this.",
    ]
    draw = partial(epsilon_plot, curves, label=ROBUST, marked=audited.epsilon)
    section = Section(CURVES, sentences, plots={CURVES: draw}, tables={CURVES: Table(_SIZES, rows)})
    return Found(section, {"robust_accuracy": robust}, 0)


def _misled(
    audited: Audited, way: Way, step: str, epsilon: float, queries: int | None = None
) -> tuple[Fooling, Seen]:
    """The images that are classified correctly, after an attack, and how the classifier sees them saved."""
    images, labels = audited.images[audited.right], audited.labels[audited.right]
    options = FoolingOptions(epsilon=epsilon)
    if queries is not None:
        options = replace(options, queries=queries)
    made = fool(
        audited.work, step, way, audited.classifier, images, labels, options, seed=audited.options.seed
    )
    kept = audited.work.arrays(f"{step}-saved", lambda: see(audited.classifier, made)._asdict())
    return made, Seen(**kept)


def _survival(by: str, made: Fooling, seen: Seen) -> Survival:
    misled = made.classes != made.labels
    return Survival(by, int(misled.sum()), int((misled & seen.fooled).sum()))


def _examples(audited: Audited, made: Fooling, seen: Seen) -> dict[str, list[list[Picture]]]:
    """Images before and after, of the first that mislead."""
    assert made.originals is not None
    assert made.labels is not None
    chosen = np.flatnonzero(seen.fooled)[:_EXAMPLES]
    if not len(chosen):
        return {}
    groups = []
    for index in chosen:
        before, after = audited.names[made.labels[index]], audited.names[seen.classes[index]]
        change = (made.images[index].astype(np.float64) - made.originals[index]) / 255
        group = [
            Picture(made.originals[index], f"a test image of {before}", (before, "before")),
            Picture(
                amplified(change),
                f"the change of this image, amplified: at most {np.abs(255 * change).max():.0f} levels",
                ("the change", f"at most {np.abs(255 * change).max():.0f} levels"),
            ),
            Picture(
                made.images[index],
                f"the image after the change, taken for {after}",
                (after, confidence_text(seen.confidences[index])),
            ),
        ]
        groups.append(group)
    return {"Before, change, and after": groups}


def _quantile(values: Float[np.ndarray, " n"], q: float | int) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")
