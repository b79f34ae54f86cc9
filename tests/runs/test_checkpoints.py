"""Checkpoints: a damaged one is never used, and one of another run is refused."""

import itertools
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool.encodings import ENCODINGS, DirectOptions, StudentOptions
from evofool.errors import EvofoolError
from evofool.results import Results
from evofool.runs import RUN, RunSettings
from evofool.runs.checkpoints import Checkpoints
from evofool.search import Archive, MapElitesState, empty_archive
from tests.runs.common import Main, copy_of, edit_config, one_line, same_archives
from tests.test_results import full_disk

SETTINGS = RunSettings()
Open = Callable[..., Checkpoints]


def state_of(generation: int) -> MapElitesState:
    """A state that tells its generation, with genomes that are large enough for a file of their own."""
    archive = empty_archive(jnp.zeros(70_000), niches=4)
    genomes = jnp.full((4, 70_000), generation) * jnp.linspace(0.1, 1, 70_000)
    return MapElitesState(jax.random.key(generation), jnp.int32(generation), archive._replace(pool=genomes))


def same(one: MapElitesState, other: MapElitesState) -> bool:
    def words(leaf: Any) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(words(a), words(b)) for a, b in pairs)


@pytest.fixture
def open_checkpoints(tmp_path: Path) -> Iterator[Open]:
    """Open the checkpoints of one run, as often as a test likes."""
    results = Results.create(tmp_path / "run", RUN)
    opened: list[Checkpoints] = []

    def open_again(
        settings: RunSettings = SETTINGS, classifier: str = "a" * 64, **options: int
    ) -> Checkpoints:
        opened.append(Checkpoints(results, settings, classifier, **options))
        return opened[-1]

    yield open_again
    for checkpoints in opened:
        checkpoints.close()


def save(checkpoints: Checkpoints, *generations: int) -> None:
    for generation in generations:
        checkpoints.save(state_of(generation))
    checkpoints.finish()


def test_the_newest_state_comes_back_to_the_last_bit(open_checkpoints: Open) -> None:
    save(open_checkpoints(), 10, 20)
    state, notes = open_checkpoints().restore(state_of(0))
    assert notes == []
    assert same(state, state_of(20))
    assert type(state.archive) is Archive


def test_the_last_few_are_kept(open_checkpoints: Open) -> None:
    checkpoints = open_checkpoints(keep=2)
    save(checkpoints, 5, 10, 100, 101)
    assert checkpoints.generations() == [100, 101]


def test_a_state_may_be_overwritten_while_it_is_saved(open_checkpoints: Open) -> None:
    checkpoints = open_checkpoints()
    state = state_of(10)
    checkpoints.save(state)
    jax.tree.map(lambda leaf: leaf.delete(), state)
    checkpoints.finish()
    assert same(checkpoints.restore(state_of(0))[0], state_of(10))


