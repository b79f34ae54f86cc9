"""One call for a classifier of one's own: a whole run in its directory, and its elites as a picture."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from evofool.classifiers import AnyClassifier, BlackBox, Classifier
from evofool.encodings import ENCODINGS
from evofool.errors import UsageError, unknown_name
from evofool.report import sheet_of
from evofool.results import MANIFEST
from evofool.runs.directory import RunDirectory
from evofool.runs.evolve import RunOptions, evolve
from evofool.runs.job import OWN, RunSettings, headline, prepare
from evofool.runs.metrics import Record
from evofool.runs.pictures import draw
from evofool.runs.several import sheet_of_runs
from evofool.search import SEARCHES, Search, target_classes
from evofool.search.search import State


class Fooled(NamedTuple):
    """What a run has found.

    Attributes:
        path: its directory.
        images: the elite of each class, as it is saved; those of several runs have an axis of runs in front.
        confidences: of each elite in its class; -inf where there is none.
        class_names: of each elite.
        state: the last state of the search.
        record: the last line of metrics.
        notes: what is to be known about the run, in lines.
    """

    path: Path
    images: UInt8[np.ndarray, "*runs k h w c"]
    confidences: Float[np.ndarray, "*runs k"]
    class_names: tuple[str, ...]
    state: State
    record: Record
    notes: list[str]

    def __repr__(self) -> str:
        return (
            f"Fooled({str(self.path)!r}, generation {self.state.generation}, {len(self.class_names)} classes)"
        )


def fool(
    classifier: AnyClassifier | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    options: RunOptions = RunOptions(),
    progress: bool = True,
    **settings: Any,
) -> Fooled:
    """Evolve images that a classifier is certain about, with all that `evofool evolve` leaves in a directory.

    This is for every search and encoding that has a name. For those of a program's own, `evofool.run` makes
    a state, and `evofool.save_run` its pictures.

    Args:
        classifier: what to fool, a `Classifier`, a `BlackBox`, or what `evofool evolve` calls it. The run of
            an object is resumed here and not on the command line, which could not make it again.
        out: the directory of the run.
        resume: go on with the run in `out`, up to `generations` if that is more; begin if there is none. The
            settings are those of the run, so they need not be given again, and may not differ.
        overwrite: replace the run in `out`.
        options: how the run is carried out: checkpoints, devices, images at once.
        progress: show a bar on a terminal or in a notebook, and plain lines elsewhere.
        **settings: fields of `evofool.runs.RunSettings`: `generations`, `search`, `encoding`, `targets`,
            `seed`, `activation` and so on. A search or an encoding is its options or, with the default ones,
            its name: `search=StrategyOptions(100)`, `encoding="cppn"`.

    Returns:
        The elites with their confidences, the state and the directory.

    Raises:
        UsageError: an unknown setting, one out of range or that differs from those of the run to resume, or
            `out` holds a run and neither `resume` nor `overwrite` is set.
        EvofoolError: the classifier has other weights, classes or confidences than the run to resume began
            with, or something cannot be read or written.
        Exception: what a black box raised, when it had been asked often enough; the run can be resumed.

    Example:
        >>> import tempfile
        >>> from evofool import MapElitesOptions, create_classifier, fool
        >>> model = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> folder = tempfile.mkdtemp()
        >>> found = fool(model, folder, generations=5, search=MapElitesOptions(20), progress=False)
        >>> found.images.shape, found.class_names
        ((2, 8, 8, 1), ('even', 'odd'))
        >>> fool(model, folder, resume=True, generations=9, progress=False).record["generation"]
        9
    """
    from evofool.console import make_console  # take long to import
    from evofool.progress import RunProgress

    path = Path(out)
    if resume and overwrite:
        raise UsageError("a run is either resumed or overwritten, not both")
    own = classifier if isinstance(classifier, Classifier | BlackBox) else None
    named = OWN if isinstance(classifier, Classifier | BlackBox) else os.fspath(classifier)
    begun = RunDirectory.open(path) if resume and (path / MANIFEST).exists() else None
    chosen = _chosen(RunSettings() if begun is None else begun.read_settings(), named, settings)
    job = prepare(chosen, options.cut, own, options.asking)
    if begun is None:
        directory = RunDirectory.create(path, chosen, job.classifier, overwrite=overwrite)
    else:
        begun.require_same(chosen, job.classifier)
        directory = begun
    console = make_console(quiet=not progress)
    with RunProgress(console, options.last_generation(chosen, job), headline(chosen, job)) as shown:
        outcome = evolve(
            chosen, job, directory, resume=begun is not None, options=options, on_record=shown.update
        )
    for note in outcome.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    confidences = np.asarray(outcome.state.archive.confidences)
    return Fooled(
        path,
        outcome.images.reshape(*confidences.shape, *outcome.images.shape[1:]),
        confidences,
        job.class_names,
        outcome.state,
        outcome.record,
        outcome.notes,
    )


def show(
    found: Fooled | State,
    search: Search | None = None,
    classifier: AnyClassifier | None = None,
    *,
    targets: Sequence[int] | None = None,
) -> Image.Image:
    """The elites on one sheet, with names and confidences, which a notebook displays.

    Args:
        found: what `fool` returned, or a state of `evofool.run`. Of several runs up to ten are shown, or
            one if there are more than twenty classes.
        search: the algorithm that made the state.
        classifier: what the state fooled.
        targets: the class of each niche of the state, as the search was given them; by default all classes.

    Raises:
        UsageError: a state without its search and classifier, or of other targets.

    Example:
        >>> from evofool import MapElitesOptions, create_classifier, direct, map_elites, run, show
        >>> model = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> search = map_elites(direct((8, 8, 1)), MapElitesOptions(20))
        >>> show(run(search, model, 5), search, model).mode
        'RGB'
    """
    if isinstance(found, Fooled):
        images, confidences, names = found.images, found.confidences, found.class_names
    elif search is None or classifier is None:
        raise UsageError("the elites of a state are shown with the search and the classifier that it is of")
    else:
        confidences = np.asarray(found.archive.confidences)
        names = tuple(classifier.spec.class_names[target] for target in target_classes(classifier, targets))
        if confidences.shape[-1] != len(names):
            raise UsageError(f"the state must have one niche for each of {len(names)} targets")
        images = draw(found.archive, search)
    if confidences.ndim == 1:
        return sheet_of(images, names, confidences)
    images = images.reshape(*confidences.shape, *images.shape[-3:])
    runs = sheet_of_runs(images, names, confidences, [f"run {run + 1}" for run in range(len(confidences))])
    return sheet_of(runs.images, runs.labels, runs.confidences, columns=runs.columns)


def _chosen(base: RunSettings, classifier: str, given: dict[str, Any]) -> RunSettings:
    """Settings with those that are given; a search and an encoding also by their names."""
    known = [field.name for field in dataclasses.fields(RunSettings) if field.name != "classifier"]
    for name in given:
        if name not in known:
            raise unknown_name("setting", name, known)
    for name, registry in (("search", SEARCHES), ("encoding", ENCODINGS)):
        if isinstance(given.get(name), str):
            given = {**given, name: registry.named(given[name]).options()}
    if "targets" in given:
        targets = given["targets"]
        listed = (targets,) if isinstance(targets, str | int) else targets
        given = {**given, "targets": tuple(map(str, listed))}
    return dataclasses.replace(base, classifier=classifier, **given)
