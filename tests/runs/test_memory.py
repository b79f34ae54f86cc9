"""Microbatches save memory and keep results; a generation that cannot fit is refused before it runs."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool import MapElitesOptions, UsageError, cppn, direct, map_elites, run
from evofool.images import read_png
from evofool.runs import memory
from evofool.search import Cut, StrategyOptions, generation


@pytest.fixture(scope="module")
def digits() -> evofool.Classifier:
    return evofool.load_classifier("lenet-digits")


@pytest.mark.parametrize("encoding", [direct, pytest.param(cppn, marks=pytest.mark.slow)])
def test_results_do_not_depend_on_the_microbatch(digits: evofool.Classifier, encoding: Callable) -> None:
    def archive(microbatch: int | None) -> evofool.Archive:
        search = map_elites(encoding(digits.spec.input_shape), MapElitesOptions(51))
        return run(search, digits, 4, chunk=4, cut=Cut(microbatch=microbatch)).archive

    jax.tree.map(np.testing.assert_array_equal, archive(None), archive(15))


@pytest.mark.parametrize("encoding", [direct, pytest.param(cppn, marks=pytest.mark.slow)])
def test_the_estimate_is_near_the_compilers(digits: evofool.Classifier, encoding: Callable) -> None:
    search = map_elites(encoding(digits.spec.input_shape), MapElitesOptions(500))
    state = jax.eval_shape(search.init, jax.random.key(0), digits)
    compiled = jax.jit(partial(generation, search)).lower(state, digits).compile().memory_analysis()
    needed = compiled.argument_size_in_bytes + compiled.temp_size_in_bytes + compiled.output_size_in_bytes
    assert 0.5 * needed < memory.required_bytes(search, digits) < 8 * needed


def test_large_genomes_are_counted_until_they_are_inserted() -> None:
    classifier = evofool.create_classifier("linear", (32, 32, 3), tuple(map(str, range(1000))), seed=None)
    search = map_elites(direct((32, 32, 3)), MapElitesOptions(1000))
    cut = Cut(microbatch=20)
    state = jax.eval_shape(search.init, jax.random.key(0), classifier)
    program = jax.jit(partial(generation, search, cut=cut)).lower(state, classifier)
    compiled = program.compile().memory_analysis()
    needed = compiled.argument_size_in_bytes + compiled.temp_size_in_bytes + compiled.output_size_in_bytes
    assert 0.85 * needed < memory.required_bytes(search, classifier, cut) < 1.3 * needed


def test_on_a_cpu_copies_for_checkpoints_are_counted() -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("the copies of an accelerator's state are in the memory of the host")
    classifier = evofool.create_classifier("linear", (32, 32, 3), tuple(map(str, range(1000))), seed=None)
    state, weights = 1000 * 32 * 32 * 3 * 4, (32 * 32 * 3 + 1) * 1000 * 4
    required = memory.required_bytes(map_elites(direct((32, 32, 3)), MapElitesOptions(2)), classifier)
    assert 4 * state + weights < required < 1.02 * (4 * state + weights)


def test_a_microbatch_needs_less(digits: evofool.Classifier) -> None:
    encoding = direct(digits.spec.input_shape)
    whole, part = (
        memory.required_bytes(
            map_elites(encoding, MapElitesOptions(2000)), digits, Cut(microbatch=microbatch)
        )
        for microbatch in (None, 50)
    )
    assert part < whole / 5


def test_a_generation_that_does_not_fit_is_refused_with_one_that_does(
    monkeypatch: pytest.MonkeyPatch, evofool_main: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 30_000_000)
    arguments = ("evolve", "--generations", 2, "--batch-size", 2000, "--out", tmp_path / "run", "--quiet")
    code, _, error = evofool_main(*arguments)
    assert code == 2
    assert error.count("\n") == 1
    (advised,) = re.findall(
        r"a generation of 2000 needs about .* GB: microbatch (\d+) would fit$", error.strip()
    )
    assert int(advised) > 100
    assert evofool_main(*arguments, "--microbatch", advised)[0] == 0


def refusal(batch_size: int, microbatch: int | None = None, **strategy: Any) -> str:
    """Why a generation is refused; empty if it is not."""
    shape = evofool.load_classifier("lenet-digits").spec.input_shape

    def search_of(size: int) -> evofool.Search:
        if strategy:
            options = StrategyOptions(size, **strategy)
            return evofool.evolution_strategy(direct(shape), options, targets=(3,))
        return map_elites(direct(shape), MapElitesOptions(size))

    try:
        name = "policies" if strategy else "batch_size"
        cut = Cut(microbatch=microbatch)
        memory.require_memory(search_of, evofool.load_classifier("lenet-digits"), batch_size, cut, name)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("batch_size", "available", "strategy", "fewest"),
    [
        pytest.param(200_000, 8_000_000, {}, 1500, marks=pytest.mark.slow),
        (10**9, 30_000_000, {}, 7000),
        (102, 3_000_000, {"antithetic": True}, 8),
        pytest.param(10**9, 8_000_000_000, {"antithetic": True}, 10**8, marks=pytest.mark.slow),
    ],
)
def test_the_advised_batch_size_fits_and_is_not_needlessly_small(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, available: int, strategy: dict[str, Any], fewest: int
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: available)
    found = re.search(
        r"(policies|batch_size) (\d+) with microbatch 2 would fit$", refusal(batch_size, **strategy)
    )
    assert found is not None
    assert found[1] == ("policies" if strategy else "batch_size")
    advised = int(found[2])
    assert advised >= fewest
    assert refusal(advised, 2, **strategy) == ""
    assert refusal(3 * advised, 2, **strategy) != ""


def test_a_classifier_that_never_fits_has_no_advised_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1000)
    assert refusal(50, estimator="literal").startswith("a generation of 50 needs")
    assert refusal(50).endswith("smaller images or a smaller classifier would fit")


def test_a_microbatch_is_positive(digits: evofool.Classifier) -> None:
    with pytest.raises(UsageError, match="microbatch must be above zero, not 0"):
        run(map_elites(direct(digits.spec.input_shape)), digits, 1, cut=Cut(microbatch=0))


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("tensorfloat32", marks=pytest.mark.slow)])
def test_saved_confidences_are_computed_in_float32(
    precision: str,
    digits: evofool.Classifier,
    evofool_main: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    code, output, _ = evofool_main(
        *("evolve", "--precision", precision, "--generations", 12, "--batch-size", 40),
        *("--out", out),
    )
    assert code == 0
    assert "the saved confidences are in float32" in output
    assert json.loads((out / "config.json").read_text())["settings"]["precision"] == precision
    code, _, errors = evofool_main("evolve", "--resume", out, "--generations", 14, "--precision", "float32")
    assert code == 2
    assert f"precision is 'float32', not '{precision}'" in errors
    assert evofool_main("evolve", "--resume", out, "--generations", 14)[0] == 0
    rows = [line.split(",") for line in (out / "elites.csv").read_text().splitlines()]
    columns = {name: [row[index] for row in rows[1:]] for index, name in enumerate(rows[0])}
    images = np.stack([read_png(out / file) for file in columns["file"]])
    confidences = np.asarray(digits(jnp.asarray(images, jnp.float32) / 255)).diagonal()
    np.testing.assert_allclose(np.array(columns["confidence"], np.float32), confidences, rtol=1e-5)


def test_ten_crops_evolve_larger_images(
    evofool_main: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    options = ("--generations", 2, "--batch-size", 8, "--quiet")
    out = tmp_path / "crops"
    assert evofool_main("evolve", *options, "--ten-crop", "--image-size", 32, "--out", out)[0] == 0
    assert read_png(next((out / "elites").iterdir())).shape == (32, 32, 1)
    out = tmp_path / "resized"
    assert evofool_main("evolve", *options, "--image-size", 40, "--out", out)[0] == 0
    assert read_png(next((out / "elites").iterdir())).shape == (40, 40, 1)
    code, _, error = evofool_main(
        "evolve", *options, "--ten-crop", "--image-size", 27, "--out", tmp_path / "x"
    )
    assert code == 2
    assert "ten crops of 28x28" in error
    code, _, error = evofool_main("evolve", *options, "--image-size", 0, "--out", tmp_path / "x")
    assert code == 2
    assert "image_size must be above zero" in error
