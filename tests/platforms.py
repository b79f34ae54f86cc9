"""Programs for platforms that the tests do not run on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax


@contextmanager
def pretended(platform: str) -> Iterator[None]:
    """Inside, what asks for the platform while it is traced is told that it is this one."""
    with mock.patch("jax.default_backend", return_value=platform):
        yield


def lowered_for_cuda(function: Callable[..., Any], *arguments: Any) -> str:
    """The program that XLA would get for an NVIDIA GPU; none is needed."""
    with pretended("gpu"):
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
