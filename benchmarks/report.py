"""What a case measured, for people: tables on the terminal and in README.md, plots beside the JSON."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.harness import device_name
from evofool.files import replacing
from evofool.report.plots import STYLE

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
_BEGIN, _END = "<!-- made from results/ by `python -m benchmarks --readme` -->", "<!-- to here -->"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#3a3a3c", "#8e8e93")


def show(table: Mapping[str, Any], console: Console) -> None:
    """Print a table."""
    heading, rows = cells(table["rows"])
    shown = RichTable(box=None)
    for index, column in enumerate(heading):
        shown.add_column(column, justify="right" if index else "left")
    for row in rows:
        shown.add_row(*row)
    console.print(Text(table["title"], style="bold"), shown)


def cells(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The heading and the rows of a table as text; a row may lack a column, an empty one is left out."""
    columns = list(dict.fromkeys(key for row in rows for key in row if _any(rows, key)))
    return (
        [column.replace("_", " ") for column in columns],
        [[_text(row.get(column), column) for column in columns] for row in rows],
    )


def save(result: Mapping[str, Any]) -> Path:
    """Keep a result and its plots in results/, with the device in the name; returns the JSON's path."""
    RESULTS.mkdir(exist_ok=True)
    device = device_name().lower().replace(" ", "-").replace("/", "-")
    path = RESULTS / f"{result['case']}-{device}.json"
    path.write_text(dumps(result))
    draw(result, path.with_suffix(".png"))
    return path


def dumps(results: Any) -> str:
    """JSON with a line for each list or object that holds no other."""
    text = json.dumps(results, indent=1, allow_nan=False)
    for innermost in (r"\[\s+[^\[\]{}]*?\s+\]", r"\{\s+[^\[\]{}]*?\s+\}"):
        text = re.sub(innermost, lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    return text + "\n"


def renew_readme() -> None:
    """Write the tables of all results into README.md, between the two marks."""
    before, _, rest = README.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    README.write_text(f"{before}{_BEGIN}\n\n{markdown()}{_END}{after}")


def markdown() -> str:
    """The tables of all results in results/, case by case."""
    results = [json.loads(path.read_text()) | {"file": path.stem} for path in sorted(RESULTS.glob("*.json"))]
    return "".join(_section(result) for result in results)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Plot a result's bars and curves, if it has any, as panels of one PNG."""
    bars = [table for table in result["tables"] if table["bars"]]
    panels = [*[(_draw_bars, table) for table in bars], *[(_draw_lines, each) for each in result["curves"]]]
    if not panels:
        return
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "axes.titlesize": 8.5, "legend.fontsize": 7.5}):
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(5.2 * columns + 0.8, 3.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for spare in axes[len(panels) :]:
            spare.set_axis_off()
        for axis, (draw_panel, part) in zip(axes, panels, strict=False):
            draw_panel(axis, part)
            axis.set_title(part["title"], wrap=True)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def _section(result: Mapping[str, Any]) -> str:
    about = (
        f"## {result['case']}, {result['device']}\n\n{result['about']}\n\n"
        f"{result['date']}, commit {result['commit']}, JAX {result['versions']['jax']}, "
        f"{result['seconds']:.0f} s: `{result['command']}`\n"
    )
    tables = "".join(f"\n**{table['title']}**\n\n{_markdown_table(table)}" for table in result["tables"])
    plot = RESULTS / f"{result['file']}.png"
    return f"{about}{tables}\n" + (f"![{result['case']}](results/{plot.name})\n\n" if plot.exists() else "")


def _markdown_table(table: Mapping[str, Any]) -> str:
    heading, rows = cells(table["rows"])
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _any(rows: list[dict[str, Any]], key: str) -> bool:
    return any(row.get(key) is not None for row in rows)


def _text(value: Any, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        median, lowest, highest = (_text(value[name], column) for name in ("median", "lowest", "highest"))
        return median if lowest == highest else f"{median} ({lowest} to {highest})"
    if isinstance(value, bool | str):
        return str(value)
    if "confidence" in column:
        return f"{100 * value:.4g} %" if value < 0.999 else f"{100 * value:.4f} %"
    if "share" in column or "success" in column or "agreement" in column:
        return f"{100 * value:.1f} %"
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _draw_bars(axis: Any, table: Mapping[str, Any]) -> None:
    rows = [row for row in table["rows"] if row.get(table["bars"])][::-1]
    names = [next(iter(row.values())) for row in rows]
    values = [row[table["bars"]] for row in rows]
    median = [value["median"] for value in values]
    below = [value["median"] - value["lowest"] for value in values]
    above = [value["highest"] - value["median"] for value in values]
    axis.barh(names, median, xerr=[below, above], color=_COLOURS[0], height=0.6, error_kw={"linewidth": 1})
    axis.axvline(1, color=_COLOURS[6], linestyle=":", linewidth=1)
    axis.set_xlabel(table["bars"].replace("_", " "))
    axis.grid(axis="y", visible=False)
    for index, value in enumerate(median):
        fits = value > 0.15 * max(median)
        place, colour = (0, "white") if fits else (values[index]["highest"], _COLOURS[6])
        axis.annotate(f" {value:.3g}", (place, index), va="center", color=colour, fontsize=8)


def _draw_lines(axis: Any, curves: Mapping[str, Any]) -> None:
    for (name, line), colour in zip(curves["lines"].items(), _COLOURS, strict=False):
        axis.plot(line["x"], line["median"], color=colour, label=name, linewidth=1.5)
        axis.fill_between(line["x"], line["lowest"], line["highest"], color=colour, alpha=0.15, linewidth=0)
    if curves["logarithmic"]:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel(curves["x"])
    axis.set_ylabel(curves["y"])
    axis.set_ylim(bottom=0)
    axis.legend()
