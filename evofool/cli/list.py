"""`evofool list`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.table import Table

from evofool.classifiers import CLASSIFIERS, NETWORKS
from evofool.cli.attack import METHODS
from evofool.cli.console import make_console
from evofool.datasets import DATASETS
from evofool.errors import unknown_name
from evofool.runs import ALGORITHMS, ENCODINGS


@dataclass(frozen=True)
class List:
    """Show what can be named: classifiers, networks, datasets, encodings, algorithms, attacks.

    Attributes:
        what: one of these kinds; all of them if not given.
    """

    what: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="KIND")] = None

    def run(self) -> int:
        """Print the names; returns the exit code."""
        kinds = _kinds()
        if self.what is not None and self.what not in kinds:
            raise unknown_name("kind", self.what, kinds)
        console = make_console()
        for kind, names in kinds.items():
            if self.what in (None, kind):
                table = Table(
                    title=kind, title_justify="left", title_style="bold", show_header=False, box=None
                )
                table.add_column(no_wrap=True)
                table.add_column()
                for name, description in names.items():
                    table.add_row(name, description)
                console.print(table)
        return 0


def _kinds() -> dict[str, Mapping[str, str]]:
    return {
        "classifiers": {name: entry.summary for name, entry in CLASSIFIERS.items()},
        "networks": {name: entry.summary for name, entry in NETWORKS.items()},
        "datasets": {name: entry.summary for name, entry in DATASETS.items()},
        "encodings": ENCODINGS,
        "algorithms": ALGORITHMS,
        "attacks": {name: (method.__doc__ or "").splitlines()[0] for name, method in METHODS.items()},
    }