def test_random_damage_falls_back_to_the_checkpoint_before(
    open_checkpoints: Open, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(open_checkpoints(), 10, 20)
    newest = tmp_path / "run" / "checkpoints" / "20"
    shutil.copytree(newest, tmp_path / "undamaged")
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    random = np.random.default_rng()
    hook = sys.unraisablehook
    for number in range(60):
        victim = newest / files[number % len(files)]
        content = bytearray(victim.read_bytes())
        damage = random.choice(["flip", "cut", "remove", "empty", "zeros", "junk"])
        if damage == "flip" and content:
            content[random.integers(len(content))] ^= 1 << random.integers(8)
        elif damage == "remove":
            victim.unlink()
        else:
            content = {
                "cut": content[: len(content) // 2],
                "zeros": bytearray(len(content) + 1),
                "junk": bytearray(random.bytes(len(content) + 1)),
            }.get(damage, bytearray(b"x" if not content else b""))
        if damage != "remove":
            victim.write_bytes(content)
        state, notes = open_checkpoints().restore(state_of(0))
        assert same(state, state_of(10)), (victim, damage)
        assert len(notes) == 1
        assert notes[0].startswith("the checkpoint of generation 20 is damaged (")
        shutil.copytree(tmp_path / "undamaged", newest)
    assert sys.unraisablehook is hook
    assert capfd.readouterr() == ("", ""), "no logs and tracebacks of Orbax"
    assert len(list((tmp_path / "run" / "damaged-checkpoints").iterdir())) == 60


def newest_data_file(run: Path) -> Path:
    files = [path for path in (run / "checkpoints" / "60").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole: Path, tmp_path: Path, evofool_main: Main, damage: str
) -> None:
    run = copy_of(whole, tmp_path)
    victim = newest_data_file(run)
    content = bytearray(victim.read_bytes())
    if damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        victim.write_bytes(content)
    elif damage == "remove":
        victim.unlink()
    else:
        for path in (run / "checkpoints" / "60").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    code, out, err = evofool_main("evolve", "--resume", run)
    assert (code, err) == (0, "")
    assert "the checkpoint of generation 60 is damaged" in out
    assert same_archives(run, whole)
    assert len(list((run / "damaged-checkpoints").iterdir())) == 1


def test_a_run_without_a_whole_checkpoint_is_not_resumed(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "has no checkpoint that can be read" in one_line(err)
    assert (run / "elites.csv").read_bytes() == (whole / "elites.csv").read_bytes()


def test_another_encoding_in_the_config_is_a_mismatch_and_no_damage(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    edit_config(run, encoding=ENCODINGS.to_json(StudentOptions()))
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "encoding.name is 'student' there and 'direct' in" in one_line(err)
    assert not (run / "damaged-checkpoints").exists()
    edit_config(run, encoding=ENCODINGS.to_json(DirectOptions()), seed=-3)
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "settings of the run are damaged" in one_line(err)


def test_a_checkpoint_of_another_run_is_refused(open_checkpoints: Open) -> None:
    save(open_checkpoints(), 10)
    with pytest.raises(EvofoolError, match="seed is 1 there and 0 in the checkpoint of generation 10"):
        open_checkpoints(RunSettings(seed=1)).restore(state_of(0))
    with pytest.raises(EvofoolError, match="generation 10 belongs to a run against another classifier"):
        open_checkpoints(classifier="b" * 64).restore(state_of(0))


def test_a_full_disk_is_one_line_and_the_checkpoint_before_is_whole(
    open_checkpoints: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints, hook = open_checkpoints(), sys.unraisablehook
    with (
        full_disk(300),
        pytest.raises(EvofoolError, match=r"cannot write a checkpoint to .*: File too large$"),
    ):
        save(checkpoints, 10)
    save(checkpoints, 20)
    with (
        full_disk(300),
        pytest.raises(EvofoolError, match=r"too large; the run can be resumed from the one before$"),
    ):
        save(checkpoints, 30)
    assert same(open_checkpoints().restore(state_of(0))[0], state_of(20))
    assert sys.unraisablehook is hook
    assert capfd.readouterr() == ("", "")


def test_a_removed_folder_is_one_line_and_is_not_made_again(
    open_checkpoints: Open, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = open_checkpoints()
    save(checkpoints, 10)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(EvofoolError, match=r"cannot write a checkpoint to .*: No such file or directory$"):
        save(checkpoints, 20)
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr() == ("", "")


def test_the_logs_of_others_are_not_silenced(
    open_checkpoints: Open, caplog: pytest.LogCaptureFixture
) -> None:
    save(open_checkpoints(), 10)
    logging.getLogger("absl").warning("from elsewhere")
    assert [record.message for record in caplog.records] == ["from elsewhere"]


def test_a_checkpoint_can_be_afforded_once_the_last_one_is_a_small_share_of_the_time(
    open_checkpoints: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = open_checkpoints()
    assert checkpoints.affordable()
    clock = itertools.chain([1000.0], itertools.repeat(1003.0))  # begun, and whole three seconds later
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    checkpoints.save(state_of(10))
    checkpoints.finish()
    monkeypatch.setattr(time, "perf_counter", lambda: 1099.0)
    assert not checkpoints.affordable()
    monkeypatch.setattr(time, "perf_counter", lambda: 1101.0)
    assert checkpoints.affordable()
