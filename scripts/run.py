"""How a script here is run: its options are those of its main function, and what goes wrong is one line."""

import sys
from collections.abc import Callable

import tyro

from evofool.errors import EvofoolError


def run(main: Callable[..., None]) -> None:
    """Call a script's main function with the options of the command line.

    Exits with the error's code after one line if the user can mend what went wrong, 1 for a file that cannot
    be read or written.
    """
    try:
        description = sys.modules[main.__module__].__doc__
        tyro.cli(main, description=description, config=(tyro.conf.OmitArgPrefixes,))
    except (EvofoolError, OSError) as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
