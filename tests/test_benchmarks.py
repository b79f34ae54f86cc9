"""The command line of the benchmarks: results, tables and plots, and user errors."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks import report
from benchmarks.__main__ import CASES, main
from benchmarks.harness import Curves, Effort, Table

Bench = Callable[..., int]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """Call the command line in this process, with a results folder of its own: the exit code."""
    (tmp_path / "README.md").write_text(
        "before\n<!-- made from results/ by `python -m benchmarks --readme` -->"
    )
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "DOCS", tmp_path)

    def call(*args: object) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return call


def spread_of(lowest: float, median: float, highest: float) -> dict[str, float]:
    return {"median": median, "lowest": lowest, "highest": highest}


def succeeding(effort: Effort) -> Iterator[Table | Curves]:
    """A case that works.

    And more about it.
    """
    rows = [
        {"side": "forward pass", "ratio": spread_of(0.5, 1.0, 2.0)},
        {"side": "absent", "note": "not installed"},
    ]
    yield Table("A table", rows, bars="ratio")
    line = {"x": [0, 1], "median": [2, 3], "lowest": [1, 2], "highest": [3, 4]}
    yield Curves("A plot", "seconds", "niches", {"ours": line})


def growing(effort: Effort) -> Iterator[Table]:
    """A case whose table grows."""
    rows: list[dict[str, Any]] = []
    for number in range(3):
        rows = [*rows, {"side": f"side {number}"}]
        yield Table("A table", rows)


def failing(effort: Effort) -> Iterator[Table]:
    """A case that breaks."""
    yield Table("Half of it", [{"side": "forward pass"}])
    raise RuntimeError("broken")


def test_a_case_compares_with_the_bare_pass_and_names_a_missing_peer(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "evosax", None)
    assert bench("direct-es", "--quick", "--rounds", 3, "--json", tmp_path / "new" / "out.json") == 0
    (result,) = json.loads((tmp_path / "new" / "out.json").read_text())
    assert result["case"] == "direct-es"
    assert result["quick"] is True
    assert {"device", "cores", "versions", "commit", "command", "date"} <= result.keys()
    (table,) = result["tables"]
    rows = {row["side"]: row for row in table["rows"]}
    assert rows["forward pass"]["ratio_to_the_bare_pass"] == {"median": 1, "lowest": 1, "highest": 1}
    ours = rows["evofool"]
    for figure in ("evaluations_per_second", "ratio_to_the_bare_pass"):
        assert 0 < ours[figure]["lowest"] <= ours[figure]["median"] <= ours[figure]["highest"]
    assert ours["compile_seconds"] > 0
    assert "evosax is not installed" in rows["evosax Open_ES"]["note"]
    assert (tmp_path / "new" / "out-direct-es.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["map-elites", "student", "quality-map-elites", "quality-student"])
def test_the_peers_run(bench: Bench, tmp_path: Path, case: str) -> None:
    for package in ("evosax", "qdax", "ribs"):
        pytest.importorskip(package)
    assert bench(case, "--quick", "--json", tmp_path / "out.json") == 0
    (result,) = json.loads((tmp_path / "out.json").read_text())
    rows = result["tables"][0]["rows"]
    assert len(rows) >= 5
    assert all(row["evaluations_per_second"]["lowest"] > 0 for row in rows)


def test_a_failing_case_keeps_the_results_of_the_others_and_exits_with_1(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CASES, "first", succeeding)
    monkeypatch.setitem(CASES, "second", failing)
    monkeypatch.setitem(CASES, "third", succeeding)
    assert bench("first", "second", "third", "--json", tmp_path / "out.json") == 1
    assert [result["case"] for result in json.loads((tmp_path / "out.json").read_text())] == [
        "first",
        "third",
    ]
    assert "failed: second" in capsys.readouterr().err


def test_saved_results_are_named_after_the_device_and_printed_in_the_pages(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "first", succeeding)
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- benchmark: first -->\n<!-- end -->\nbelow\n")
    assert bench("first", "--save") == 0
    (saved,) = (tmp_path / "results").glob("*.json")
    assert saved.stem == f"first-{report.device_name().lower().replace(' ', '-')}"
    assert saved.with_suffix(".png").exists()
    assert json.loads(saved.read_text())["about"].startswith("A case that works.")
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n")
    assert "| forward pass | 1 (0.5 to 2) |  |\n| absent |  | not installed |\n" in readme
    before, _, rest = page.read_text().partition("<!-- benchmark: first -->\n")
    assert (before, rest.partition("<!-- end -->")[2]) == ("above\n", "\nbelow\n")
    assert "**A table**" in rest
    assert "| forward pass | 1 (0.5 to 2) |  |" in rest
    written = page.read_text()
    assert bench("--readme") == 0
    assert (tmp_path / "README.md").read_text() == readme
    assert page.read_text() == written


def test_a_table_that_grows_is_kept_once(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "growing", growing)
    assert bench("growing", "--json", tmp_path / "out.json") == 0
    (result,) = json.loads((tmp_path / "out.json").read_text())
    (table,) = result["tables"]
    assert [row["side"] for row in table["rows"]] == ["side 0", "side 1", "side 2"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["autoattack", "queries"])
def test_attacks_are_compared_with_those_of_other_libraries(bench: Bench, tmp_path: Path, case: str) -> None:
    """Peers that are missing are named; NumPy's is always there."""
    assert bench(case, "--quick", "--json", tmp_path / "out.json") == 0
    (result,) = json.loads((tmp_path / "out.json").read_text())
    rows = result["tables"][0]["rows"]
    assert all("note" in row or row["by"] == "evofool" or len(row) > 3 for row in rows)
    assert {row["by"] for row in rows} >= {"evofool", *(["NumPy"] if case == "queries" else [])}


