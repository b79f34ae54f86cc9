"""The errors that evofool raises for its user: one line that says what is wrong and what is allowed.

The command line prints the line and exits with `exit_code`; any other exception that escapes is a bug.
"""

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from numbers import Integral

import numpy as np


class EvofoolError(Exception):
    """A failure that the user can fix: a damaged file, a full disk, a missing download."""

    exit_code = 1


class UsageError(EvofoolError):
    """A request that cannot be met: an unknown name, a size that is not positive, conflicting options."""

    exit_code = 2


def unknown_name(kind: str, name: str, allowed: Iterable[str], aliases: Iterable[str] = ()) -> UsageError:
    """The error for a name that is not allowed. It suggests names that contain it, else the nearest one.

    Args:
        kind: what the name stands for, as in "class" or "classifier".
        name: what was passed.
        allowed: every allowed name; a long list is cut.
        aliases: names that are allowed too, which are suggested but not listed.

    Returns:
        The error, for the caller to raise.

    Example:
        >>> str(unknown_name("encoding", "drect", ["direct", "cppn"]))
        "unknown encoding 'drect': did you mean 'direct'? Allowed: direct, cppn"
        >>> str(unknown_name("class", "panda", ["sandal", "giant panda"]))
        "unknown class 'panda': did you mean 'giant panda'? Allowed: sandal, giant panda"
    """
    names = list(allowed)
    words = _words(name)
    candidates = [*names, *aliases]
    near = [other for other in candidates if words.strip() and words in _words(other)][:3]
    near = near or difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    suggestion = f": did you mean {' or '.join(map(repr, near))}?" if near else "."
    listed = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return UsageError(f"unknown {kind} {shown(repr(name))}{suggestion} Allowed: {listed}")


def root_cause(error: BaseException) -> str:
    """The root of an error in one line: "Connection refused" instead of the layers that requests adds."""
    while isinstance(inner := error.__cause__ or next(iter(error.args), None), BaseException):
        error = inner
    # The message that quotes this names the address and the path already.
    text = getattr(error, "strerror", None) or str(error).split(" for url: ")[0]
    return " ".join(text.split()) or type(error).__name__


def shown(value: object) -> str:
    """A value as an error message quotes it: long ones are cut.

    Example:
        >>> shown(0.5), len(shown("a" * 1000)), shown(10**5000)
        ('0.5', 60, 'an integer of 5001 digits')
    """
    try:
        text = str(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return f"an integer of {math.floor(math.log10(abs(value))) + 1} digits"  # type: ignore[arg-type]
    return text if len(text) <= 60 else f"{text[:57]}..."


def require_positive(**values: float | int | None) -> None:
    """Raise `UsageError` naming the first option that is not above zero, finite and representable.

    Integers must fit 32 bits and floats single precision, which everything is computed in. An option that is
    None passes: it was not given.

    Example:
        >>> require_positive(batch_size=200)
    """
    _require(lambda value: value > 0, "above zero", values)
    for name, value in values.items():
        if value is not None and value < _SMALLEST:
            raise UsageError(f"{name} must be at least {_SMALLEST:.2g}, not {shown(value)}")


def require_not_negative(**values: float | int | None) -> None:
    """Raise `UsageError` naming the first option that is not 0 or more, finite and representable.

    Example:
        >>> require_not_negative(overshoot=0.0)
    """
    _require(lambda value: value >= 0, "0 or more", values)


def require_share(**values: float | int | None) -> None:
    """Raise `UsageError` naming the first option that is not in [0, 1].

    Example:
        >>> require_share(epsilon=0.25)
    """
    _require(lambda value: 0 <= value <= 1, "between 0 and 1", values)


def require_below_one(**values: float | int | None) -> None:
    """Raise `UsageError` naming the first option that is not in [0, 1).

    Example:
        >>> require_below_one(dropout=0.5)
    """
    _require(lambda value: 0 <= value < 1, "at least 0 and below 1", values)


def require_choice(allowed: Collection[str], **values: str) -> None:
    """Raise `UsageError` naming the first option that is not one of those allowed.

    Example:
        >>> require_choice(("l2", "linf"), norm="l2")
    """
    for name, value in values.items():
        if value not in allowed:
            raise unknown_name(name, value, allowed)


def require_seed(seed: int) -> None:
    """Raise `UsageError` unless a seed is one of the 2^32 that JAX tells apart.

    Example:
        >>> require_seed(0)
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be 0 to {2**32 - 1}, not {shown(seed)}")


def require_printable(what: str, text: object) -> None:
    """Raise `UsageError` unless a text can be printed in one line and written to a file.

    Example:
        >>> require_printable("a class name", "carpenter's kit")
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} must be text, not {shown(repr(text))}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise UsageError(
            f"{what} must have no control characters or unpaired surrogates: {shown(repr(text))}"
        )


_LARGEST_INTEGER = 2**31 - 1
_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)


def _require(holds: Callable[[float], bool], allowed: str, values: dict[str, float | int | None]) -> None:
    for name, value in values.items():
        if value is None:
            continue
        largest = _LARGEST_INTEGER if isinstance(value, Integral) else _LARGEST
        if value == math.inf:
            allowed += " and finite"
        if not holds(value) or value == math.inf:
            raise UsageError(f"{name} must be {allowed}, not {shown(value)}")
        if value > largest:
            raise UsageError(f"{name} must be at most {largest:.10g}, not {shown(value)}")


def _words(name: str) -> str:
    """The words of a name between blanks, so that `in` finds whole words."""
    words = re.findall(r"\w+", name.replace("_", " ").lower())
    return f" {' '.join(words)} "
