"""`evofool fetch`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from evofool.cli.console import make_console
from evofool.datasets import fetch


@dataclass(frozen=True)
class Fetch:
    """Download a dataset into the cache, checked against its known checksums.

    The cache is the system's usual place for such files, or EVOFOOL_CACHE if set.

    Attributes:
        dataset: what to download: mnist (11 MB).
        url: address of a mirror with the four .gz files, instead of the public ones.
        quiet: print nothing but errors.
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "mnist"
    url: str | None = None
    quiet: bool = False

    def run(self) -> int:
        """Download; returns the exit code."""
        folder = fetch(self.dataset, self.url, quiet=self.quiet)
        make_console(quiet=self.quiet).print(f"{self.dataset} is in {folder}", soft_wrap=True)
        return 0
