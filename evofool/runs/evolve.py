"""A whole run: search, log, checkpoint, and leave a directory that a person wants to look at."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from evofool.datasets import DIGIT_NAMES
from evofool.errors import UsageError, require_positive
from evofool.images import from_uint8, to_uint8
from evofool.report import ReportedMedian, format_confidence
from evofool.runs.checkpoints import Checkpoints
from evofool.runs.directory import MOST_CLASSES_DRAWN, RunDirectory
from evofool.runs.job import Job, RunSettings
from evofool.runs.lineage import RECORDED, LineageFile
from evofool.search import Archive, run

_IMAGENET_CLASSES = 1000

_IMAGES_AT_ONCE = 64
"""What is drawn and scored again after a run should not need more memory than the run."""

_CHECKPOINT_EVERY, _SHARE_OF_CHECKPOINTS = 50, 0.03
"""Generations between two checkpoints where none are asked for, and what share of the time they may take."""


@dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes the result.

    Attributes:
        checkpoint_every: generations between two checkpoints; by default 50, or a multiple where a run is so
            fast that writing them would take more than 3 % of it.
        keep_checkpoints: how many of the last checkpoints stay.
        log_every: generations between two lines of metrics.jsonl; that of a checkpoint is always written.
        chunk: generations between two looks at the clock; by default as many as take half a second.

    Raises:
        UsageError: a number that is not positive.
    """

    checkpoint_every: int | None = None
    keep_checkpoints: int = 3
    log_every: int = 1
    chunk: int | None = None

    def __post_init__(self) -> None:
        require_positive(**asdict(self))


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        state: the search's last state.
        record: the last line of metrics.
        notes: what the user should know, a line each.
    """

    state: Any
    record: dict[str, Any]
    notes: list[str]


def evolve(
    settings: RunSettings,
    job: Job,
    directory: RunDirectory,
    *,
    resume: bool = False,
    options: Options = Options(),
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run a job in its directory, from the start or from the newest whole checkpoint.

    Args:
        settings: what to run.
        job: its parts, from `prepare`.
        directory: where to leave everything.
        resume: go on from a checkpoint.
        options: how to carry it out.
        on_record: called after every chunk with the metrics of its last generation.
        stop: asked after every chunk whether to end here; the run can be resumed.

    Returns:
        The outcome; the checkpoint and all files are written.

    Raises:
        UsageError: fewer generations than the run already has.
        EvofoolError: a checkpoint is missing or damaged, or something cannot be written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from evofool import MapElitesOptions
        >>> from evofool.runs import RunDirectory, RunSettings, evolve, prepare
        >>> settings = RunSettings(generations=5, search=MapElitesOptions(20))
        >>> job = prepare(settings)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     directory = RunDirectory.create(Path(folder) / "run", settings, job.classifier)
        ...     outcome = evolve(settings, job, directory)
        ...     sorted(path.name for path in directory.path.iterdir())[:3]
        ['checkpoints', 'config.json', 'convergence.png']
    """
    with directory.room_for("checkpoints"):
        checkpoints = Checkpoints(directory.checkpoints, settings, options.keep_checkpoints)
    try:
        state = job.search.init(jax.random.key(settings.seed), job.scorer)
        notes: list[str] = []
        if resume:
            state, notes = checkpoints.restore(state)
        done = int(state.generation)
        if done > settings.generations:
            raise UsageError(
                f"{directory.path} is at generation {done} already: --generations must be at least that, "
                f"not {settings.generations}"
            )
        with directory.room_for("the run"):
            directory.write_config(settings, job.classifier)
            records = directory.rewind_metrics(done)
            lineage = LineageFile(directory.lineage, job.targets, np.array(state.archive.ids))
            lineage.rewind(done)
        every = options.checkpoint_every or _CHECKPOINT_EVERY
        log = _Log(job, directory, options.log_every, records)

        def on_chunk(state: Any, metrics: dict[str, np.ndarray]) -> bool:
            if births := {name: metrics.pop(name) for name in RECORDED if name in metrics}:
                lineage.add(int(state.generation), births)
            generation = int(state.generation)
            stopping = stop() or generation == settings.generations
            due = generation % every == 0
            if due and options.checkpoint_every is None:
                due = checkpoints.affordable(_SHARE_OF_CHECKPOINTS)
            saving = stopping or due
            on_record(log.add(generation, metrics, saving))
            if saving:
                checkpoints.save(state)
            return stopping

        if done < settings.generations:
            state = run(
                job.search,
                job.scorer,
                settings.generations,
                state=state,
                chunk=options.chunk,
                pause_every=every,
                on_chunk=on_chunk,
            )
        else:
            notes.append(
                f"{directory.path} has all of its {done} generations: only the pictures are made anew"
            )
        elites = _drawn(state.archive.genomes, job)
        if settings.precision != "float32":
            before = float(np.median(state.archive.confidences))
            state = state._replace(archive=_scored_again(state.archive, elites, job))
            after = float(np.median(state.archive.confidences))
            notes.append(
                f"the saved confidences are of float32: their median is {format_confidence(after)}, that of "
                f"the search in {settings.precision} was {format_confidence(before)}"
            )
        _write_pictures(settings, job, directory, state, elites)
        checkpoints.finish()
        return Outcome(state, log.newest, notes)
    finally:
        checkpoints.close()


