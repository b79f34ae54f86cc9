"""Every elite can be followed back to the random genome that it comes from."""

import csv
import itertools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from evofool.errors import EvofoolError, UsageError
from evofool.results import Results
from evofool.runs import ancestry, read_lineage
from evofool.runs.directory import RUN
from evofool.runs.lineage import Birth, LineageLog
from evofool.search import Archive, empty_archive, insert
from evofool.search.archive import summarise
from tests.runs.common import Main, copy_of

BATCH = 21


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from evofool.cli import main

    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.raises(SystemExit):
        main(["evolve", "--generations", "40", "--batch-size", str(BATCH), "--out", str(out), "--quiet"])
    return out


def elites(run: Path) -> list[dict[str, str]]:
    with (run / "elites.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def goal_switches(archive: Archive) -> float:
    record = {
        f"elite_{name}": np.asarray(getattr(archive, name))[None] for name in ("confidences", "parents")
    }
    return float(summarise(record)["goal_switches"][0])


def test_a_child_that_takes_another_class_is_a_goal_switch() -> None:
    archive = empty_archive(jnp.zeros(()), niches=3)
    first = jnp.array([[0.1, 0.2, 0.3], [0.2, 0.1, 0.1]])
    archive = insert(archive, jnp.arange(2.0), first, jnp.array([-1, -1]), jnp.int32(1))
    assert archive.indices.tolist() == [1, 0, 0]
    assert archive.parent_generations.tolist() == [0, 0, 0]
    assert goal_switches(archive) == 0

    second = jnp.array([[0.0, 0.0, 0.9], [0.0, 0.9, 0.0]])
    archive = insert(archive, jnp.arange(2.0), second, jnp.array([0, 1]), jnp.int32(2))
    assert archive.generations.tolist() == [1, 2, 2]
    assert archive.indices.tolist() == [1, 1, 0]
    assert archive.parent_generations.tolist() == [0, 1, 1]
    assert archive.parent_indices.tolist() == [0, 0, 1]
    np.testing.assert_allclose(goal_switches(archive), 1 / 3)


def test_every_elite_descends_from_a_random_genome(ran: Path) -> None:
    births = read_lineage(ran / "lineage.csv")
    longest = 0
    for row in elites(ran):
        line = ancestry(births, int(row["id"]))
        assert int(row["class"]) in line[0].classes
        assert line[0].generation == int(row["generation"])
        assert line[-1].generation == 1
        assert line[-1].parent_class is None
        if len(line) > 1:
            assert line[1].id == int(row["parent_id"])
            assert line[1].generation == int(row["parent_generation"])
        for child, parent in itertools.pairwise(line):
            assert child.parent_class in parent.classes
            assert child.generation > parent.generation
            assert (child.id - 1) // BATCH + 1 == child.generation
        longest = max(longest, len(line))
    assert longest > 3


def test_a_resumed_run_has_the_same_lineage(ran: Path, evofool_main: Main, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--batch-size", BATCH, "--quiet")
    assert evofool_main("evolve", "--generations", 15, "--out", out, *options)[0] == 0
    with (out / "lineage.csv").open("a") as file:
        file.write("99999,16,3,1,2\r\n99998,17")
    assert evofool_main("evolve", "--generations", 40, "--resume", out, "--quiet")[0] == 0
    assert (out / "lineage.csv").read_text() == (ran / "lineage.csv").read_text()
    assert elites(out) == elites(ran)


DAMAGE = [b"x,y,z,u,v", b"\xff\xfe", b"1,2,3", b'"', b'7,3,"1,,', b"5,4,1,,2", b"1" * 5000 + b",1,1,,", b""]


def test_lines_around_a_damaged_one_are_kept_and_it_is_moved_aside(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    lines = (run / "lineage.csv").read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    damage = [*DAMAGE, b"7,99,1,,", b"x" * 200_000]  # out of order; more than a csv reader takes
    (run / "lineage.csv").write_bytes(
        b"".join([*lines[:middle], *(line + b"\r\n" for line in damage), *lines[middle:]])
    )
    with pytest.raises(EvofoolError, match=f"line {middle + 1} is damaged"):
        read_lineage(run / "lineage.csv")
    code, out, _ = evofool_main("evolve", "--resume", run)
    assert code == 0
    assert f"{len(damage)} damaged lines of lineage.csv moved to" in out
    assert (run / "lineage.csv").read_bytes() == b"".join(lines)
    aside = (run / "damaged-lines.txt").read_bytes()
    assert all(line in aside for line in damage)


def test_a_bit_that_becomes_a_quote_loses_one_line(whole: Path, tmp_path: Path) -> None:
    results = Results.create(tmp_path / "run", RUN)
    path = results.add("lineage.csv")
    lines = (whole / "lineage.csv").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines).replace(b",2,", b',",', 1))
    notes = LineageLog(results, range(10), BATCH, empty_archive(jnp.zeros(()), 10)).rewind(60)
    assert notes == [f"1 damaged line of lineage.csv moved to {results.path / 'damaged-lines.txt'}"]
    assert len(path.read_bytes().splitlines()) == len(lines) - 1


def test_a_damaged_header_is_written_again(whole: Path, tmp_path: Path, evofool_main: Main) -> None:
    run = copy_of(whole, tmp_path)
    content = (run / "lineage.csv").read_bytes()
    (run / "lineage.csv").write_bytes(b"?" + content)
    assert evofool_main("evolve", "--resume", run, "--quiet")[0] == 0
    assert (run / "lineage.csv").read_bytes() == content


def test_damage_is_one_line(tmp_path: Path, ran: Path) -> None:
    with pytest.raises(EvofoolError, match="cannot read the lineage"):
        read_lineage(tmp_path / "lineage.csv")
    (tmp_path / "lineage.csv").write_text("id,generation\n1,x\n")
    with pytest.raises(EvofoolError, match="cannot read the lineage"):
        read_lineage(tmp_path / "lineage.csv")
    with pytest.raises(UsageError, match="no genome of the number 0"):
        ancestry(read_lineage(ran / "lineage.csv"), 0)
    for parent in (3, 8, 9):  # one that is not there, the genome itself, and one that was made later
        births = {8: Birth(8, 2, (5,), parent, 0), 9: Birth(9, 2, (5,), 8, 5)}
        with pytest.raises(EvofoolError, match=f"no genome {parent} was an elite before its child 8"):
            ancestry(births, 8)
