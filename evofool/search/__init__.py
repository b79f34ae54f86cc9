"""Searches that fill an archive with one elite per class."""

from typing import ClassVar, Protocol, runtime_checkable

from evofool.registry import AnyOptions, Entry, Registry
from evofool.search.archive import Archive, empty_archive, insert
from evofool.search.evolution_strategy import EvolutionState, StrategyOptions, evolution_strategy
from evofool.search.generation import Cut, generation
from evofool.search.independent import Runs, one_run
from evofool.search.map_elites import MapElitesOptions, MapElitesState, map_elites
from evofool.search.queries import QUERIES, generations_within
from evofool.search.run import run
from evofool.search.search import Search, target_classes
from evofool.search.sharding import population_mesh


@runtime_checkable
class SearchOptions(AnyOptions, Protocol):
    """The options of a search.

    Attributes:
        size: the field that says how many individuals a generation scores, at once or per class.
        breeds: whether the search calls `vary` of the encoding.
    """

    size: ClassVar[str]
    breeds: ClassVar[bool]


SEARCHES = Registry(
    "algorithm",
    {
        "map-elites": Entry(
            "one elite per class; an image bred for one class may conquer another",
            MapElitesOptions,
            map_elites,
        ),
        "es": Entry("a Gaussian evolution strategy for each class", StrategyOptions, evolution_strategy),
    },
)
"""The searches by name; each is a function `thing(encoding, options, *, targets)`."""

__all__ = [
    "QUERIES",
    "SEARCHES",
    "Archive",
    "Cut",
    "EvolutionState",
    "MapElitesOptions",
    "MapElitesState",
    "Runs",
    "Search",
    "SearchOptions",
    "StrategyOptions",
    "empty_archive",
    "evolution_strategy",
    "generation",
    "generations_within",
    "insert",
    "map_elites",
    "one_run",
    "population_mesh",
    "run",
    "target_classes",
]
