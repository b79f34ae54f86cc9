"""A whole run: search, log, checkpoint, and draw what was found."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from evofool.classifiers import AskingOptions, BlackBox, Classifier, weights_digest
from evofool.errors import EvofoolError, UsageError, require_positive
from evofool.processes import anywhere, connected, on_this_process
from evofool.report import format_confidence
from evofool.runs.checkpoints import Checkpoints, state_of_first
from evofool.runs.directory import RunDirectory
from evofool.runs.job import OWN, Job, RunSettings
from evofool.runs.lineage import RECORDED, LineageLog
from evofool.runs.metrics import MetricsLog, Record
from evofool.runs.pictures import Images, Pictures, draw, drawn_run, score_again
from evofool.runs.remarks import in_short, remarks
from evofool.runs.several import over_runs, write_several
from evofool.search import Cut, Runs, generations_within, population_mesh, run

_LARGEST_CHANGE = 0.01
"""Of a confidence that is computed again in another batch, in half precision."""

_CHECKPOINT_EVERY = 50
"""Generations between two checkpoints where the spacing is not given."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; nothing here changes the result.

    Attributes:
        checkpoint_every: generations between two checkpoints; by default 50, or a multiple of it where
            checkpoints would take more than 3% of the time.
        keep_checkpoints: how many of the last checkpoints to keep.
        log_every: generations between two lines of metrics.jsonl; by default 1, and twice as many each time
            that the generations pass 1,000, 2,000, 4,000 and so on, which keeps the file below 10,000 lines.
            The last line is always that of the last checkpoint or a later one.
        chunk: generations between two updates of the progress; by default as many as take half a second.
        devices: split every generation over this many devices; by default one, or all those of several
            processes.
        microbatch: make and score at most this many images at once on each device, to save memory; by default
            as many as is fastest. An evolution strategy does it in whole blocks of up to 1,024 policies.
        max_queries: stop before the generation in which each run would have asked the classifier about more
            images than these; a larger number continues the run.
        asking: how a classifier behind an address is asked.

    Raises:
        UsageError: a number that is not positive, or more devices than there are.
    """

    checkpoint_every: int | None = None
    keep_checkpoints: int = 3
    log_every: int | None = None
    chunk: int | None = None
    devices: int | None = None
    microbatch: int | None = None
    max_queries: int | None = None
    asking: AskingOptions = field(default_factory=AskingOptions)

    def __post_init__(self) -> None:
        names = ("checkpoint_every", "keep_checkpoints", "log_every", "chunk", "devices", "microbatch")
        require_positive(**{name: getattr(self, name) for name in (*names, "max_queries")})

    @property
    def cut(self) -> Cut:
        """How generations are cut up."""
        mesh = population_mesh(self.devices) if self.devices or connected() else None
        return Cut(mesh, self.microbatch)

    @property
    def pause_every(self) -> int:
        """Generations between two moments at which a checkpoint may be saved."""
        return self.checkpoint_every or _CHECKPOINT_EVERY

    def last_generation(self, settings: RunSettings, job: Job) -> int:
        """The generation after which a run ends.

        Raises:
            UsageError: the queries do not suffice for one.
        """
        return generations_within(job.search, job.scorer, settings.generations, self.max_queries)


class RunOutcome(NamedTuple):
    """How a run ended.

    Attributes:
        state: the search's last state.
        record: the last line of metrics.
        notes: lines that the user should read.
        images: of the elites, those of several runs one run after the other.
    """

    state: PyTree
    record: Record
    notes: list[str]
    images: Images


def evolve(
    settings: RunSettings,
    job: Job,
    directory: RunDirectory,
    *,
    resume: bool = False,
    options: RunOptions = RunOptions(),
    on_record: Callable[[Record], None] = lambda record: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunOutcome:
    """Run a job in its directory, from the start or from the newest whole checkpoint.

    In several processes (`jax.distributed`) this is for process 0, and the others call `take_part`.

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
        UsageError: fewer generations than the run already has, or fewer queries than a generation needs.
        EvofoolError: a checkpoint is missing or damaged, something cannot be written, or the program's own
            classifier gives the elites of a resumed run other confidences than before.
        Exception: what a black box raised, when it had been asked often enough. The last whole generation is
            saved, and the run can be resumed.

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
    sha256 = weights_digest(job.classifier)
    with (
        directory.held(),
        closing(Checkpoints(directory.results, settings, sha256, options.keep_checkpoints)) as checkpoints,
    ):
        state = Runs(job.search, job.runs).init(settings.all_seeds, job.scorer)
        state, notes = checkpoints.restore(state) if resume else (state, [])
        state = state_of_first(state) if resume and connected() else state
        done = int(state.generation)
        if done > settings.generations:
            raise UsageError(
                f"{directory.path} is at generation {done} already: generations must be at least that, not "
                f"{settings.generations}"
            )
        if done and settings.classifier == OWN and isinstance(job.scorer, Classifier):
            _require_same_confidences(directory, state, job.scorer, job)
        directory.write_config(settings, job.classifier, sha256)
        metrics = MetricsLog(directory.results, job.evaluations, options.log_every)
        lineage = LineageLog(directory.results, job.targets, job.evaluations, state.archive)
        notes += metrics.rewind(done) + lineage.rewind(done)
        if done >= options.last_generation(settings, job):
            notes.append(f"{directory.path} has all of its {done} generations: only the pictures are new")
        else:
            state = _search(settings, job, state, options, checkpoints, metrics, lineage, on_record, stop)
            state = on_this_process(state)
        images = draw(state.archive, job.search)
        if settings.precision != "float32":
            state, note = _in_single_precision(settings, job, state, images)
            notes.append(note)
        notes += in_short(remarks(state.archive))
        drawn, records = drawn_run(settings, job, int(state.generation)), directory.read_metrics()
        if job.runs is None:
            Pictures(directory.results, drawn).write(state, images, records)
        else:
            write_several(directory.results, drawn, settings.all_seeds, state, images, records)
        checkpoints.finish()
        return RunOutcome(state, metrics.newest, notes, images)


