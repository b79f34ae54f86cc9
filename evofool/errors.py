"""The errors that evofool raises for its user: one line that says what is wrong and what to do.

The command line prints the line and exits with `exit_code`; anything else that escapes is a bug.
"""

import difflib
from collections.abc import Iterable


class EvofoolError(Exception):
    """Something failed that the user can mend: a damaged file, a full disk, a missing download."""

    exit_code = 1


class UsageError(EvofoolError):
    """What was asked for cannot be: an unknown name, a size that is not positive, options that conflict."""

    exit_code = 2


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that is not among those allowed, with the nearest one suggested.

    Args:
        kind: what the name stands for, as in "class" or "classifier".
        name: what was passed.
        allowed: every name that would do; a long list is cut.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> str(unknown_name("encoding", "drect", ["direct", "cppn"]))
        "unknown encoding 'drect': did you mean 'direct'? Allowed: direct, cppn"
    """
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    suggestion = f": did you mean {near[0]!r}?" if near else "."
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return UsageError(f"unknown {kind} {name!r}{suggestion} Allowed: {shown}")


def root_cause(error: BaseException) -> str:
    """The root of an error in one line: "Connection refused", without all that requests wraps around it."""
    while isinstance(inner := error.__cause__ or next(iter(error.args), None), BaseException):
        error = inner
    # The address and the path are cut because the message has them already.
    text = getattr(error, "strerror", None) or str(error).split(" for url: ")[0]
    return " ".join(text.split()) or type(error).__name__


def require_positive(**values: float | int | None) -> None:
    """Raise `UsageError` naming the first of the given options that is not above zero and finite.

    An option that is None was not given, and passes.

    Example:
        >>> require_positive(batch_size=200)
    """
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            allowed = "above zero" if value <= 0 else "above zero and finite"
            raise UsageError(f"{name} must be {allowed}, not {value}")


def require_not_negative(**values: float | int) -> None:
    """Raise `UsageError` naming the first of the given options that is below zero or not a number.

    Example:
        >>> require_not_negative(epsilon=0.0)
    """
    for name, value in values.items():
        if not value >= 0:
            raise UsageError(f"{name} must be 0 or more, not {value}")


def require_share(**values: float) -> None:
    """Raise `UsageError` naming the first of the given options that is not in [0, 1].

    Example:
        >>> require_share(mutation_rate=0.1)
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must be between 0 and 1, not {value}")


def require_seed(seed: int) -> None:
    """Raise `UsageError` unless a seed is one of the 2^32 that JAX tells apart.

    Example:
        >>> require_seed(0)
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be 0 to {2**32 - 1}, not {seed}")
