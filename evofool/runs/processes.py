"""A run over several processes: process 0 calls `evolve`, the others take part in it."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from evofool.classifiers import weights_digest
from evofool.errors import UsageError
from evofool.processes import agreed, anywhere, meet
from evofool.runs.checkpoints import state_of_first
from evofool.runs.evolve import RunOptions, search_on
from evofool.runs.job import Job, RunSettings
from evofool.search import Runs


def take_part(
    settings: RunSettings,
    job: Job,
    *,
    resume: bool,
    options: RunOptions,
    stop: Callable[[], bool] = lambda: False,
) -> PyTree:
    """Compute this process's share of a run that process 0 carries out with `evolve`.

    Args:
        settings: what to run, the same as in process 0.
        job: its parts, from `prepare`.
        resume: whether process 0 goes on from a checkpoint, which it sends.
        options: how the run is carried out, the same as in process 0.
        stop: asked after every chunk whether to end here; then all processes do.

    Returns:
        The search's last state.
    """
    state = Runs(job.search, job.runs).init(settings.all_seeds, job.scorer)
    state = state_of_first(state) if resume else state
    return search_on(settings, job, state, options, lambda state, found: anywhere(stop()))


def require_same(settings: RunSettings, job: Job, options: RunOptions) -> None:
    """Raise `UsageError` unless what all processes must share is what process 0 has.

    It returns when all processes have called it.
    """
    ours: dict[str, Any] = {
        **settings.fixed(),
        "generations": settings.generations,
        "chunk": options.chunk,
        "checkpoint_every": options.checkpoint_every,
        "microbatch": options.microbatch,
        "the classifier's SHA-256": weights_digest(job.classifier),
    }
    theirs = agreed(ours)
    names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    if names:
        raise UsageError(
            f"all processes need the same settings, but {names[0]} is {ours.get(names[0])!r} in process "
            f"{jax.process_index()} and {theirs.get(names[0])!r} in process 0"
        )
    meet()