def _search(
    settings: RunSettings,
    job: Job,
    state: PyTree,
    options: RunOptions,
    checkpoints: Checkpoints,
    metrics: MetricsLog,
    lineage: LineageLog,
    on_record: Callable[[Record], None],
    stop: Callable[[], bool],
) -> PyTree:
    """Run the remaining generations, and log and save them."""
    last, newest = options.last_generation(settings, job), state

    def on_chunk(state: PyTree, found: dict[str, np.ndarray]) -> bool:
        nonlocal newest
        newest, generation = state, int(state.generation)
        stopping = anywhere(stop()) or generation == last
        due = generation % options.pause_every == 0
        saving = stopping or (due and (options.checkpoint_every is not None or checkpoints.affordable()))
        recorded = {name: found.pop(name) for name in RECORDED if name in found}
        if job.runs is not None:
            found = over_runs(found)
        elif job.search.breeds:
            lineage.add(generation, recorded, saving=saving)
        on_record(metrics.add(generation, found, saving=saving))
        if saving:
            checkpoints.save(state)
        return stopping

    try:
        return search_on(settings, job, state, options, on_chunk)
    except Exception:
        if isinstance(job.scorer, BlackBox) and int(newest.generation) not in checkpoints.generations():
            metrics.keep_newest()
            checkpoints.save(newest)
            checkpoints.finish()
        raise


def search_on(
    settings: RunSettings,
    job: Job,
    state: PyTree,
    options: RunOptions,
    on_chunk: Callable[[PyTree, dict[str, np.ndarray]], bool],
) -> PyTree:
    """The state after the remaining generations, computed by this process or its share of them.

    Args:
        settings: what to run.
        job: its parts, from `prepare`.
        state: to go on from.
        options: how to carry it out.
        on_chunk: as in `evofool.run`.
    """
    return run(
        job.search,
        job.scorer,
        settings.generations,
        max_queries=options.max_queries,
        seeds=None if job.runs is None else settings.all_seeds,
        state=state,
        cut=options.cut,
        chunk=options.chunk,
        pause_every=options.pause_every,
        on_chunk=on_chunk,
    )


def _require_same_confidences(directory: RunDirectory, state: PyTree, scorer: Classifier, job: Job) -> None:
    """Raise if the classifier gives the elites other confidences than those that they were kept for.

    The digest of its weights does not cover the function of a classifier that a program made.
    """
    found = score_again(state.archive, draw(state.archive, job.search), scorer, job.targets).confidences
    if not np.allclose(found, state.archive.confidences, atol=_LARGEST_CHANGE, equal_nan=True):
        raise EvofoolError(
            f"{job.classifier.spec.name} gives the elites of {directory.path} other confidences than they "
            "were saved with: its function has changed. Restore it, or start a new run"
        )


def _in_single_precision(
    settings: RunSettings, job: Job, state: PyTree, images: Images
) -> tuple[PyTree, str]:
    """The state with the confidences of the classifier in float32, and a note about them."""
    assert isinstance(job.classifier, Classifier)
    rescored = state._replace(archive=score_again(state.archive, images, job.classifier, job.targets))
    before, after = (
        format_confidence(float(np.median(each.archive.confidences))) for each in (state, rescored)
    )
    return rescored, (
        f"the saved confidences are in float32: their median is {after}, that of the search in "
        f"{settings.precision} was {before}"
    )
