"""The run directory: all that a run leaves behind."""

from evofool.runs.directory import RunDirectory, default_path
from evofool.runs.evolve import Options, Outcome, evolve
from evofool.runs.job import Job, RunSettings, prepare
from evofool.runs.lineage import Birth, ancestry, read_lineage

__all__ = [
    "Birth",
    "Job",
    "Options",
    "Outcome",
    "RunDirectory",
    "RunSettings",
    "ancestry",
    "default_path",
    "evolve",
    "prepare",
    "read_lineage",
]
