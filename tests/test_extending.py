"""An extension takes one file and one registry line: the command line, settings and lists find it there."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import evofool
from evofool.encodings import ENCODINGS
from evofool.errors import UsageError
from evofool.images import read_png
from evofool.registry import Entry
from evofool.runs import RunDirectory, RunSettings

Main = Callable[..., tuple[int, str, str]]

STRIPES = '''
"""Stripes: a grey image whose rows have one level each."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from evofool.encodings import Encoding
from evofool.errors import require_positive


@dataclass(frozen=True)
class StripesOptions:
    """Stripes and their mutation.

    Attributes:
        width: rows in a stripe.
        step: standard deviation of the mutation of a stripe's level.
    """

    width: int = 2
    step: float = 0.2

    def __post_init__(self) -> None:
        require_positive(width=self.width, step=self.step)


def stripes(image_shape: tuple[int, int, int], options: StripesOptions = StripesOptions()) -> Encoding:
    height, width, channels = image_shape
    count = -(-height // options.width)

    def init(keys):
        return jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)

    def vary(keys, pairs, generation):
        noise = jax.vmap(lambda key: jax.random.normal(key, (2, count)))(keys)
        return jnp.clip(pairs + options.step * noise, 0, 1)

    def render(genomes):
        rows = jnp.repeat(jnp.clip(genomes, 0, 1), options.width, axis=1)[:, :height]
        return jnp.broadcast_to(rows[:, :, None, None], (len(genomes), *image_shape))

    return Encoding(init, vary, render)
'''


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with an encoding of a user's own, in the registry."""
    (tmp_path / "stripes.py").write_text(STRIPES)
    monkeypatch.syspath_prepend(tmp_path)
    import stripes as module  # type: ignore[import-not-found]

    monkeypatch.setitem(ENCODINGS, "stripes", Entry("grey stripes", module.StripesOptions, module.stripes))
    yield module
    del sys.modules["stripes"]


def test_an_encoding_is_one_file_and_one_registry_line(
    stripes: ModuleType, tmp_path: Path, evofool_main: Main
) -> None:
    _, page, _ = evofool_main("evolve", "--encoding", "stripes", "--help")
    assert "--stripes.width INT" in page
    assert "rows in a stripe. (default: 2)" in page
    assert "grey stripes" in evofool_main("list", "encodings")[1]
    code, _, err = evofool_main("evolve", "--stripes.width", 4)
    assert (code, err) == (2, "evofool: --stripes.width requires --encoding stripes\n")

    options = ("--encoding", "stripes", "--stripes.width", 4, "--batch-size", 20, "--quiet")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert evofool_main("evolve", *options, "--generations", 6, "--out", whole)[0] == 0
    assert evofool_main("evolve", *options, "--generations", 4, "--out", parts)[0] == 0
    assert evofool_main("evolve", "--resume", parts, "--generations", 6, "--quiet")[0] == 0
    assert (whole / "elites.csv").read_bytes() == (parts / "elites.csv").read_bytes()
    image = read_png(whole / "elites" / "003_three.png")
    assert image.shape == (28, 28, 1)
    bands = image.reshape(7, 4 * 28)
    np.testing.assert_array_equal(bands, np.broadcast_to(bands[:, :1], bands.shape))
    settings = json.loads((whole / "config.json").read_text())["settings"]
    assert settings["encoding"] == {"name": "stripes", "width": 4, "step": 0.2}
    assert RunDirectory.open(whole).read_settings().encoding == stripes.StripesOptions(width=4)
    code, _, err = evofool_main("evolve", "--resume", parts, "--stripes.width", 3)
    assert code == 2
    assert "encoding.width is 3, not 4" in err
    code, _, err = evofool_main("evolve", *options, "--stripes.step", 0, "--out", tmp_path / "x")
    assert (code, err) == (2, "evofool: step must be above zero, not 0.0\n")


def test_an_evolution_strategy_takes_an_encoding_of_a_users_own(
    stripes: ModuleType, tmp_path: Path, evofool_main: Main
) -> None:
    out = tmp_path / "run"
    options = ("--encoding", "stripes", "--algorithm", "es", "--policies", 4, "--targets", "3", "--quiet")
    assert evofool_main("evolve", *options, "--generations", 2, "--out", out)[0] == 0
    assert (out / "elites" / "003_three.png").exists()


def test_options_of_nothing_registered_are_refused(stripes: ModuleType) -> None:
    settings = RunSettings(encoding=stripes.StripesOptions())
    assert settings.encoding_name == "stripes"
    with pytest.raises(UsageError, match="unknown options of a encoding 'MapElitesOptions'"):
        RunSettings(encoding=evofool.MapElitesOptions())
