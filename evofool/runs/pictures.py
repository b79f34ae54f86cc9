"""The pictures of a run: each elite, all of them on sheets, how the confidence rose, and the drawings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, UInt8

from evofool.classifiers import AnyClassifier, BlackBox, Classifier, confidences_in_batches
from evofool.datasets import DIGIT_NAMES
from evofool.files import file_name, save_table
from evofool.images import from_uint8, round_to_8_bits, to_uint8, write_png
from evofool.numerics.batches import in_batches
from evofool.report import (
    ReportedMedian,
    confidence_histogram,
    contact_pages,
    contact_sheet,
    convergence_plot,
    reward_plot,
)
from evofool.report.pages import IMAGES_PER_PAGE
from evofool.results import Results
from evofool.runs.job import Job, RunSettings
from evofool.runs.lineage import genome_numbers
from evofool.runs.metrics import Record
from evofool.runs.remarks import remarks
from evofool.search import Archive, Runs, Search

MOST_CLASSES_DRAWN = 20
"""Up to this many classes a run of an evolution strategy is drawn class by class."""

CSV_COLUMNS = (
    *("class", "name", "confidence", "generation", "parent", "replacements", "file"),
    *("id", "parent_id", "parent_generation", "queries", "remark"),
)

_IMAGENET_CLASSES = 1000

_IMAGES_AT_ONCE = 64
"""Drawing and scoring the elites should not need more memory than the run."""

Images = UInt8[np.ndarray, "n h w c"]


class Drawn(NamedTuple):
    """What the pictures of a run say beside its images.

    Attributes:
        search: that made them.
        classifier: that they fool.
        targets: the class of each niche, as indices.
        title: of every picture.
        subtitle: of the sheets.
        reported: a published median to compare with, if any.
        first: the state that the run began with, if it is known.
    """

    search: Search
    classifier: AnyClassifier
    targets: Sequence[int]
    title: str
    subtitle: str
    reported: ReportedMedian | None = None
    first: PyTree | None = None


def drawn_run(settings: RunSettings, job: Job, generation: int) -> Drawn:
    """What the pictures of a run say, of the generation that is drawn."""
    evaluations, seeds = generation * job.evaluations, settings.all_seeds
    drawings = job.runs is None and job.search.current is not None and len(job.targets) <= MOST_CLASSES_DRAWN
    drawings &= not isinstance(job.classifier, BlackBox)
    named = f"seed {settings.seed}" if job.runs is None else f"seeds {seeds[0]} to {seeds[-1]}"
    return Drawn(
        job.search,
        job.classifier,
        job.targets,
        title=f"Images evolved for {job.classifier.spec.name}, {settings.encoding_name} encoding",
        subtitle=(f"{settings.algorithm}, {generation:,} generations, {evaluations:,} evaluations, {named}"),
        reported=reported_median(settings, job),
        first=Runs(job.search).init([settings.seed], job.scorer) if drawings else None,
    )


class Pictures:
    """Draws a run into its directory.

    Args:
        results: of the run.
        drawn: what is drawn.
    """

    def __init__(self, results: Results, drawn: Drawn) -> None:
        self._results = results
        self._drawn = drawn
        self._names = [drawn.classifier.spec.class_names[target] for target in drawn.targets]

    def write(self, state: PyTree, images: Images, records: Sequence[Record]) -> None:
        """Write all pictures of a state.

        Args:
            state: of the search.
            images: of its elites, from `draw`.
            records: the metrics of the run.

        Raises:
            EvofoolError: something cannot be written.
        """
        archive = jax.tree.map(np.asarray, state.archive)
        shown = np.flatnonzero(np.isfinite(archive.confidences))
        self._results.add_all([*(self._files()[niche] for niche in shown), "elites.csv"])
        with self._results.writing("the elites"):
            self.write_elites(archive, images, self._results.path)
        self._write_sheets(archive, images)
        self._write_plots(records)
        self._write_drawings(state, images)

    @property
    def names(self) -> list[str]:
        """The names of the classes, one per niche."""
        return self._names

    def write_elites(self, archive: Archive, images: Images, folder: Path) -> None:
        """Write an image per class, and elites.csv, into a folder, whose files are listed.

        Raises:
            OSError: something cannot be written.
        """
        filled, files = np.isfinite(archive.confidences), self._files()
        (folder / "elites").mkdir(parents=True, exist_ok=True)
        for niche in np.flatnonzero(filled).tolist():
            write_png(folder / files[niche], images[niche])
        rows = [
            (*self._row(archive, niche, file if filled[niche] else None), remark)
            for niche, (file, remark) in enumerate(zip(files, remarks(archive), strict=True))
        ]
        save_table(folder / "elites.csv", [dict(zip(CSV_COLUMNS, row, strict=True)) for row in rows])

    def _files(self) -> list[str]:
        """The file of each class's image."""
        digits = max(3, len(str(len(self._drawn.classifier.spec.class_names) - 1)))
        return [
            f"elites/{target:0{digits}d}_{file_name(name)}.png"
            for target, name in zip(self._drawn.targets, self._names, strict=True)
        ]

    def _row(self, archive: Archive, niche: int, file: str | None) -> tuple[Any, ...]:
        target, name = self._drawn.targets[niche], self._names[niche]
        if file is None:
            return (target, name, "", "", "", 0, "", "", "", "", "")
        evaluations = self._drawn.search.evaluations(self._drawn.classifier)
        born, parent, parent_born = (
            int(each[niche]) for each in (archive.generations, archive.parents, archive.parent_generations)
        )
        number = genome_numbers(archive.generations, archive.indices, evaluations)[niche]
        parent_number = genome_numbers(archive.parent_generations, archive.parent_indices, evaluations)[niche]
        return (
            *(target, name, str(archive.confidences[niche]), born),
            *(self._names[parent] if parent >= 0 else "", int(archive.replacements[niche]), file),
            *(int(number), *((int(parent_number), parent_born) if parent >= 0 else ("", ""))),
            born * evaluations,
        )

    def _write_sheets(self, archive: Archive, images: Images) -> None:
        """Write all classes on one sheet and, if they do not fit a page, on pages and as a histogram."""
        confidences, names, title = np.asarray(archive.confidences), self._names, self._drawn.title
        sheet = self._results.add("elites.png")
        with self._results.writing("the elites"):
            contact_sheet(images, names, confidences, sheet, title=title, subtitle=self._drawn.subtitle)
        if len(names) <= IMAGES_PER_PAGE:
            return
        pages, histogram = self._results.add_all(["pages/", "histogram.png"])
        with self._results.writing("the pages"):
            contact_pages(images, names, confidences, pages, title=title)
            if np.isfinite(confidences).any():
                confidence_histogram(confidences, histogram, title=title)

    def _write_plots(self, records: Sequence[Record]) -> None:
        """Write convergence.png and, where rewards were logged for not too many classes, rewards.png."""
        if not records:
            return
        title, reported = self._drawn.title, self._drawn.reported
        convergence = self._results.add("convergence.png")
        with self._results.writing("the plots"):
            convergence_plot(records, convergence, title=title, reported=reported)
        if "mean_rewards" in records[0] and len(self._names) <= MOST_CLASSES_DRAWN:
            rewards = self._results.add("rewards.png")
            with self._results.writing("the plots"):
                reward_plot(records, self._names, rewards, title=title)

    def _write_drawings(self, state: PyTree, elites: Images) -> None:
        """Write drawings.png: how each class's individual began and ended, stage under stage."""
        drawn, names = self._drawn, self._names
        current = drawn.search.current
        if current is None or len(names) > MOST_CLASSES_DRAWN or isinstance(drawn.classifier, BlackBox):
            return  # a black box is asked by the search alone, whose queries are counted
        niches = jnp.arange(len(names))
        stages = {} if drawn.first is None else {"first": round_to_8_bits(current(drawn.first, niches))}
        stages |= {"last": round_to_8_bits(current(state, niches)), "best seen": from_uint8(elites)}
        images = jnp.concatenate(list(stages.values()))
        own_class = np.tile(drawn.targets, len(stages))
        scores = np.asarray(confidences_in_batches(drawn.classifier, images))
        confidences = scores[np.arange(len(images)), own_class]
        labels = [f"{name}, {stage}" for stage in stages for name in names]
        path = self._results.add("drawings.png")
        with self._results.writing("the drawings"):
            contact_sheet(
                *(to_uint8(images), labels, confidences, path),
                columns=len(names),
                title=drawn.title,
                subtitle=drawn.subtitle,
            )


