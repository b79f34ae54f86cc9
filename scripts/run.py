"""Run a script: its options are the parameters of its main function, and errors are one line."""

import sys
from collections.abc import Callable

import tyro

from evofool.errors import EvofoolError


def run(main: Callable[..., None]) -> None:
    """Call a script's main function with the options of the command line.

    An error that the user can fix ends in one line and exits with its code; a file that cannot be read or
    written exits with 1.
    """
    try:
        description = sys.modules[main.__module__].__doc__
        tyro.cli(main, description=description, config=(tyro.conf.OmitArgPrefixes,))
    except (EvofoolError, OSError) as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
