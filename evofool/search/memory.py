"""What a generation needs of a device's memory, estimated before it is run."""

import os
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError
from evofool.search.search import Search

_STORED = frozenset(
    {
        "concatenate",
        "conv_general_dilated",
        "cummax",
        "cumsum",
        "dot_general",
        "dynamic_update_slice",
        "random_bits",
        "reduce_window_max",
        "scatter",
        "scatter-add",
        "scatter-max",
        "sort",
        "threefry2x32",
    }
)
"""Operations whose results are stored. Others are computed within what uses them."""

_COPIES_OF_A_CHECKPOINT = 2
"""Of the state: that which the next generation may not overwrite, and the one that Orbax writes."""

_CACHE_BYTES = 24e6
"""Of a processor's last cache."""

_LARGE_LAYERS = 1e6
"""Bytes that an image takes in a network of which it pays to keep the images at once few."""

_LOOPS = frozenset({"scan", "while"})


def required_bytes(search: Search, classifier: Classifier) -> int:
    """What one generation needs at its largest, estimated from the program without compiling it.

    The program is walked through once, and every array that is stored is counted from where it is made to
    where it is last used. Of small networks a compiler fuses more than this knows of, and needs less. On a
    CPU a checkpoint is made of copies in the same memory, which of large genomes are more than a generation.

    Example:
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(1000))
        >>> required_bytes(search, classifier) > 1000 * 28 * 28
        True
    """
    state = jax.eval_shape(search.init, jax.random.key(0), classifier)
    program = jax.make_jaxpr(search.step)(state, classifier)
    generation = _peak_bytes(program.jaxpr)
    if jax.default_backend() != "cpu":
        return generation
    weights, kept = (sum(map(_array_bytes, jax.tree.leaves(tree))) for tree in (classifier, state))
    return max(generation, weights + (1 + _COPIES_OF_A_CHECKPOINT) * kept)


def images_at_once(classifier: Classifier) -> int | None:
    """How many images a classifier scores fastest at once: on a CPU as many as its cache has room for.

    A large network writes every layer of a large batch to memory and reads it back: SqueezeNet takes 9 ms for
    an image in twos and 15 ms in batches of 32.

    Returns:
        At least 2, or None where all images at once are fastest: of small networks and on accelerators.

    Example:
        >>> from evofool import load_classifier
        >>> images_at_once(load_classifier("lenet-digits")) is None
        True
    """

    def needed(images: int) -> int:
        batch = jax.ShapeDtypeStruct((images, *classifier.spec.input_shape), "float32")
        return _peak_bytes(jax.make_jaxpr(Classifier.logits)(classifier, batch).jaxpr)

    per_image = (needed(256) - needed(128)) / 128
    if jax.default_backend() != "cpu" or per_image < _LARGE_LAYERS:
        return None
    return max(2, int(_CACHE_BYTES / per_image))


def available_bytes() -> int:
    """The memory of the device that is used, of which nothing else should take much."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_memory(
    search_of: Callable[[int, int | None], Search],
    classifier: Classifier,
    batch_size: int,
    microbatch: int | None,
    option: str = "--batch-size",
) -> None:
    """Refuse a run whose generation does not fit into the memory of a device.

    Args:
        search_of: the search for a batch size and a microbatch.
        classifier: what the search asks.
        batch_size: offspring per generation.
        microbatch: how many of them are scored at once.
        option: what sets the batch size on the command line.

    Raises:
        UsageError: it does not fit; says which microbatch would, or else which batch size.
    """
    available = available_bytes()
    required = required_bytes(search_of(batch_size, microbatch), classifier)
    if required <= available:
        return
    smaller, batch = microbatch or batch_size, batch_size
    while batch > 2:
        smaller //= 2
        if smaller < 2:
            batch = max(2, batch // 4 * 2)  # even, as antithetic pairs need
            smaller = 2
        if required_bytes(search_of(batch, smaller), classifier) <= available:
            advice = f"--microbatch {smaller}"
            if batch < batch_size:
                advice = f"{option} {batch} {advice}"
            break
    else:
        advice = "smaller images or a smaller classifier"
    raise UsageError(
        f"a generation of {batch_size} needs about {_gigabytes(required)} of memory and there are "
        f"{_gigabytes(available)}: what would fit is {advice}"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def _peak_bytes(program: core.Jaxpr) -> int:
    """The most that is held at once while a program runs, its arguments included."""
    stored = _variables(program.outvars)
    for equation in program.eqns:
        if not _is_fused(equation):
            stored |= _variables([*equation.invars, *equation.outvars])
    arguments = {*program.invars, *program.constvars}
    ends = _ends(program, stored)

    held = peak = sum(map(_bytes, arguments))
    for index, equation in enumerate(program.eqns):
        made = sum(_bytes(variable) for variable in equation.outvars if variable in stored)
        inner = max((_inner_bytes(body) for body in _bodies(equation)), default=0)
        # What a call makes is among what its body holds; a loop keeps it beside what the body holds.
        peak = max(peak, held + (made + inner if equation.primitive.name in _LOOPS else max(made, inner)))
        held += made - sum(_bytes(variable) for variable in ends[index] - arguments)
    return peak


def _ends(program: core.Jaxpr, stored: set[Any]) -> list[set[Any]]:
    """The stored variables that each equation is the last to use; those that are returned are in none."""
    never = len(program.eqns)
    last_use = dict.fromkeys(_variables(program.outvars), never)
    for index, equation in reversed(list(enumerate(program.eqns))):
        # What is not stored is computed where it is used, and what it is computed from is kept until then.
        later = (last_use.get(variable, index) for variable in equation.outvars if variable not in stored)
        until = max([index, *later])
        for variable in _variables([*equation.invars, *equation.outvars]):
            last_use[variable] = max(last_use.get(variable, until), until)
    ends: list[set[Any]] = [set() for _ in range(never + 1)]
    for variable, index in last_use.items():
        if variable in stored:
            ends[index].add(variable)
    return ends


def _variables(atoms: list[Any]) -> set[Any]:
    return {atom for atom in atoms if not isinstance(atom, core.Literal)}


def _is_fused(equation: core.JaxprEqn) -> bool:
    """Whether a compiler computes the result where it is used, place by place."""
    if bodies := _bodies(equation):
        is_call = equation.primitive.name in ("jit", "pjit", "closed_call", "custom_jvp_call")
        return is_call and all(_is_fused(inner) for body in bodies for inner in body.eqns)
    return equation.primitive.name not in _STORED


def _inner_bytes(body: core.Jaxpr) -> int:
    """What the body of a loop, branch or call holds beyond its arguments, which are counted outside."""
    return _peak_bytes(body) - sum(map(_bytes, [*body.invars, *body.constvars]))


def _bodies(equation: core.JaxprEqn) -> list[core.Jaxpr]:
    return [
        body.jaxpr if isinstance(body, core.ClosedJaxpr) else body
        for value in equation.params.values()
        for body in (value if isinstance(value, tuple | list) else (value,))
        if isinstance(body, core.ClosedJaxpr | core.Jaxpr)
    ]


def _bytes(variable: core.Var) -> int:
    return _array_bytes(variable.aval)


def _array_bytes(array: Any) -> int:
    return int(getattr(array, "size", 0)) * getattr(getattr(array, "dtype", None), "itemsize", 0)
