"""Studies: what one is, what it results in, and how that is written to a directory."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evofool.files import file_name, replacing, save_table, unique, without_nan
from evofool.results import Content, Kind, Results

Cell = str | int | float | None
"""A value of a table; None where there is none."""

Figure = Callable[..., None]
"""A function of the report that lacks only where to draw: it is called with `path` and `title`."""

SOURCE = "source"
"""The column of a saved table that says which paper reported a row; empty for a row that was measured."""

KIND = Kind(
    "a study",
    {
        "tables.md": Content("Tables", "all tables, and what differs from the source"),
        "tables/": Content("Values", "the same as CSV, a file per table"),
        "figures/": Content("Figures", "a PNG per figure"),
        "study.json": Content("Study", "the options and all tables as JSON"),
    },
)
"""The results of a study."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: the words above it.
        text: how a number is written; words stay as they are.
    """

    heading: str
    text: Callable[[Any], str] = str


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        cells: the values by the name of their column; what is missing is left blank.
        reported: the paper that reports these values, cited in full; empty if they were measured here.
    """

    cells: Mapping[str, Cell]
    reported: str = ""


class Table(NamedTuple):
    """A table.

    Attributes:
        columns: the columns by name, in order.
        rows: at least one.
    """

    columns: Mapping[str, Column]
    rows: Sequence[Row]

    @property
    def sources(self) -> list[str]:
        """The papers that reported a row, in the order of their numbers."""
        return list(dict.fromkeys(row.reported for row in self.rows if row.reported))

    def texts(self, row: Row) -> list[str]:
        """The values of a row as a reader sees them; the first with the number of its source, if any."""
        texts = []
        for name, column in self.columns.items():
            value = row.cells.get(name)
            texts.append("" if value is None else value if isinstance(value, str) else column.text(value))
        if row.reported:
            texts[0] += f" [{1 + self.sources.index(row.reported)}]"
        return texts

    def records(self) -> list[dict[str, Cell]]:
        """The rows as plain values, each with its source."""
        return [
            {name: row.cells.get(name) for name in self.columns} | {SOURCE: row.reported} for row in self.rows
        ]


class StudyResult(NamedTuple):
    """What a study found.

    Attributes:
        tables: by name, which serves as a title.
        figures: by name, which serves as a title.
        differences: sentences on what differs from the source.
    """

    tables: Mapping[str, Table]
    figures: Mapping[str, Figure] = {}
    differences: Sequence[str] = ()


def save_study(result: StudyResult, options: Any, results: Results) -> None:
    """Write the tables as Markdown, CSV and JSON, and the figures as PNG.

    Args:
        result: of the study.
        options: the dataclass of the study's options.
        results: a directory of the kind `KIND`; old results in it are removed.

    Raises:
        EvofoolError: something cannot be written.

    Example:
        >>> import tempfile
        >>> from evofool.registry import NoOptions
        >>> table = Table({"share": Column("share of all", "{:.0%}".format)}, [Row({"share": 0.5})])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = Results.create(Path(folder, "out"), KIND)
        ...     save_study(StudyResult({"Halves": table}), NoOptions(), results)
        ...     print(Path(folder, "out", "tables.md").read_text().strip())
        # Halves
        <BLANKLINE>
        | share of all |
        | --- |
        | 50% |
    """
    results.clear()
    with results.writing():
        _save_text(results.add("tables.md"), _markdown(result))
        values = {
            "options": dataclasses.asdict(options),
            "tables": {name: table.records() for name, table in result.tables.items()},
            "differences": list(result.differences),
        }
        text = json.dumps(without_nan(values), indent=1, ensure_ascii=False, allow_nan=False, default=str)
        _save_text(results.add("study.json"), text)
        for name, table in zip(_file_names(result.tables), result.tables.values(), strict=True):
            save_table(results.add(f"tables/{name}.csv"), table.records())
        for name, (title, draw) in zip(_file_names(result.figures), result.figures.items(), strict=True):
            draw(path=results.add(f"figures/{name}.png"), title=title)


def _markdown(result: StudyResult) -> str:
    blocks = []
    for name, table in result.tables.items():
        headings = [column.heading for column in table.columns.values()]
        lines = [headings, ["---"] * len(headings)]
        lines += [
            [f"*{text}*" if text and row.reported else text for text in table.texts(row)]
            for row in table.rows
        ]
        blocks += [f"# {name}", "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)]
        blocks += [f"[{number}] {source}" for number, source in enumerate(table.sources, 1)]
    if result.differences:
        blocks += ["## What differs from the source", "\n".join(f"- {line}" for line in result.differences)]
    return "\n\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _file_names(titles: Mapping[str, Any]) -> list[str]:
    return unique([file_name(title) or "_" for title in titles])


def _save_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
