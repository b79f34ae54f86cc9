"""Cells and rows of Markdown tables, and pages that have them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from evofool.errors import unknown_name
from evofool.report import format_confidence


def markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(markdown(("a", "b"), [("1", "2")]))
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, ["---"] * len(heading), *rows))


def confidence(value: float) -> str:
    """A confidence that was measured in single precision, in percent."""
    return format_confidence(np.float32(value))


def spread(values: Sequence[float], form: Callable[[float], str] = confidence) -> str:
    """The median of several runs, with the lowest and the highest in brackets; one run stands alone.

    Example:
        >>> spread([0.5, 0.25, 0.75]), spread([3.0], "{:.0f}".format)
        ('50.00% (25.00% to 75.00%)', '3')
    """
    low, middle, high = (form(float(np.quantile(values, q))) for q in (0, 0.5, 1))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def renewed(text: str, tables: Mapping[str, Callable[[], str]], *, others: bool = False) -> str:
    r"""A Markdown text with new tables between each `<!-- table: NAME -->` and `<!-- end -->`.

    Args:
        text: the page.
        tables: functions that return the tables, by name.
        others: leave tables that are not among these as they are.

    Raises:
        UsageError: there is no table of this name.

    Example:
        >>> renewed("<!-- table: ages -->\n<!-- end -->", {"ages": lambda: "| 7 |"}).splitlines()
        ['<!-- table: ages -->', '| 7 |', '<!-- end -->']
    """

    def table(found: re.Match[str]) -> str:
        name = found[1]
        if name in tables:
            return f"<!-- table: {name} -->\n{tables[name]()}\n<!-- end -->"
        if others:
            return found[0]
        raise unknown_name("table", name, tables)

    return re.sub(r"<!-- table: (.+?) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)
