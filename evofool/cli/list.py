"""`evofool list`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.table import Table

from evofool.attacks import ATTACKS
from evofool.classifiers import CLASSIFIERS, NETWORKS
from evofool.cli.console import make_console
from evofool.datasets import DATASETS
from evofool.errors import unknown_name
from evofool.runs import ALGORITHMS, ENCODINGS
from evofool.studies import STUDIES


@dataclass(frozen=True)
class List:
    """Show what can be named: classifiers, networks, datasets, encodings, algorithms, attacks, studies.

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
        "classifiers": {name: known.description for name, known in CLASSIFIERS.items()},
        "networks": {name: _first_line(network) for name, network in NETWORKS.items()},
        "datasets": DATASETS,
        "encodings": ENCODINGS,
        "algorithms": ALGORITHMS,
        "attacks": {name: entry.summary for name, entry in ATTACKS.items()},
        "studies": {name: entry.summary for name, entry in STUDIES.items()},
    }


def _first_line(network: Any) -> str:
    # Where a network's width is part of its name, the name stands for a partial application of its class.
    return getattr(network, "func", network).__doc__.splitlines()[0]
