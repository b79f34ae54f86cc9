"""The settings of a run hold the options that decide its result, and no others."""

import json

import pytest

from evofool import (
    CPPNOptions,
    DirectOptions,
    GaussianVariation,
    IsoLineVariation,
    MapElitesOptions,
    SourceVariation,
    StrategyOptions,
    StudentOptions,
)
from evofool.errors import EvofoolError, UsageError
from evofool.runs import RunSettings

EVERY_KIND = [
    RunSettings(),
    RunSettings(encoding=CPPNOptions(hidden_nodes=5), targets=("3", "seven"), image_size=40),
    RunSettings(encoding=StudentOptions(9, GaussianVariation(0.5)), search=MapElitesOptions(7)),
    RunSettings(encoding=DirectOptions(IsoLineVariation(line_sigma=0.5)), activation="sigmoid"),
    RunSettings(encoding=StudentOptions(9), search=StrategyOptions(policies=8, antithetic=True)),
]


@pytest.mark.parametrize("settings", EVERY_KIND)
def test_settings_survive_json(settings: RunSettings) -> None:
    again = RunSettings.from_json(json.loads(json.dumps(settings.to_json())))
    assert again == settings
    assert again.differences(settings) == []


def test_json_names_the_choices() -> None:
    settings = RunSettings(search=MapElitesOptions(7), encoding=StudentOptions(9))
    values = settings.to_json()
    assert values["search"] == {"name": "map-elites", "batch_size": 7}
    assert values["encoding"]["variation"] == {"name": "gaussian", "mutation_sigma": 0.1}
    assert (settings.algorithm, settings.encoding_name) == ("map-elites", "student")


def test_a_search_that_does_not_breed_has_no_variation() -> None:
    settings = RunSettings(search=StrategyOptions(), encoding=StudentOptions())
    assert settings.encoding == StudentOptions(variation=None)
    with pytest.raises(UsageError, match="es does not breed: the encoding's variation must be None"):
        RunSettings(search=StrategyOptions(), encoding=DirectOptions(SourceVariation(mutation_rate=0.2)))
    assert RunSettings(encoding=DirectOptions(None)).encoding == DirectOptions(SourceVariation())


def test_settings_of_different_choices_differ_by_name() -> None:
    ours, theirs = RunSettings(seed=1), RunSettings(encoding=CPPNOptions())
    assert ours.differences(theirs) == ["encoding.name is 'direct', not 'cppn'", "seed is 1, not 0"]
    slower = RunSettings(encoding=DirectOptions(SourceVariation(mutation_rate=0.2)), generations=9)
    assert slower.differences(RunSettings()) == ["encoding.variation.mutation_rate is 0.2, not 0.1"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("encoding", "name"), "cubist", "unknown encoding 'cubist'"),
        (("encoding", "variation", "name"), "iso-line", "IsoLineVariation has the fields"),
        (("search", "policies"), 3, "MapElitesOptions has the fields"),
        (("search",), None, "damaged"),
        (("search",), 7, "damaged"),
        (("targets",), 7, "damaged"),
        (("colour",), "red", "RunSettings has the fields"),
        (("seed",), "x", "damaged"),
        (("search", "batch_size"), 0, "batch_size must be above zero"),
    ],
)
def test_damaged_settings_are_one_error(path: tuple[str, ...], value: object, message: str) -> None:
    values = RunSettings().to_json()
    inner = values
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(EvofoolError, match=message):
        RunSettings.from_json(values)
