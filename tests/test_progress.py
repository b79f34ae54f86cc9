"""The progress of a run in Python."""

import io
from typing import Any

import pytest
from rich.console import Console

import evofool
from evofool import create_classifier, direct, map_elites, progress, run

CLASSIFIER = create_classifier("linear", (6, 6, 1), ("even", "odd"))
SEARCH = map_elites(direct((6, 6, 1)), evofool.MapElitesOptions(8))


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    state = run(SEARCH, CLASSIFIER, 4, chunk=2)
    state = run(SEARCH, CLASSIFIER, 6, state=state, chunk=2, progress=True)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "linear: 8 images per generation"
    assert out[-1].startswith("generation 6 of 6: median ")
    run(SEARCH, CLASSIFIER, 2, seeds=range(3), progress=True)
    assert capsys.readouterr().out.splitlines()[-1].startswith("generation 2 of 2: median ")
    run(SEARCH, CLASSIFIER, 2)
    assert capsys.readouterr().out == ""
    assert repr(state) == "MapElitesState(generation 6, Archive(2 niches))"


def test_progress_is_a_bar_on_a_terminal_and_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "make_console", lambda: console)
    seen = []

    def stop_at_four(state: Any, metrics: Any) -> bool:
        seen.append(int(state.generation))
        return seen[-1] == 4

    shown = run(SEARCH, CLASSIFIER, 6, chunk=2, on_chunk=stop_at_four, progress=True, seed=3)
    assert seen == [2, 4]
    assert "4/6" in terminal.getvalue()
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in terminal.getvalue()
    plain = run(SEARCH, CLASSIFIER, 4, seed=3)
    assert shown.archive.confidences.tolist() == plain.archive.confidences.tolist()


@pytest.mark.parametrize("with_bar", [False, True])
@pytest.mark.parametrize("error", [ValueError("mine"), StopIteration(), KeyboardInterrupt()])
def test_what_a_callback_raises_arrives_as_itself(with_bar: bool, error: BaseException) -> None:
    def fail(state: Any, metrics: Any) -> bool:
        raise error

    with pytest.raises(type(error)) as caught:
        run(SEARCH, CLASSIFIER, 2, chunk=1, on_chunk=fail, progress=with_bar)
    assert caught.value is error
