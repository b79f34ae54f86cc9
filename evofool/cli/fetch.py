"""`evofool fetch`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from evofool.classifiers.released import RELEASED, fetch_weights
from evofool.console import make_console
from evofool.datasets import DOWNLOADABLE, fetch
from evofool.errors import unknown_name


@dataclass(frozen=True)
class Fetch:
    """Download a dataset or the weights of a classifier into the cache, checked against known checksums.

    The cache is the system's usual place for such files, or EVOFOOL_CACHE if set. What is in it is found by
    name, as in `evofool train --dataset mnist` and `evofool evolve --classifier squeezenet-1.0`. For other
    classifiers, such as alexnet, this command says how to get their weights.

    Attributes:
        name: what to download: mnist (11 MB), cifar10 (170 MB), squeezenet-1.0 (5 MB) or caffenet (244 MB).
        url: address of a folder with the same files, instead of the public ones.
        quiet: print nothing but errors.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "mnist"
    url: str | None = None
    quiet: bool = False

    def run(self) -> int:
        """Download; returns the exit code."""
        console = make_console(quiet=self.quiet)
        if self.name not in (*DOWNLOADABLE, *RELEASED):
            raise unknown_name("download", self.name, [*DOWNLOADABLE, *RELEASED])
        if self.name in DOWNLOADABLE:
            folder = fetch(self.name, self.url, quiet=self.quiet)
            console.print(f"{self.name} is in {folder}", soft_wrap=True)
            return 0
        path = fetch_weights(self.name, self.url, quiet=self.quiet)
        console.print(f"{self.name} is in {path}\nLicence: {RELEASED[self.name].licence}", soft_wrap=True)
        return 0
