"""The steps of a study: kept, read again, damaged; and how the work is shown."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
from rich.console import Console

from evofool import create_classifier, save_classifier
from evofool.datasets import Dataset, load_dataset
from evofool.errors import EvofoolError
from evofool.images import from_uint8, write_png
from evofool.results import Results
from evofool.studies import Work
from evofool.studies.defences import DefencesOptions, defences
from evofool.studies.directory import KIND
from evofool.training import TrainingOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study"


def new(folder: Path) -> Work:
    return Work(Results.create(folder, KIND))


def again(folder: Path) -> Work:
    results = Results.open(folder, KIND)
    results.hold()
    return Work(results)


def never() -> dict[str, np.ndarray]:
    raise AssertionError("a finished step was computed again")


def test_a_finished_step_is_read_by_its_name_and_not_computed_again(folder) -> None:
    values = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.array([0.1, np.nan])}
    new(folder).arrays("seed-0/it is", lambda: values)
    read = again(folder).arrays("seed-0/it is", never)
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(read[name], value, strict=True)
    other = again(folder).arrays("seed-1/it is", lambda: {"a": np.zeros(1)})
    np.testing.assert_array_equal(other["a"], [0])
    assert Work().arrays("seed-0/it is", lambda: {"a": np.ones(1)})["a"] == 1  # without a directory


def test_what_was_there_before_a_study_is_not_its_own(folder) -> None:
    work = new(folder)
    work.arrays("step", lambda: {"a": np.zeros(1)})
    del work
    results = Results.create(folder, KIND, overwrite=True)
    begun = []
    work = Work(results, lambda: begun.append(results.clear()))
    assert not work.begun
    with pytest.raises(RuntimeError):
        work.arrays("step", lambda: (_ for _ in ()).throw(RuntimeError()))
    assert (folder / "steps" / "step.npz").is_file()
    assert work.arrays("step", lambda: {"a": np.ones(1)})["a"] == 1
    assert (len(begun), work.begun) == (1, True)
    work.begin()
    assert len(begun) == 1


def one_line(error: pytest.ExceptionInfo[EvofoolError]) -> str:
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    return str(error.value)


def test_damaged_arrays_end_in_one_line_whatever_is_wrong_with_them(folder) -> None:
    random = np.random.default_rng(0)
    values = {"images": random.integers(256, size=(2, 9, 9), dtype=np.uint8), "of": np.arange(5.0)}
    new(folder).arrays("step", lambda: values)
    path = folder / "steps" / "step.npz"
    whole = path.read_bytes()
    work = again(folder)
    messages = []
    for number in range(600):
        damaged = bytearray(whole[: random.integers(len(whole))] if number % 5 == 0 else whole)
        for at in random.integers(max(1, len(damaged)), size=2):
            damaged[at : at + 1] = bytes([random.integers(256)])
        path.write_bytes(damaged)
        try:
            read = work.arrays("step", never)
            if {"images", "of"} <= read.keys():
                np.testing.assert_array_equal(read["images"], values["images"])
            else:
                read["images"], read["of"]
        except EvofoolError as error:
            messages.append(str(error))
    assert len(messages) > 500
    assert set(messages) == {f"{path} is damaged: remove it, and it is computed again"}
    np.save(path.open("wb"), np.zeros(3))
    with pytest.raises(EvofoolError, match="is damaged"):
        work.arrays("step", never)
    np.savez(path, images=np.array([object()]))  # a pickle, which is never read
    with pytest.raises(EvofoolError, match="is damaged"):
        work.arrays("step", never)
    path.unlink()
    assert work.arrays("step", lambda: {"a": np.ones(1)})["a"] == 1


@pytest.fixture
def stripes() -> Dataset:
    images = np.zeros((20, 4, 4, 1), np.uint8)
    labels = np.arange(20, dtype=np.int32) % 2
    images[labels == 1, :2] = 255
    return Dataset("stripes", ("dark", "light"), images[:15], labels[:15], images[15:], labels[15:])


def test_a_network_is_trained_once_and_a_damaged_one_ends_in_one_line(folder, stripes) -> None:
    options = TrainingOptions(epochs=2, batch_size=5)

    def start():
        return create_classifier("linear", (4, 4, 1), stripes.class_names, name="stripy")

    trained, accuracy = new(folder).trained("nets/first", start, stripes, options)
    read, same = again(folder).trained("nets/first", never, stripes, options)
    alone, _ = Work().trained("nets/first", start, stripes, options)
    assert (accuracy, read.spec) == (same, trained.spec)
    images = from_uint8(stripes.test_images)
    np.testing.assert_array_equal(read(images), trained(images))
    np.testing.assert_array_equal(alone(images), trained(images))

    path = folder / "steps" / "nets" / "first.safetensors"
    whole = path.read_bytes()
    work = again(folder)
    for damaged in (
        *(b"", b"text", whole[:-4], whole[:50], b"\xff" + whole[1:]),
        whole.replace(b"test_accuracy", b"best_accuracy"),
        whole.replace(b'"test_accuracy":"', b'"test_accuracy":"x')[: len(whole)],
        whole.replace(b'"linear"', b'"nonsen"'),
    ):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(EvofoolError) as error:
            work.trained("nets/first", never, stripes, options)
        assert one_line(error) == f"{path} is damaged: remove it, and it is computed again"


def test_a_study_goes_on_with_the_weights_and_the_images_that_it_began_with(folder, tmp_path) -> None:
    def save(seed: int) -> None:
        linear = create_classifier("linear", (4, 4, 1), ("a", "b"), seed=seed)
        save_classifier(tmp_path / "net.safetensors", linear, training_data="none", test_accuracy=0.5)

    random = np.random.default_rng(0)
    for number, name in itertools.product(range(5), ("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
        write_png(
            tmp_path / f"pets/{name}/{number}.png", random.integers(256, size=(4, 4, 1), dtype=np.uint8)
        )
    save(0)
    net, pets = str(tmp_path / "net.safetensors"), str(tmp_path / "pets")
    first = new(folder)
    first.load_classifier(net)
    first.load_dataset(pets)
    del first
    second = again(folder)
    second.load_classifier(net)
    second.load_dataset(pets)
    del second
    save(1)
    third = again(folder)
    with pytest.raises(EvofoolError, match=r"net\.safetensors are not those that the study in") as error:
        third.load_classifier(net)
    one_line(error)
    for number in (3, 4):  # which is learnt, and which is held out
        path = tmp_path / f"pets/cat/{number}.png"
        before = path.read_bytes()
        write_png(path, np.zeros((4, 4, 1), np.uint8))
        with pytest.raises(EvofoolError, match=r"the images of .*pets are not those") as error:
            third.load_dataset(pets)
        one_line(error)
        path.write_bytes(before)
    third.load_classifier("lenet-digits")  # which is new
    del third
    inputs = folder / "steps" / "inputs.json"
    assert "lenet-digits" in inputs.read_text()
    for damaged in ("", "[1]", "5", "{", "[" * 100_000):
        inputs.write_text(damaged)
        with pytest.raises(EvofoolError, match="is damaged, so the study cannot go on") as error:
            again(folder).load_classifier(net)
        one_line(error)


def test_the_files_that_a_defence_is_made_of_stay_the_same(folder, tmp_path) -> None:
    class StoppedBeforeTraining(Work):
        def trained(self, *_: object) -> NoReturn:
            self.begin()
            raise KeyboardInterrupt

    def save(seed: int) -> None:
        linear = create_classifier("linear", (28, 28, 1), load_dataset("digits").class_names, seed=seed)
        save_classifier(tmp_path / "net.safetensors", linear, training_data="none", test_accuracy=0.5)

    save(0)
    options = DefencesOptions(defences=("plain", f"ensemble(plain, blurred({tmp_path}/net.safetensors))"))
    begun = Results.create(folder, KIND)
    with pytest.raises(KeyboardInterrupt):
        defences(options, StoppedBeforeTraining(begun, lambda: None))
    begun.release()
    save(1)
    with pytest.raises(EvofoolError, match=r"net\.safetensors are not those that the study in"):
        defences(options, again(folder))


# What is shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that a test sets."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("evofool.studies.work.time", clock)
    return clock


def test_where_there_is_no_terminal_a_line_is_printed_now_and_then(clock) -> None:
    printed = io.StringIO()
    work = Work(console=Console(file=printed, force_terminal=False))
    for outer in work.each([1, 2], "way"):
        with work.bar("training", 30) as advance:
            for _ in range(30 if outer == 2 else 0):
                advance(1)
                clock.now += 0.4
    lines = printed.getvalue().splitlines()
    assert lines[0] == "way: 1 of 2"  # the first at once, then one in five seconds
    assert lines[1:] == ["training: 14 of 30", "training: 27 of 30"]


@pytest.mark.parametrize("console", [None, Console(quiet=True), Console(quiet=True, force_terminal=True)])
def test_nothing_is_printed_where_nothing_is_to_be(console, capsys) -> None:
    work = Work(console=console)
    with work.bar("training", 2) as advance:
        advance(2)
    assert list(work.each("ab", "letter")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_are_bars_and_the_cursor_comes_back_after_an_error() -> None:
    printed = io.StringIO()
    work = Work(console=Console(file=printed, force_terminal=True, width=80))

    def fail() -> None:
        for _ in work.each([1, 2], "outer"):
            for number in work.each([1, 2, 3], "inner"):
                if number == 3:
                    raise KeyError

    with pytest.raises(KeyError):
        fail()
    work.close()
    assert "outer" in printed.getvalue()
    assert printed.getvalue().rindex("\x1b[?25h") > printed.getvalue().rindex("\x1b[?25l")
    assert list(work.each("ab", "letter")) == ["a", "b"]