def test_a_race_is_drawn_in_steps_with_evofool_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[tuple[str, int], Line2D] = {}
    plot = Axes.plot

    def recording(axes: Axes, *args: Any, **options: Any) -> Any:
        (line,) = plot(axes, *args, **options)
        drawn[str(options["label"]), axes.get_subplotspec().colspan.start] = line
        return [line]

    monkeypatch.setattr(Axes, "plot", recording)
    line = {"x": [0, 1, 2], "median": [0, 0.9, 1], "lower_quartile": [0, 0.5, 1], "upper_quartile": [0, 1, 1]}
    # More than there are colours.
    lines = dict.fromkeys(["evofool", "evofool, ranks", *map(str, range(9))], line)
    curves = [
        {"title": "A race", "x": "seconds", "y": y, "lines": lines, "logarithmic": False}
        for y in ("median confidence", "niches")
    ]
    report.draw({"tables": [], "curves": curves}, tmp_path / "race.png")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")
    assert len(drawn) == 2 * len(lines)
    assert {each.get_drawstyle() for each in drawn.values()} == {"steps-post"}
    for column in (0, 1):
        ours, ranked, other = (drawn[name, column] for name in ("evofool", "evofool, ranks", "0"))
        assert ours.get_zorder() > other.get_zorder()
        assert ours.get_linestyle() != ranked.get_linestyle()
    certainty, niches = (drawn["evofool", column].axes for column in (0, 1))
    assert certainty.get_yscale() == "log"
    assert drawn["evofool", 0].get_ydata().tolist() == pytest.approx([1, 0.1, 1e-8])
    assert niches.get_yscale() == "linear"
    assert [axes.get_title("left") for axes in (certainty, niches)] == ["Median confidence", "Niches"]


def test_confidences_in_tables_are_truncated() -> None:
    _, rows = report.cells([{"side": "ours", "median_confidence": spread_of(0.5, 0.99999996, 1.0)}])
    assert rows == [["ours", "99.999996% (50.00% to 100%)"]]


def test_the_tables_in_the_repository_match_its_results() -> None:
    before = report.README.read_text()
    assert f"\n{report.markdown()}<!-- to here -->" in before
    pages = {page: page.read_text() for page in report.DOCS.glob("*.md")}
    assert {page: report.with_tables(text) for page, text in pages.items()} == pages


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("studnet",), 2, "unknown case 'studnet': did you mean 'student'"),
        (("student", "--rounds", "0"), 2, "rounds must be above zero, not 0"),
        (("--quick", "--save"), 2, "leave out --quick or --save"),
        (("student", "--json", "/proc/none/out.json"), 1, "cannot write /proc/none/out.json"),
    ],
)
def test_user_errors_are_reported_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], code: int, words: str
) -> None:
    assert bench(*args) == code
    error = capsys.readouterr().err
    assert error.startswith("benchmarks: ")
    assert words in error
    assert error.count("\n") == 1
