"""Results directories: exactly what they list is removed, and one process at a time writes to them."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evofool.errors import EvofoolError, UsageError
from evofool.files import append, replacing
from evofool.results import MANIFEST, Content, Kind, Results, require_new_file

NOTE = Kind(
    "a note",
    {
        "note.txt": Content("Note", "a short text"),
        "images/": Content("Images", "what the note is about"),
        "log.txt": Content("Log", "what happened"),
    },
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A directory that holds a note and two images."""
    out = tmp_path / "out"
    results = Results.create(out, NOTE)
    for path in results.add_all(["note.txt", "images/one.png", "images/two.png"]):
        path.write_text(path.name)
    results.release()
    return out


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def manifest(out: Path, listed: Any, kind: Any = "a note") -> None:
    (out / MANIFEST).write_text(json.dumps({"kind": kind, "files": listed}))


def test_a_file_is_listed_before_it_is_written(out: Path) -> None:
    results = Results.open(out, NOTE)
    path = results.add("log.txt")
    assert not path.exists()
    assert json.loads((out / MANIFEST).read_text()) == {
        "kind": "a note",
        "files": ["note.txt", "images/one.png", "images/two.png", "log.txt"],
    }


def test_what_is_there_is_presented_in_the_order_of_the_kind(out: Path) -> None:
    expected = [("Note", out / "note.txt"), ("Images", out / "images")]
    assert Results.open(out, NOTE).present() == expected


def test_results_are_not_replaced_without_being_told(out: Path) -> None:
    before = files(out)
    with pytest.raises(UsageError, match="already holds a note: overwrite it"):
        Results.create(out, NOTE)
    Results.create(out, NOTE, overwrite=True)
    assert files(out) - {".lock"} == before, "old results stay until they are cleared"


def test_clearing_removes_what_is_listed_and_nothing_else(out: Path) -> None:
    (out / "mine.txt").write_text("keep")
    (out / "images" / "mine.png").write_text("keep")
    (out / "empty").mkdir()
    results = Results.create(out, NOTE, overwrite=True)
    results.clear()
    results.release()
    assert files(out) == {"mine.txt", "images/mine.png", MANIFEST}
    assert (out / "empty").is_dir()
    (out / "images" / "mine.png").unlink()
    results.add("images/one.png").write_text("")
    results.clear()
    assert not (out / "images").exists(), "a folder that was made for the results goes with them"


def test_everything_in_a_listed_folder_belongs_to_the_results(tmp_path: Path) -> None:
    results = Results.create(tmp_path, NOTE)
    (results.add("images/") / "deeper").mkdir()
    results.clear()
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 100_000, b'{"kind": "a note"}'),
        *(b'{"kind": "a note", "files": "note.txt"}', b'{"kind": "a note", "files": {"note.txt": 1}}'),
        *(b'{"kind": "a note", "files": [1]}', b'{"kind": "a note", "files": [["note.txt"]]}'),
        *(b'{"kind": ["a note"], "files": []}', b'{"kind": "a run", "files": ["note.txt"]}'),
        *(b'{"kind": "a note", "files": ["../mine"]}', b'{"kind": "a note", "files": ["images/../../mine"]}'),
        *(b'{"kind": "a note", "files": ["/etc/hostname"]}', b'{"kind": "a note", "files": ["."]}'),
        *(b'{"kind": "a note", "files": [""]}', b'{"kind": "a note", "files": ["a\\u0000b"]}'),
        *(b'{"kind": "a note", "files": ["\\ud800"]}', b'{"kind": "a note", "files": [".lock"]}'),
    ],
)
def test_a_manifest_that_is_damaged_or_hostile_removes_nothing(out: Path, content: bytes) -> None:
    (out.parent / "mine").write_text("keep")
    (out / MANIFEST).write_bytes(content)
    before = files(out.parent)
    with pytest.raises(UsageError, match="does not hold a note: choose another directory"):
        Results.create(out, NOTE, overwrite=True)
    with pytest.raises(UsageError, match="does not hold a note: there is no"):
        Results.open(out, NOTE)
    assert files(out.parent) == before


