"""Whether a generation fits into the memory of a device, and which one would."""

import dataclasses
import math
from collections.abc import Callable
from functools import cache

import jax

from evofool.classifiers import Classifier
from evofool.errors import UsageError
from evofool.numerics.platform import memory_bytes, shares_memory_with_host
from evofool.numerics.program_memory import peak_bytes, tree_bytes
from evofool.search import Cut, Runs, Search

_COPIES = 3
"""Of the state: the first, the one that the next generation may not overwrite, and the one being written."""
_GUESSES = 2

_MARGIN = 0.95
"""Sizes are rounded to whole parts and blocks, which lifts a program above the straight line."""


def require_memory(
    search_of: Callable[[int], Search],
    classifier: Classifier,
    batch_size: int,
    cut: Cut = Cut(),
    size_name: str = "batch_size",
    runs: int | None = None,
) -> None:
    """Raise unless a generation fits into the memory of a device.

    Args:
        search_of: the search for a batch size.
        classifier: what the search asks.
        batch_size: offspring or policies per generation.
        cut: how a generation is cut up.
        size_name: what the error calls the batch size.
        runs: how many runs are made in one program; None for a single one.

    Raises:
        UsageError: it does not fit. The error names a microbatch that would, or a batch size if none does, or
            asks for fewer seeds if a single run fits.
    """
    available = memory_bytes()

    @cache
    def required(size: int, microbatch: int | None) -> int:
        return required_bytes(
            search_of(size), classifier, dataclasses.replace(cut, microbatch=microbatch), runs
        )

    needed = required(batch_size, cut.microbatch)
    if needed <= available:
        return
    size, smaller = batch_size, min(cut.microbatch or batch_size, batch_size)
    if runs is not None and required_bytes(search_of(size), classifier, cut) <= available:
        advice = "fewer seeds"
    elif required(size, 2) <= available:
        smaller = _largest(lambda each: required(size, each), smaller, available)
        advice = f"microbatch {smaller}"
    elif required(2, 2) <= available:
        size = _largest(lambda each: required(each, 2), size, available)
        advice = f"{size_name} {size} with microbatch 2"
    else:
        advice = "smaller images or a smaller classifier"
    whole = f"a generation of {batch_size}" + ("" if runs is None else f" in {runs} runs")
    raise UsageError(
        f"{whole} needs about {_gigabytes(needed)} of memory and there are {_gigabytes(available)}: {advice} "
        "would fit"
    )


def required_bytes(search: Search, classifier: Classifier, cut: Cut = Cut(), runs: int | None = None) -> int:
    """An estimate of the most that one generation needs, without compiling it.

    On a CPU the copies of a checkpoint lie in the same memory. For large genomes they are more than a
    generation.

    Example:
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(1000))
        >>> required_bytes(search, classifier) > 1000 * 28 * 28
        True
    """
    program_of_runs = Runs(search, runs, cut)
    state = program_of_runs.shapes(classifier)
    program = jax.make_jaxpr(program_of_runs.generation)(state, classifier)
    needed = peak_bytes(program)
    if not shares_memory_with_host():
        return needed
    kept = (1 + _COPIES) * tree_bytes(state)
    return max(needed, tree_bytes(classifier) + kept)


def _largest(required: Callable[[int], int], too_large: int, available: int) -> int:
    """Nearly the largest even size that fits, given that 2 does.

    What a program needs grows nearly in a straight line with the size, so the first guess mostly fits. An
    evolution strategy grows slower beyond one block; there the second guess is near.
    """
    low, high = 2, too_large
    aim = available * _MARGIN
    for _ in range(_GUESSES):
        least, most = required(low), required(high)
        if most <= available:
            return high
        guess = low + int((high - low) * max(0, aim - least) / (most - least)) // 2 * 2
        if required(guess) <= available:
            return guess
        high, middle = guess, math.isqrt(low * guess) // 2 * 2
        low, high = (middle, high) if required(middle) <= available else (low, middle)
    return low


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
