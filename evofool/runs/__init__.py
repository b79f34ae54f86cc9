"""The run directory: all that a run leaves behind."""

from evofool.runs.directory import RUN, RunDirectory
from evofool.runs.evolve import RunOptions, RunOutcome, evolve
from evofool.runs.fool import Fooled, fool, show
from evofool.runs.job import OWN, Job, RunSettings, prepare
from evofool.runs.lineage import Birth, ancestry, read_lineage
from evofool.runs.processes import require_same, take_part
from evofool.runs.save import save_run

__all__ = [
    "OWN",
    "RUN",
    "Birth",
    "Fooled",
    "Job",
    "RunDirectory",
    "RunOptions",
    "RunOutcome",
    "RunSettings",
    "ancestry",
    "evolve",
    "fool",
    "prepare",
    "read_lineage",
    "require_same",
    "save_run",
    "show",
    "take_part",
]
