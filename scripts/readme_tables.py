"""Write the tables of README.md from the registries: `python scripts/readme_tables.py`."""

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from run import run
from tables import markdown

from evofool.classifiers.networks import NETWORKS
from evofool.classifiers.registry import CLASSIFIERS
from evofool.errors import unknown_name
from evofool.results import Kind

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Rewrite the tables."""
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")


def renewed(text: str) -> str:
    """A Markdown text with new tables between each `<!-- table: NAME -->` and `<!-- end -->`.

    Raises:
        UsageError: there is no table of this name.
    """

    def table(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise unknown_name("table", name, TABLES)
        return f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (.+?) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def of_names(column: str, summaries: Mapping[str, str]) -> str:
    """A table of names, with a line about each."""
    return markdown((column, "description"), [(f"`{name}`", summary) for name, summary in summaries.items()])


def of_results(kind: Kind) -> str:
    """A table of the files and folders of results of a kind."""
    return of_names("file", {path: content.description for path, content in kind.contents.items()})


TABLES: dict[str, Callable[[], str]] = {
    "classifiers": lambda: of_names("name", {name: known.description for name, known in CLASSIFIERS.items()}),
    "networks": lambda: of_names("name", {name: _first_line(network) for name, network in NETWORKS.items()}),
}
"""The tables by name."""


def _first_line(network: object) -> str:
    return (inspect.getdoc(getattr(network, "func", network)) or "").splitlines()[0]


if __name__ == "__main__":
    run(main)
