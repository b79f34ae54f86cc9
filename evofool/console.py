"""The console that commands print to."""

from rich.console import Console


def make_console(*, quiet: bool = False) -> Console:
    """A console that prints names and paths unchanged: brackets are not markup.

    Args:
        quiet: print nothing.

    Example:
        >>> make_console().print("images of cats[1] :cat:")
        images of cats[1] :cat:
    """
    return Console(quiet=quiet, markup=False, highlight=False, emoji=False)
