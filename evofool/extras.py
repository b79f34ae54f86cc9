"""Packages that only some users need."""

import importlib
from typing import Any

from evofool.errors import EvofoolError


def extra(name: str, what: object, package: str | None = None) -> Any:
    """An optional package, imported.

    Args:
        name: of the extra that installs it.
        what: needs it, for the error.
        package: its name, if it is not that of the extra.

    Raises:
        EvofoolError: it is not installed.
    """
    try:
        return importlib.import_module(package or name)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else package or name
        raise EvofoolError(
            f"{what} needs the package {missing}, which is not installed: run `pip install 'evofool[{name}]'`"
        ) from error
