"""Results directories of commands: where they are by default, and what is printed of them."""

import time
from pathlib import Path

from rich.console import Console

from evofool.results import Results


def default_path(*words: str) -> Path:
    """A new directory under ./runs, named after the time and what is done.

    Args:
        words: joined by hyphens; of the path of a classifier only its name is used.

    Example:
        >>> default_path("attack", "fgsm", "nets/lenet.safetensors").name[15:]
        '-attack-fgsm-lenet'
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs", "-".join([stamp, *(Path(word).name.removesuffix(".safetensors") for word in words)]))


def print_present(console: Console, results: Results) -> None:
    """Print what a command left behind, with its path."""
    present = results.present()
    width = max(len(label) for label, _ in present)
    for label, path in present:
        console.print(f"{label:{width}}  {path}", soft_wrap=True)