def draw(archive: Archive, search: Search) -> Images:
    """The 8-bit images of the elites, those of several runs one run after the other."""
    render = jax.jit(search.render)
    runs = archive.slots.ndim
    genomes = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[runs:]), archive.genomes)
    return np.asarray(in_batches(lambda batch: to_uint8(render(batch)), genomes, _IMAGES_AT_ONCE))


def score_again(archive: Archive, images: Images, classifier: Classifier, targets: Sequence[int]) -> Archive:
    """The archive with the confidences that a classifier gives the 8-bit images of the elites.

    Args:
        archive: of one or several runs.
        images: of its elites, from `draw`.
        classifier: what scores them.
        targets: the class of each niche.
    """
    scores = in_batches(
        lambda batch: confidences_in_batches(classifier, from_uint8(batch)), images, _IMAGES_AT_ONCE
    )
    own_class = jnp.tile(jnp.asarray(targets), len(images) // len(targets))
    confidences = jnp.take_along_axis(scores, own_class[:, None], axis=1).reshape(archive.slots.shape)
    return archive._replace(confidences=jnp.where(archive.generations < 1, -jnp.inf, confidences))


def reported_median(settings: RunSettings, job: Job) -> ReportedMedian | None:
    """The median confidence that Nguyen et al. (CVPR 2015, sections 3.1 to 3.4) report of such a run, if any.

    They evolved images for all digits of a network trained on MNIST, 99.99% in the median with either
    encoding, and for all 1,000 classes of ImageNet: 21.59% with the direct encoding and 88.11% with CPPNs.

    Example:
        >>> from evofool.runs import prepare
        >>> settings = RunSettings()
        >>> reported_median(settings, prepare(settings)) is None  # its digits are scikit-learn's
        True
    """
    spec = job.classifier.spec
    if settings.algorithm != "map-elites" or len(job.targets) < len(spec.class_names):
        return None
    if spec.class_names == DIGIT_NAMES and spec.training_data.split(",")[0] == "mnist":
        data, medians = "MNIST", {"direct": 0.9999, "cppn": 0.9999}
    elif len(spec.class_names) == _IMAGENET_CLASSES and spec.input_shape[2] == 3:
        data, medians = "ImageNet", {"direct": 0.2159, "cppn": 0.8811}
    else:
        return None
    median = medians.get(settings.encoding_name)
    return None if median is None else ReportedMedian(median, f"Nguyen et al., {data}")
