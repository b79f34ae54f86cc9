"""Ctrl-C in the seconds in which the command line is imported: one line instead of a traceback.

`evofool` and `python -m evofool` both import the package, and JAX with it, before any code of theirs runs.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn


def end_in_one_line() -> None:
    """From now on, Ctrl-C ends a process that was started as the command line; any other is left alone."""
    if _is_command_line() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From now on, Ctrl-C raises `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command_line() -> bool:
    # While the package of `python -m` is imported, its name is only among the words given to the interpreter.
    words = list(zip(sys.orig_argv, sys.orig_argv[1:], strict=False))
    return ("-m", "evofool") in words or Path(sys.argv[0] if sys.argv else "").stem == "evofool"


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # At once, since an exception would be lost where a library's import ignores or replaces it.
    os.write(sys.stderr.fileno(), b"evofool: interrupted\n")
    os._exit(130)