def reported_median(settings: RunSettings, job: Job) -> ReportedMedian | None:
    """What Nguyen et al. (CVPR 2015, sections 3.1 to 3.4) report of a run like this, if they do.

    They evolved images for all digits of a network trained on MNIST, 99.99 % in the median with either
    encoding, and for all 1,000 classes of ImageNet: 21.59 % with the direct encoding and 88.11 % with CPPNs.

    Example:
        >>> from evofool import CPPNOptions, MapElitesOptions
        >>> from evofool.runs import prepare
        >>> settings = RunSettings(encoding=CPPNOptions(), search=MapElitesOptions(2))
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


class _Log:
    """Turns the metrics of chunks into the lines of metrics.jsonl."""

    def __init__(self, job: Job, directory: RunDirectory, every: int, records: list[dict[str, Any]]) -> None:
        self._evaluations = job.search.evaluations(job.classifier)
        self._directory = directory
        self._every = every
        self._seconds = records[-1]["seconds"] if records else 0.0
        self._started = time.perf_counter()
        self.newest: dict[str, Any] = records[-1] if records else {}

    def add(self, generation: int, metrics: dict[str, np.ndarray], saving: bool) -> dict[str, Any]:
        """Log the generations of a chunk that ends with the given one; returns the last one's record.

        That one is written whatever the interval if its state is saved, so that a run goes on from both.
        """
        length = len(metrics["median_confidence"])
        now = time.perf_counter()
        each = (now - self._started) / length
        self._started = now
        records = []
        for index in range(length):
            self._seconds += each
            number = generation - length + 1 + index
            records.append(
                {
                    "generation": number,
                    "evaluations": number * self._evaluations,
                    "seconds": round(self._seconds, 4),
                    "evaluations_per_second": round(self._evaluations / each, 1),
                    **{name: _shortest(values[index]) for name, values in metrics.items()},
                }
            )
        self.newest = records[-1]
        self._directory.append_metrics(
            [
                record
                for record in records
                if record["generation"] % self._every == 0 or (saving and record is self.newest)
            ]
        )
        return self.newest


def _shortest(value: Any) -> Any:
    """A number with no more digits than it takes to tell it from its neighbours in its own precision."""
    if isinstance(value, np.ndarray):
        return [_shortest(each) for each in value]
    return float(str(value)) if isinstance(value, np.floating) else value.item()


def _drawn(genomes: Any, job: Job) -> UInt8[np.ndarray, "k h w c"]:
    """The 8-bit images of genomes."""
    draw = jax.jit(job.search.render)
    count = len(jax.tree.leaves(genomes)[0])
    parts = [
        to_uint8(draw(jax.tree.map(lambda leaf: leaf[first : first + _IMAGES_AT_ONCE], genomes)))  # noqa: B023
        for first in range(0, count, _IMAGES_AT_ONCE)
    ]
    return np.concatenate(parts)


def _scored_again(archive: Archive, images: UInt8[np.ndarray, "k h w c"], job: Job) -> Archive:
    """The archive with the confidences that the classifier itself has in the 8-bit images of the elites."""
    score = jax.jit(lambda classifier, images: classifier(images))
    confidences = np.array(archive.confidences)
    for first in range(0, len(images), _IMAGES_AT_ONCE):
        niches = slice(first, first + _IMAGES_AT_ONCE)
        own = np.asarray(job.targets[niches])[:, None]
        scores = np.asarray(score(job.classifier, from_uint8(images[niches])))
        confidences[niches] = np.take_along_axis(scores, own, axis=1)[:, 0]
    return archive._replace(confidences=jnp.where(archive.generations < 1, -jnp.inf, confidences))


def _write_pictures(
    settings: RunSettings,
    job: Job,
    directory: RunDirectory,
    state: Any,
    elites: UInt8[np.ndarray, "k h w c"],
) -> None:
    spec = job.classifier.spec
    done = int(state.generation)
    title = f"Images evolved for {spec.name}, {settings.encoding_name} encoding"
    subtitle = (
        f"{settings.algorithm}, {done:,} generations, "
        f"{done * job.search.evaluations(job.classifier):,} evaluations, seed {settings.seed}"
    )
    archive = jax.tree.map(np.asarray, state.archive)
    names = [spec.class_names[target] for target in job.targets]
    directory.write_elites(
        archive,
        elites,
        job.targets,
        spec.class_names,
        evaluations=job.search.evaluations(job.classifier),
        title=title,
        subtitle=subtitle,
    )
    directory.write_plots(names, title, reported_median(settings, job))
    if job.search.current is not None and len(names) <= MOST_CLASSES_DRAWN:
        begun = job.search.init(jax.random.key(settings.seed), job.scorer)
        stages = {
            "first": job.search.current(begun),
            "last": job.search.current(state),
            "best seen": from_uint8(elites),
        }
        images = jnp.concatenate(list(stages.values()))
        own_class = np.tile(job.targets, len(stages))
        confidences = np.asarray(job.classifier(images))[np.arange(len(images)), own_class]
        labels = [f"{name}, {stage}" for stage in stages for name in names]
        directory.write_drawings(to_uint8(images), labels, confidences, len(names), title, subtitle)
