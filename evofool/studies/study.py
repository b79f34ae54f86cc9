"""Studies: what one is, and what it results in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

SOURCE = "source"
"""The column of a saved table that says which paper reported a row; empty for a row that was measured."""

Figure = Callable[..., None]
"""A function of the report that lacks only where to draw: it is called with `path` and `title`."""


class Spread(NamedTuple):
    """A value that was measured several times, for instance with several seeds.

    Attributes:
        median: of the values.
        low: the lowest.
        high: the highest.

    Example:
        >>> Spread.of([0.5, 0.25, 0.75])
        Spread(median=0.5, low=0.25, high=0.75)
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one or more values; nan where all of them are, else of those that are numbers."""
        known = [value for value in values if not np.isnan(value)] or [np.nan]
        return cls(*(float(np.quantile(known, q)) for q in (0.5, 0, 1)))

    @classmethod
    def of_each(cls, measured: Sequence[Mapping[str, float]]) -> dict[str, "Spread"]:
        """The spread of each of several values by name, which were measured together.

        Example:
            >>> Spread.of_each([{"error": 0.1}, {"error": 0.3}])["error"].high
            0.3
        """
        return {name: cls.of([values[name] for values in measured]) for name in measured[0]}


Cell = str | int | float | Spread | None
"""A value of a table; None where there is none."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: the words above it.
        text: how a number is written; words stay as they are.
    """

    heading: str
    text: Callable[[Any], str] = str

    def shown(self, cell: Cell) -> str:
        """A value as a reader sees it: blank if there is none, "none" if it is not a number.

        Example:
            >>> share = Column("share", "{:.0%}".format)
            >>> share.shown(0.5), share.shown(Spread(0.5, 0.25, 0.75)), share.shown(None)
            ('50%', '50% (25% to 75%)', '')
        """
        if cell is None or isinstance(cell, str):
            return cell or ""
        if isinstance(cell, Spread):
            median, low, high = map(self.shown, cell)
            return median if low == high else f"{median} ({low} to {high})"
        return "none" if cell != cell else self.text(cell)


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        cells: the values by the name of their column; what is missing is left blank.
        reported: the paper that reports these values, cited in full; empty if they were measured here.
    """

    cells: Mapping[str, Cell]
    reported: str = ""


def reported(source: str, **cells: Cell) -> Row:
    """A row of values that a paper reports.

    Args:
        source: the paper, cited in full.
        cells: the values by the name of their column.
    """
    return Row(cells, source)


class Table(NamedTuple):
    """A table.

    Attributes:
        columns: the columns by name, in order.
        rows: at least one.
    """

    columns: Mapping[str, Column]
    rows: Sequence[Row]

    @property
    def has_ranges(self) -> bool:
        """Whether some value is a spread."""
        return any(isinstance(cell, Spread) for row in self.rows for cell in row.cells.values())

    @property
    def sources(self) -> list[str]:
        """The papers that reported a row, in the order of their numbers."""
        return list(dict.fromkeys(row.reported for row in self.rows if row.reported))

    def texts(self, row: Row, *, ranges: bool = True) -> list[str]:
        """The values of a row as a reader sees them; the first with the number of its source, if any.

        Args:
            row: one of the table's.
            ranges: show the lowest and the highest value of a spread too.
        """
        cells = {name: row.cells.get(name) for name in self.columns}
        if not ranges:
            cells = {name: cell.median if isinstance(cell, Spread) else cell for name, cell in cells.items()}
        texts = [column.shown(cells[name]) for name, column in self.columns.items()]
        if row.reported:
            texts[0] = f"{texts[0]} [{1 + self.sources.index(row.reported)}]".strip()
        return texts

    def records(self) -> list[dict[str, str | int | float | None]]:
        """The rows as plain values, each with its source.

        Where a column has spreads, two further columns have the lowest and the highest value.
        """
        spreads = {
            name for name in self.columns if any(isinstance(row.cells.get(name), Spread) for row in self.rows)
        }
        records = []
        for row in self.rows:
            record: dict[str, str | int | float | None] = {}
            for name in self.columns:
                cell = row.cells.get(name)
                record[name] = cell.median if isinstance(cell, Spread) else cell
                if name in spreads:
                    record[f"{name}_low"] = cell.low if isinstance(cell, Spread) else None
                    record[f"{name}_high"] = cell.high if isinstance(cell, Spread) else None
            records.append(record | {SOURCE: row.reported})
        return records


class StudyResult(NamedTuple):
    """What a study found.

    Attributes:
        tables: by name, which serves as a title.
        figures: by name, which serves as a title.
        differences: sentences on what differs from the source, and on what was found.
    """

    tables: Mapping[str, Table]
    figures: Mapping[str, Figure] = {}
    differences: Sequence[str] = ()
