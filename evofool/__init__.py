"""Evolve images that a classifier is certain about and a person is not."""

from evofool.interruption import end_in_one_line

end_in_one_line()  # before the imports that take seconds

# ruff: noqa: E402
from evofool import attacks
from evofool.classifiers import (
    Classifier,
    ClassifierSpec,
    compositions,
    create_classifier,
    load_classifier,
    resized,
    save_classifier,
    ten_crop,
    with_precision,
)
from evofool.encodings import (
    CPPNOptions,
    DirectOptions,
    Encoding,
    GaussianVariation,
    IsoLineVariation,
    SourceVariation,
    StudentOptions,
    cppn,
    direct,
    student,
)
from evofool.errors import EvofoolError, UsageError
from evofool.runs import save_run
from evofool.search import (
    Archive,
    Cut,
    MapElitesOptions,
    Search,
    StrategyOptions,
    evolution_strategy,
    map_elites,
    one_run,
    population_mesh,
    run,
)

__version__ = "0.1.0"

__all__ = [
    "Archive",
    "CPPNOptions",
    "Classifier",
    "ClassifierSpec",
    "Cut",
    "DirectOptions",
    "Encoding",
    "EvofoolError",
    "GaussianVariation",
    "IsoLineVariation",
    "MapElitesOptions",
    "Search",
    "SourceVariation",
    "StrategyOptions",
    "StudentOptions",
    "UsageError",
    "attacks",
    "compositions",
    "cppn",
    "create_classifier",
    "direct",
    "evolution_strategy",
    "load_classifier",
    "map_elites",
    "one_run",
    "population_mesh",
    "resized",
    "run",
    "save_classifier",
    "save_run",
    "student",
    "ten_crop",
    "with_precision",
]
