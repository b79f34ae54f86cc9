"""Programs for platforms that the tests do not run on."""

from collections.abc import Callable
from typing import Any

import jax

from evofool.numerics.platform import assumed


def lowered_for_cuda(function: Callable[..., Any], *arguments: Any) -> str:
    """The program that XLA would get for an NVIDIA GPU; none is needed."""
    with assumed("gpu"):
        return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
