"""Evolve images that a classifier is certain about and a person is not."""

from evofool.interruption import end_in_one_line

end_in_one_line()  # before the imports that take seconds

# ruff: noqa: E402
from evofool import attacks
from evofool.caching import keep_compiled_programs
from evofool.classifiers import (
    BlackBox,
    Classifier,
    ClassifierSpec,
    Preprocessing,
    compositions,
    create_classifier,
    from_callable,
    from_flax,
    from_keras,
    from_onnx,
    from_torch,
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
from evofool.runs import Fooled, RunOptions, fool, save_run, show
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

keep_compiled_programs()

__version__ = "0.1.0"

__all__ = [
    "Archive",
    "BlackBox",
    "CPPNOptions",
    "Classifier",
    "ClassifierSpec",
    "Cut",
    "DirectOptions",
    "Encoding",
    "EvofoolError",
    "Fooled",
    "GaussianVariation",
    "IsoLineVariation",
    "MapElitesOptions",
    "Preprocessing",
    "RunOptions",
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
    "fool",
    "from_callable",
    "from_flax",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load_classifier",
    "map_elites",
    "one_run",
    "population_mesh",
    "resized",
    "run",
    "save_classifier",
    "save_run",
    "show",
    "student",
    "ten_crop",
    "with_precision",
]
