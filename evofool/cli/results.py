"""Results directories of commands: where they are by default, and what is printed of them."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.console import Console

from evofool.classifiers.composed import read_classifier, rewritten
from evofool.errors import UsageError
from evofool.files import file_name, shortened
from evofool.registry import Entry
from evofool.results import Kind, Results


@dataclass(frozen=True, kw_only=True)
class ResultsCommand:
    """A command that is made for an entry of a registry, and leaves a results directory.

    Attributes:
        out: directory for the results; by default a new one under ./runs.
        overwrite: replace the results in --out.
        quiet: print nothing but warnings and errors.
    """

    out: Path | None = None
    overwrite: bool = False
    quiet: bool = False

    name: ClassVar[str]
    entry: ClassVar[Entry]

    def create_results(self, kind: Kind, *words: str) -> Results:
        """The directory --out, or a new one named after what is done."""
        return Results.create(self.out or default_path(*words), kind, overwrite=self.overwrite)


def require_no_other_directory(out: Path | None, overwrite: bool) -> None:
    """Raise `UsageError` if a command that goes on in a directory is given another one."""
    if out is not None or overwrite:
        raise UsageError("--resume continues in its own directory: leave out --out and --overwrite")


def default_path(*words: str) -> Path:
    """A new directory under ./runs, named after the time and what is done.

    Args:
        words: joined by hyphens; of the path of a classifier only its name is used, inside a composition too.

    Example:
        >>> default_path("attack", "fgsm", "nets/lenet.safetensors").name[15:]
        '-attack-fgsm-lenet'
        >>> default_path("es", "smoothed(nets/lenet.safetensors, 0.1)").name[15:]
        '-es-smoothed_lenet_sigma_0_1'
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs", shortened("-".join([stamp, *map(_short, words)])))


def _short(word: str) -> str:
    short = rewritten(word, _bare)
    return short if isinstance(read_classifier(word), str) else file_name(short)


def _bare(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix in (".safetensors", ".onnx", ".keras") else path.name


def print_present(console: Console, results: Results) -> None:
    """Print what a command left behind, with its path."""
    present = results.present()
    width = max(len(label) for label, _ in present)
    for label, path in present:
        console.print(f"{label:{width}}  {path}", soft_wrap=True)
