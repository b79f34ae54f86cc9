"""The command line: `evofool`, also `python -m evofool`."""

from evofool.cli.main import main

__all__ = ["main"]
