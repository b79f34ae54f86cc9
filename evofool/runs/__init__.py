"""The run directory: all that a run leaves behind."""

from evofool.runs.directory import RunDirectory, default_path
from evofool.runs.evolve import Options, Outcome, evolve
from evofool.runs.settings import ALGORITHMS, ENCODINGS, Job, RunSettings, prepare

__all__ = [
    "ALGORITHMS",
    "ENCODINGS",
    "Job",
    "Options",
    "Outcome",
    "RunDirectory",
    "RunSettings",
    "default_path",
    "evolve",
    "prepare",
]