def test_a_folder_in_place_of_a_listed_file_is_not_removed(out: Path) -> None:
    (out / "photographs").mkdir()
    (out / "photographs" / "mine.png").write_text("keep")
    manifest(out, ["note.txt", "photographs", "note.txt/deeper"])
    with pytest.raises(EvofoolError, match="photographs is a folder in place of a file"):
        Results.create(out, NOTE, overwrite=True).clear()
    assert (out / "photographs" / "mine.png").exists()


def test_links_are_removed_and_what_they_lead_to_stays(out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("one.png", "two.png", "note.txt"):
        (elsewhere / name).write_text("keep")
    (out / "note.txt").unlink()
    (out / "note.txt").symlink_to(elsewhere / "note.txt")
    (out / "images").rename(tmp_path / "moved")
    (out / "images").symlink_to(elsewhere)
    (out / "log").symlink_to(elsewhere)
    manifest(out, ["note.txt", "images/one.png", "images/two.png", "log/"])
    Results.create(out, NOTE, overwrite=True).clear()
    assert files(elsewhere) == {"one.png", "two.png", "note.txt"}
    assert {path.name for path in out.iterdir()} - {".lock"} == {MANIFEST}


@pytest.mark.parametrize("name", ["note.txt", "images/one.png", "images/", "log/deep/er.txt"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    results = Results.create(out, NOTE)
    (out / name.split("/")[0]).symlink_to(elsewhere / "x" if name == "note.txt" else elsewhere)
    with pytest.raises(EvofoolError, match=r"is in the way|is a link, and nothing is written through links"):
        results.add(name)
    assert list(elsewhere.iterdir()) == []


def test_results_with_a_link_among_them_are_not_continued(out: Path, tmp_path: Path) -> None:
    (out / "images").rename(tmp_path / "moved")
    (out / "images").symlink_to(tmp_path / "moved")
    with pytest.raises(EvofoolError, match="images is a link"):
        Results.open(out, NOTE).hold()


def test_a_temporary_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    (tmp_path / f".new.{os.getpid()}.part").symlink_to(tmp_path / "mine")
    with replacing(tmp_path / "new") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "mine").read_text() == "keep"
    assert not (tmp_path / "new").is_symlink()


def test_a_file_of_the_user_is_never_overwritten(out: Path) -> None:
    (out / "log.txt").write_text("mine")
    results = Results.open(out, NOTE)
    with pytest.raises(UsageError, match=r"log\.txt is in the way and is not part of a note"):
        results.add("log.txt")
    results.release()
    with pytest.raises(UsageError, match=r"log\.txt is in the way and is not part of a note"):
        Results.create(out, NOTE, overwrite=True)
    assert (out / "log.txt").read_text() == "mine"


def test_leftovers_of_a_killed_process_are_swept_and_block_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    leftovers = [out / ".manifest.json.123.part", out / ".lock"]
    for path in leftovers:
        path.write_text("")
    results = Results.create(out, NOTE)
    assert not leftovers[0].exists()
    results.add("images/one.png").write_text("")
    results.release()
    (out / "images" / ".two.png.99.part").write_text("")
    (out / ".mine.part").write_text("not a leftover")
    results.hold()
    results.release()
    assert files(out) == {"images/one.png", MANIFEST, ".mine.part"}


def test_a_manifest_alone_blocks_nothing(tmp_path: Path) -> None:
    Results.create(tmp_path / "out", NOTE).clear()
    results = Results.create(tmp_path / "out", NOTE)
    results.add("images/one.png").write_text("")
    results.release()
    assert files(tmp_path / "out") == {MANIFEST, "images/one.png"}


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="not empty and does not hold a note"):
            Results.create(tmp_path, NOTE, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a file"):
        Results.create(tmp_path / "thesis.tex", NOTE, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@contextmanager
def held_elsewhere(out: Path) -> Iterator[subprocess.Popen[str]]:
    program = (
        "import sys, time; from pathlib import Path; from evofool.locks import hold\n"
        "lock = hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_which_one_holds_the_directory(out: Path) -> None:
    before = files(out)
    attempts: list[Callable[[], Any]] = [
        lambda: Results.create(out, NOTE, overwrite=True),
        lambda: Results.open(out, NOTE).hold(),
        lambda: Results.open(out, NOTE).add("log.txt"),
        lambda: Results.open(out, NOTE).clear(),
    ]
    with held_elsewhere(out) as process:
        for attempt in attempts:
            with pytest.raises(EvofoolError, match=f"in use by process {process.pid} on ") as refused:
                attempt()
            assert refused.value.exit_code == 1
            assert "\n" not in str(refused.value)
        assert len(Results.open(out, NOTE).present()) == 2, "reading is allowed"
        assert files(out) - {".lock"} == before
    Results.open(out, NOTE).add("log.txt")  # the lock of the killed process has gone with it


def test_a_directory_is_free_once_its_results_are_released(out: Path) -> None:
    results = Results.open(out, NOTE)
    results.hold()
    again = Results.open(out, NOTE)
    again.hold()  # the same process
    results.release()
    assert (out / ".lock").exists()
    again.release()
    assert not (out / ".lock").exists()
    with held_elsewhere(out):
        pass


def test_a_new_directory_without_results_goes_when_it_is_released(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for path in (new, old):
        Results.create(path, NOTE).release()
    assert not new.exists()
    assert list(old.iterdir()) == []


def test_a_directory_that_is_removed_is_not_made_again(out: Path) -> None:
    results = Results.open(out, NOTE)
    results.hold()
    out.rename(out.with_name("moved"))
    for attempt in (lambda: results.add("log.txt"), results.clear):
        with pytest.raises(EvofoolError, match="the directory has been removed"):
            attempt()
    assert not out.exists()


@contextmanager
def full_disk(free: int = 0) -> Iterator[None]:
    """No file may grow beyond this many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line(out: Path, tmp_path: Path) -> None:
    results = Results.open(out, NOTE)
    results.hold()
    before = files(out)
    with full_disk(), pytest.raises(EvofoolError, match=r"cannot write results to .*: File too large$"):
        results.add("log.txt")
    with full_disk(), pytest.raises(EvofoolError, match=r"cannot write results to .*: File too large$"):
        Results.create(tmp_path / "new", NOTE)
    assert files(out) == before


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EvofoolError, match=r"cannot write results to .*: File name too long$"):
        Results.create(tmp_path / ("long" * 100), NOTE)
    with pytest.raises(EvofoolError, match=r"cannot read .*: File name too long$"):
        Results.open(tmp_path / ("long" * 100), NOTE)
    (tmp_path / "file").write_text("")
    with pytest.raises(EvofoolError, match=r"cannot write results to .*: Not a directory$"):
        Results.create(tmp_path / "file" / "out", NOTE)


def test_thousands_of_files_are_added_at_once(tmp_path: Path) -> None:
    results = Results.create(tmp_path, NOTE)
    names = [f"images/{index}.png" for index in range(20_000)]
    results.add_all(names)
    results.add_all(names)
    assert json.loads((tmp_path / MANIFEST).read_text())["files"] == names


def test_a_name_outside_the_directory_is_a_mistake_of_the_program(tmp_path: Path) -> None:
    results = Results.create(tmp_path / "out", NOTE)
    with pytest.raises(ValueError, match="is not a name inside a directory"):
        results.add("../mine")


def test_appended_lines_are_kept(tmp_path: Path) -> None:
    append(tmp_path / "log", b"one\n", durably=False)
    append(tmp_path / "log", b"two\n", durably=True)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_single_file_is_checked_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "new" / "weights"
    require_new_file(file, overwrite=False)
    assert list(file.parent.iterdir()) == []
    file.write_text("")
    with pytest.raises(UsageError, match="already exists: overwrite it"):
        require_new_file(file, overwrite=False)
    require_new_file(file, overwrite=True)
    with pytest.raises(UsageError, match="is a directory"):
        require_new_file(tmp_path, overwrite=True)
    with pytest.raises(EvofoolError, match=r"cannot write to"):
        require_new_file(file / "deeper", overwrite=False)
