"""What is made once: searches and encodings of equal settings, and compiled programs."""

import functools
import inspect
import os
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax

from evofool.datasets import cache_folder
from evofool.numerics.platform import platform

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_MOST = 128
_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def cached(make: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a factory return the same object whenever its arguments are equal.

    JAX keeps compiled programs by the identity of the functions in a search, so a second search of the same
    settings compiles nothing. The last 128 results are kept. Lists count as tuples; for arguments that have
    no hash a new object is made.

    Example:
        >>> @cached
        ... def pair(first: int, second: int = 2) -> list[int]:
        ...     return [first, second]
        >>> pair(1) is pair(1, 2), pair(1) is pair(1, second=3), pair([1]) is pair((1,))
        (True, False, True)
    """
    signature = inspect.signature(make)
    made = functools.lru_cache(maxsize=_MOST)(lambda call: make(*call.bound.args, **call.bound.kwargs))

    @functools.wraps(make)
    def from_cache(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            call = _Call(signature.bind(*args, **kwargs))
        except TypeError:  # no such call, or no hash
            return make(*args, **kwargs)
        return made(call)

    return from_cache


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in evofool's cache folder, so that the next process need not compile it.

    A folder that the program or `JAX_COMPILATION_CACHE_DIR` names stays, with its settings. A program that
    names one later must do so before anything is compiled, as without evofool.

    Example:
        >>> keep_compiled_programs()
        >>> jax.config.jax_compilation_cache_dir is None
        False
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    if _SHORTEST not in os.environ:
        jax.config.update(_SHORTEST.lower(), 0.1)


class _Call:
    """The arguments of a call, equal to others of the same values."""

    def __init__(self, bound: inspect.BoundArguments) -> None:
        bound.apply_defaults()
        self.bound = bound
        # What a search is traced for is part of its programs.
        self.key = (platform(), _hashable(tuple(bound.arguments.items())))
        self.hash = hash(self.key)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self.key == other.key


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        value = tuple(value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value
