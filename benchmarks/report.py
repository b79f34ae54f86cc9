"""Reports of results: tables on the terminal and in README.md, plots next to the JSON."""

import itertools
import json
import math
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.harness import device_name
from evofool.report import format_confidence
from evofool.report.figure import BLUE, DASHES, INK, PALETTE, doubt, figure, legend_below, set_certainty_axis

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
DOCS = Path(__file__).parents[1] / "docs"
_BEGIN, _END = "<!-- made from results/ by `python -m benchmarks --readme` -->", "<!-- to here -->"
_PANEL_LETTERS = 46  # per line of a panel's title
_NUMBER = "{x:,.10g}"
_BANDS = (("lower_quartile", "upper_quartile"), ("lowest", "highest"))


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
    """The heading and the rows of a table as text. Rows may lack columns; empty columns are left out."""
    columns = list(dict.fromkeys(key for row in rows for key in row if _any(rows, key)))
    return (
        [column.replace("_", " ") for column in columns],
        [[_text(row.get(column), column) for column in columns] for row in rows],
    )


def save(result: Mapping[str, Any]) -> Path:
    """Save a result and its plots in results/, named after the device; returns the path of the JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = result_path(result["case"])
    path.write_text(dumps(result))
    draw(result, path.with_suffix(".png"))
    return path


def result_path(case: str) -> Path:
    """Where the result of a case on this device is kept."""
    device = device_name().lower().replace(" ", "-").replace("/", "-")
    return RESULTS / f"{case}-{device}.json"


def dumps(results: Any) -> str:
    """JSON with one line for each innermost list or object."""
    text = json.dumps(results, indent=1, allow_nan=False)
    for innermost in (r"\[\s+[^\[\]{}]*?\s+\]", r"\{\s+[^\[\]{}]*?\s+\}"):
        text = re.sub(innermost, lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    return text + "\n"


def renew_pages() -> None:
    """Write the tables of all results into README.md, and those of some cases into the pages of docs/."""
    before, _, rest = README.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    README.write_text(f"{before}{_BEGIN}\n\n{markdown()}{_END}{after}")
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if (renewed := with_tables(text)) != text:
            page.write_text(renewed)


def with_tables(text: str) -> str:
    """A page with the tables of a case between each `<!-- benchmark: CASE -->` and `<!-- end -->`."""

    def tables(found: re.Match[str]) -> str:
        own = [result for result in _results() if result["case"] == found[1]]
        shown = "".join(_titled(table) for result in own for table in result["tables"])
        return f"<!-- benchmark: {found[1]} -->\n{shown}\n<!-- end -->"

    return re.sub(r"<!-- benchmark: (.+?) -->\n.*?<!-- end -->", tables, text, flags=re.DOTALL)


def markdown() -> str:
    """The tables of all results in results/, case by case."""
    return "".join(_section(result) for result in _results())


def _results() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) | {"file": path.stem} for path in sorted(RESULTS.glob("*.json"))]


def markdown_table(table: Mapping[str, Any]) -> str:
    """A table in Markdown, without its title."""
    heading, rows = cells(table["rows"])
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Plot the bars and curves of a result, if any, as panels of one PNG."""
    bars = [table for table in result["tables"] if table["bars"]]
    panels = [*[(_draw_bars, table) for table in bars], *[(_draw_lines, each) for each in result["curves"]]]
    if not panels:
        return
    titles = {part["title"] for _, part in panels}
    shared = titles.pop() if len(titles) == 1 else None
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    height = 3.4 * rows + (0.9 if result["curves"] else 0.2)
    with figure(path, shared, size=(5.2 * columns + 0.8, height)) as drawn:
        axes = drawn.subplots(rows, columns, squeeze=False).ravel()
        for spare in axes[len(panels) :]:
            spare.set_axis_off()
        keys: dict[str, Any] = {}
        for axis, (draw_panel, part) in zip(axes, panels, strict=False):
            draw_panel(axis, part)
            if shared is None:
                axis.set_title(textwrap.fill(part["title"], _PANEL_LETTERS))
                axis.set_ylabel(part.get("y", ""))
            elif "y" in part:
                axis.set_title(f"{part['y'][0].upper()}{part['y'][1:]}")
            keys |= {label: line for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        if keys:
            legend_below(drawn, list(keys.values()), list(keys))


def _section(result: Mapping[str, Any]) -> str:
    about = (
        f"## {result['case']}, {result['device']}\n\n{result['about']}\n\n"
        f"{result['date']}, commit {result['commit']}, JAX {result['versions']['jax']}, "
        f"{result['seconds']:.0f} s: `{result['command']}`\n"
    )
    tables = "".join(_titled(table) for table in result["tables"])
    plot = RESULTS / f"{result['file']}.png"
    return f"{about}{tables}\n" + (f"![{result['case']}](results/{plot.name})\n\n" if plot.exists() else "")


def _titled(table: Mapping[str, Any]) -> str:
    return f"\n**{table['title']}**\n\n{markdown_table(table)}"


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
        return format_confidence(value)
    if "share" in column or "success" in column:
        return f"{100 * value:.1f}%"
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
    axis.barh(names, median, xerr=[below, above], color=BLUE, height=0.6, error_kw={"linewidth": 1})
    axis.axvline(1, color=INK, linestyle=":", linewidth=1)
    axis.set_xlabel(table["bars"].replace("_", " "))
    axis.grid(axis="y", visible=False)
    for index, value in enumerate(median):
        fits = value > 0.15 * max(median)
        place, colour = (0, "white") if fits else (values[index]["highest"], INK)
        axis.annotate(f" {value:.3g}", (place, index), va="center", color=colour, fontsize=8)


def _draw_lines(axis: Any, curves: Mapping[str, Any]) -> None:
    lines = curves["lines"]
    # A race is a step function: the best so far holds until there is a better one.
    step = None if curves["logarithmic"] else "post"
    confidence = "confidence" in curves["y"]
    ours = [name for name in lines if name.startswith("evofool")]
    smallest = 1.0
    for (name, line), colour in zip(lines.items(), itertools.cycle(PALETTE)):
        low, high = _BANDS[0] if _BANDS[0][0] in line else _BANDS[1]
        median, lowest, highest = (np.array(line[key], float) for key in ("median", low, high))
        if confidence:
            median, lowest, highest = doubt(median), doubt(lowest), doubt(highest)
            smallest = min(smallest, median.min(), highest.min())
        axis.fill_between(line["x"], lowest, highest, step=step, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            line["x"],
            median,
            drawstyle="default" if step is None else "steps-post",
            color=colour,
            label=name,
            # evofool is drawn on top, dashed where its lines may coincide.
            linestyle=DASHES[ours.index(name) % len(DASHES)] if name in ours else "-",
            linewidth=2.4 if name in ours else 1.3,
            zorder=3 if name in ours else 2,
        )
    if curves["logarithmic"]:
        axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(_NUMBER)
    if confidence:
        set_certainty_axis(axis, smallest)
    else:
        top = axis.get_ylim()[1]
        axis.set_ylim(-0.03 * top, top)  # keeps a line at 0 off the axis
        axis.yaxis.set_major_formatter(_NUMBER)
    axis.set_xlabel(curves["x"])
