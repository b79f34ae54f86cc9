"""Packages that only some models need."""

import importlib
from typing import Any

from evofool.errors import EvofoolError


def extra(package: str, what: str) -> Any:
    """An optional package, imported.

    Args:
        package: its name, which is also that of the extra that installs it.
        what: is to be read with it.

    Raises:
        EvofoolError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else package
        raise EvofoolError(
            f"{what} needs the package {missing}, which is not installed: run `pip install "
            f"'evofool[{package}]'`"
        ) from error
