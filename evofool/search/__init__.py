"""Searches that fill an archive with one elite per class."""

from evofool.search.archive import Archive, empty_archive, insert
from evofool.search.evolution_strategy import EvolutionState, StrategyOptions, evolution_strategy
from evofool.search.map_elites import MapElitesOptions, MapElitesState, map_elites
from evofool.search.run import run
from evofool.search.search import Search, target_classes
from evofool.search.sharding import population_mesh

__all__ = [
    "Archive",
    "EvolutionState",
    "MapElitesOptions",
    "MapElitesState",
    "Search",
    "StrategyOptions",
    "empty_archive",
    "evolution_strategy",
    "insert",
    "map_elites",
    "population_mesh",
    "run",
    "target_classes",
]
