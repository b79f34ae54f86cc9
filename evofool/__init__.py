"""Evolve images that a classifier is certain about and a person is not."""

from evofool.classifiers import (
    Classifier,
    ClassifierSpec,
    create_classifier,
    load_classifier,
    save_classifier,
)
from evofool.encodings import CPPNOptions, DirectOptions, Encoding, cppn, direct
from evofool.errors import EvofoolError, UsageError
from evofool.search import Archive, Search, map_elites, population_mesh, run

__version__ = "0.1.0"

__all__ = [
    "Archive",
    "CPPNOptions",
    "Classifier",
    "ClassifierSpec",
    "DirectOptions",
    "Encoding",
    "EvofoolError",
    "Search",
    "UsageError",
    "cppn",
    "create_classifier",
    "direct",
    "load_classifier",
    "map_elites",
    "population_mesh",
    "run",
    "save_classifier",
]
