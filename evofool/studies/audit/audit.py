"""How easily is a classifier fooled? Every way to fool it in turn, within a budget."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from evofool.attacks import Untargeted, input_gradient
from evofool.classifiers import Classifier, weights_digest
from evofool.images import from_uint8
from evofool.provenance import provenance
from evofool.studies.audit import changes, nonsense, warning
from evofool.studies.audit.budget import Budget
from evofool.studies.audit.options import AuditOptions
from evofool.studies.audit.result import (
    AuditResult,
    Found,
    NotRun,
    Picture,
    Section,
    confidence_text,
    percent,
)
from evofool.studies.audit.subject import Audited
from evofool.studies.study import Column, Row, Table
from evofool.studies.work import Work

_LEAST_GENERATIONS = 10
_MOST_IMAGES = 4
"""Of all queries, one in so many at most is for the test images."""

_ACCURACY = {
    "class": Column("class"),
    "count": Column("test images", "{:,}".format),
    "accuracy": Column("classified correctly", percent),
    "confidence": Column("median confidence", confidence_text),
}


class _Part(NamedTuple):
    """One way to fool the classifier.

    Attributes:
        title: for the list of what was not run.
        run: from the classifier and the queries that it may make.
        wanted: queries.
        least: fewer are not worth it.
        share: of the budget, beside those of the others.
        needs: what it starts from.
    """

    title: str
    run: Callable[[Audited, int], Found]
    wanted: int
    least: int
    share: int
    needs: Literal["nothing", "images", "gradients"] = "nothing"


def audit(options: AuditOptions, work: Work) -> AuditResult:
    """Measure how easily a classifier is fooled, in every way that this package knows.

    Args:
        options: the classifier, its images, and how thoroughly.
        work: keeps the steps.

    Raises:
        UsageError: a name is unknown, or the dataset has other classes than the classifier.
        EvofoolError: something is missing or damaged.
    """
    most = None if options.max_queries is None else max(1, options.max_queries // _MOST_IMAGES)
    audited = Audited.load(options, work, most or options.effort.images)
    found, not_run, parts = [_accuracy(audited)], [], []
    with_gradients = _gives_gradients(audited)
    for part in _parts(audited):
        if (reason := _obstacle(part, audited, with_gradients)) is None:
            parts.append(part)
        else:
            not_run.append(NotRun(part.title, reason))
    left = None if options.max_queries is None else options.max_queries - len(audited.images)
    budget = Budget(left, [part.share for part in parts])
    for part in work.each(parts, "part"):
        if queries := budget.grant(part.wanted, part.least):
            found.append(part.run(audited, queries))
            budget.give_back(queries - found[-1].queries)
        else:
            reason = f"out of budget: it needs {part.least:,} queries, and {budget.left:,} are left"
            not_run.append(NotRun(part.title, reason))
    found = _concluded(audited, found)
    figures = {name: value for each in found for name, value in each.figures.items() if not np.isnan(value)}
    queries = sum(each.queries for each in found)
    return AuditResult(
        name=audited.classifier.spec.name,
        summary=_summary(audited, figures),
        figures=figures,
        sections=[each.section for each in found],
        not_run=not_run,
        about=_about(audited, queries),
    )


def _parts(audited: Audited) -> list[_Part]:
    """All ways to fool the classifier, in the order in which they get their queries."""
    effort = audited.effort
    evolving = effort.generations * effort.batch_size
    least = _LEAST_GENERATIONS * effort.batch_size
    noise, least_noise = nonsense.noise_queries(effort.noise), nonsense.LEAST_NOISE
    along, smallest = changes.gradient_queries(audited), changes.smallest_queries(audited)
    one_for_all = changes.one_for_all_queries(audited)
    asking, least_asking = changes.asking_queries(audited), changes.least_asking(audited)
    return [
        _Part("Evolved pixels", partial(nonsense.evolution, encoding="direct"), evolving, least, 3),
        _Part("Evolved patterns", partial(nonsense.evolution, encoding="cppn"), evolving, least, 3),
        _Part("Noise", nonsense.noise, noise, least_noise, 1),
        _Part("Along the gradient", changes.gradients, along, along, 6, "gradients"),
        _Part("By asking alone", changes.asking, asking, least_asking, 6, "images"),
        _Part("The smallest changes", changes.smallest, smallest, smallest, 4, "gradients"),
        _Part("One change for all images", changes.one_for_all, one_for_all, one_for_all, 4, "gradients"),
    ]


def _obstacle(part: _Part, audited: Audited, with_gradients: bool) -> str | None:
    """Why a part cannot be run, or is left out."""
    if part.needs == "gradients" and not with_gradients:
        return "the classifier gives no gradients"
    if part.needs != "nothing" and not audited.right.any():
        return "no test image is classified correctly"
    if part.needs == "images" and with_gradients and audited.options.quick:
        return "a quick audit follows gradients instead"
    return None


def _gives_gradients(audited: Audited) -> bool:
    """Whether any of some images has a gradient, in a form that can be computed."""
    classifier = audited.classifier
    if not isinstance(classifier, Classifier):
        return False

    def try_it() -> dict[str, np.ndarray]:
        try:
            images, labels = from_uint8(audited.images[:8]), audited.labels[:8]
            gradient, _ = input_gradient(classifier, images, Untargeted(labels))
            return {"any": np.asarray(gradient.any())}
        except (ValueError, TypeError, NotImplementedError):  # of a function that JAX cannot differentiate
            return {"any": np.array(False)}

    return bool(audited.work.arrays("gradients", try_it)["any"])


def _accuracy(audited: Audited) -> Found:
    """How many of the test images are classified correctly."""
    right, highest = audited.right, audited.confidences.max(axis=1)
    clean = float(right.mean())
    sentences = [
        f"{percent(clean)} of {len(right):,} test images of {audited.dataset.name} are classified correctly.",
        *audited.notes,
    ]
    rows = []
    for label in np.unique(audited.labels):
        own = audited.labels == label
        cells = {"class": audited.names[label], "count": int(own.sum())}
        rows.append(
            Row(cells | {"accuracy": float(right[own].mean()), "confidence": float(np.median(highest[own]))})
        )
    wrong = np.flatnonzero(~right)
    wrong = wrong[np.argsort(-highest[wrong], kind="stable")][:8]
    taken_for = audited.confidences.argmax(axis=1)
    pictures = []
    for index in wrong:
        label, other = audited.names[audited.labels[index]], audited.names[taken_for[index]]
        lines = (f"{label}: taken for", f"{other} {confidence_text(highest[index])}")
        pictures.append(
            [Picture(audited.images[index], f"a test image of {label}, taken for {other}", lines)]
        )
    galleries = {"The surest mistakes": pictures} if pictures else {}
    section = Section("Test images", sentences, galleries, tables={"Test images": Table(_ACCURACY, rows)})
    return Found(section, {"clean_accuracy": clean}, len(right))


def _concluded(audited: Audited, found: Sequence[Found]) -> list[Found]:
    """What was found, with what follows from several parts together."""
    balls = [each.balls for each in found if each.balls is not None]
    survival = [one for each in found for one in each.survival]
    confidences = {kind: values for each in found for kind, values in each.confidences.items() if len(values)}
    concluded = list(found)
    if balls:
        first = next(place for place, each in enumerate(found) if each.balls is not None)
        concluded.insert(first, changes.accuracy_against_size(audited, balls))
    if survival:
        concluded.append(warning.surviving(survival))
    if confidences:
        concluded.append(warning.warning(audited, confidences))
    return concluded


def _summary(audited: Audited, figures: dict[str, float]) -> list[str]:
    """The few sentences that one would tell a colleague."""
    name, classes = audited.classifier.spec.name, len(audited.names)
    clean = f"{name} classifies {percent(figures['clean_accuracy'])} of the test images correctly"
    if "robust_accuracy" in figures:
        robust = percent(figures["robust_accuracy"])
        clean += f", and {robust} when each pixel may change by {audited.size_in_words}"
    sentences = [f"{clean}."]
    evolved = [kind for kind in ("direct", "cppn") if f"{kind}_above_99" in figures]
    if evolved:
        most = max(figures[f"{kind}_above_99"] for kind in evolved)
        sentences.append(
            f"Evolution finds images of nothing that it is more than 99% certain about for "
            f"{round(most * classes):,} of {classes:,} classes."
        )
    if "warned" in figures:
        sentences.append(
            f"Its confidence would have warned of {percent(figures['warned'])} of them, if 5% of the test "
            "images may be rejected too."
        )
    if "deepfool_survives_saving" in figures:
        kept = percent(figures["deepfool_survives_saving"])
        sentences.append(f"Of the smallest changes that mislead it, {kept} survive saving with 8 bits.")
    return sentences


def _about(audited: Audited, queries: int) -> dict[str, str]:
    """What was audited, with what."""
    options, spec = audited.options, audited.classifier.spec
    recorded = provenance()
    height, width, channels = spec.input_shape
    budget = "" if options.max_queries is None else f" of {options.max_queries:,} that were allowed"
    return {
        "classifier": options.classifier,
        "weights, SHA-256": weights_digest(audited.classifier),
        "images": f"{height} x {width}, {channels} channel{'s' * (channels > 1)}",
        "classes": f"{len(spec.class_names):,}",
        "dataset": f"{audited.dataset.name}, {len(audited.images):,} test images",
        "epsilon": f"{audited.epsilon:.6g} ({255 * audited.epsilon:.4g} levels of 255)",
        "queries": f"{queries:,} at most{budget}; a gradient counts as one",
        "seed": str(options.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in recorded["versions"].items()),
        "device": recorded["device"],
    }
