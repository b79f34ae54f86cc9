"""`evofool list`."""

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.table import Table

from evofool.attacks import ATTACKS
from evofool.classifiers import CLASSIFIERS, COMPOSITIONS, MODELS, NETWORKS
from evofool.console import make_console
from evofool.datasets import DATASETS
from evofool.encodings import ENCODINGS
from evofool.errors import unknown_name
from evofool.registry import Registry
from evofool.search import SEARCHES
from evofool.studies import STUDIES

_KINDS: dict[str, tuple[str, Registry]] = {
    "classifiers": ("classifier", CLASSIFIERS),
    "models": ("model", MODELS),
    "compositions": ("composition", COMPOSITIONS),
    "networks": ("network", NETWORKS),
    "datasets": ("dataset", DATASETS),
    "encodings": ("encoding", ENCODINGS),
    "algorithms": ("algorithm", SEARCHES),
    "attacks": ("attack", ATTACKS),
    "studies": ("study", STUDIES),
}
"""What can be chosen by name: a singular and the choices of each kind."""


@dataclass(frozen=True)
class List:
    """List what has a name: classifiers and compositions of them, networks, datasets, encodings and more.

    Attributes:
        what: one of these kinds, in the singular or plural; all of them if not given.
    """

    what: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="{" + ",".join(_KINDS) + "}", help_behavior_hint=""),
    ] = None

    def run(self) -> int:
        """Print the names; returns the exit code."""
        wanted = [kind for kind, (singular, _) in _KINDS.items() if self.what in (None, kind, singular)]
        if not wanted:
            raise unknown_name("kind", str(self.what), _KINDS)
        console = make_console()
        for kind in wanted:
            table = Table(title=kind, title_justify="left", title_style="bold", show_header=False, box=None)
            table.add_column(no_wrap=True)
            table.add_column()
            for name, choice in _KINDS[kind][1].items():
                table.add_row(name, choice.described)
            console.print(table)
        return 0
