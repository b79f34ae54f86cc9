"""Saving what a search found in Python, in the files of a run directory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from evofool.classifiers import AnyClassifier
from evofool.errors import UsageError
from evofool.results import Kind, Results
from evofool.runs.directory import RUN
from evofool.runs.metrics import Record, is_logged
from evofool.runs.pictures import Drawn, Pictures, draw
from evofool.search import Search, target_classes
from evofool.search.search import State

SAVED = Kind(
    "a saved state",
    {
        name: RUN.contents[name]
        for name in (
            *("elites.png", "pages/", "histogram.png", "convergence.png", "rewards.png", "drawings.png"),
            *("elites/", "elites.csv"),
        )
    },
)
"""The files of a run that need no more than a state and its metrics."""


def save_run(
    path: str | os.PathLike[str],
    search: Search,
    classifier: AnyClassifier,
    state: State,
    *,
    targets: Sequence[int] | None = None,
    metrics: Sequence[Mapping[str, np.ndarray]] = (),
    overwrite: bool = False,
) -> None:
    """Save a state as `evofool evolve` does: an 8-bit PNG per class, a sheet of all, a table, and plots.

    Args:
        path: the directory; a new or an empty one.
        search: the algorithm that made the state.
        classifier: what it fooled.
        state: the last state, from `evofool.run`.
        targets: the class of each niche, as the search was given them; by default all classes.
        metrics: what `on_chunk` was given after each chunk up to the state, for the plots.
        overwrite: replace what an earlier call saved there.

    Raises:
        UsageError: the directory holds anything else, or the state has not one niche per target.
        EvofoolError: it cannot be written.

    Example:
        >>> import tempfile
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites, run
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(20))
        >>> metrics = []
        >>> state = run(search, classifier, 5, on_chunk=lambda state, chunk: metrics.append(chunk))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_run(folder, search, classifier, state, metrics=metrics)
        ...     sorted(path.name for path in Path(folder).iterdir() if path.suffix == ".png")
        ['convergence.png', 'elites.png']
    """
    classes = target_classes(classifier, targets)
    generation, niches = int(state.generation), state.archive.confidences.shape
    if niches != (len(classes),):
        raise UsageError(f"the state must have one niche for each of {len(classes)} targets, not {niches}")
    subtitle = f"{generation:,} generations, {generation * search.evaluations(classifier):,} evaluations"
    title = f"Images evolved for {classifier.spec.name}"
    results = Results.create(Path(path), SAVED, overwrite=overwrite)
    try:
        results.clear()
        pictures = Pictures(results, Drawn(search, classifier, classes, title, subtitle))
        images = draw(state.archive, search)
        pictures.write(state, images, list(_records(metrics, generation)))
    finally:
        results.release()


def _records(metrics: Sequence[Mapping[str, np.ndarray]], last_generation: int) -> Iterator[Record]:
    """The records of the generations that a run would log, from chunks that end at a generation."""
    generation = last_generation - sum(len(chunk["median_confidence"]) for chunk in metrics)
    for chunk in metrics:
        for index in range(len(chunk["median_confidence"])):
            generation += 1
            if is_logged(generation) or generation == last_generation:
                yield {"generation": generation, **{name: values[index] for name, values in chunk.items()}}
