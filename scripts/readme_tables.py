"""Write the tables of README.md from the registries: `python scripts/readme_tables.py`."""

from collections.abc import Callable
from pathlib import Path

from run import run
from tables import markdown, renewed

from evofool.classifiers import CLASSIFIERS, COMPOSITIONS, MODELS, NETWORKS
from evofool.registry import Registry
from evofool.results import Kind
from evofool.runs import RUN

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Rewrite the tables."""
    README.write_text(renewed(README.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


def of_registry(registry: Registry) -> str:
    """A table of names, with a line about each."""
    rows = [(f"`{name}`", entry.summary) for name, entry in registry.items()]
    return markdown(("name", "description"), rows)


def of_results(kind: Kind) -> str:
    """A table of the files and folders of results of a kind."""
    rows = [(f"`{path}`", content.description) for path, content in kind.contents.items()]
    return markdown(("file", "content"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "classifiers": lambda: of_registry(CLASSIFIERS),
    "models": lambda: of_registry(MODELS),
    "compositions": lambda: of_registry(COMPOSITIONS),
    "networks": lambda: of_registry(NETWORKS),
    "run directory": lambda: of_results(RUN),
}
"""The tables by name."""


if __name__ == "__main__":
    run(main)
