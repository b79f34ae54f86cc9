"""Running a search: generations compiled into chunks, and the host between them."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evofool.classifiers.classifier import Classifier
from evofool.errors import EvofoolError, require_positive
from evofool.search.search import Search, State

LONGEST_CHUNK = 256
"""Metrics of at most this many generations are kept on the device until the host asks for them."""

SECONDS_PER_CHUNK = 0.5
"""How long the host leaves the device alone where no chunk is given: often enough for a progress bar."""


def run(
    search: Search,
    classifier: Classifier,
    generations: int,
    *,
    seed: int = 0,
    state: State | None = None,
    chunk: int | None = None,
    pause_every: int | None = None,
    on_chunk: Callable[[State, dict[str, np.ndarray]], bool | None] | None = None,
) -> State:
    """Run a search up to a number of generations.

    One program is compiled whatever the lengths of the chunks, and the state is updated in place: a state
    that is passed in, or seen by `on_chunk`, must not be used after the next chunk has begun.

    Args:
        search: the algorithm.
        classifier: what to fool.
        generations: how many generations the state has seen at the end.
        seed: seeds the search if it starts anew.
        state: where to go on; a new one from `search.init` if not given.
        chunk: generations between two looks by the host, cut to 256; if not given, as many as take about
            half a second. The result does not depend on it.
        pause_every: a chunk also ends at every multiple of this many generations.
        on_chunk: called after each chunk with the state and the metrics of its generations (arrays of
            their number, by name); if it returns true the run stops.

    Returns:
        The state after the last generation.

    Raises:
        UsageError: a number that is not positive.
        EvofoolError: a generation does not fit into the device's memory.

    Example:
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites, run
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(20))
        >>> seen = []
        >>> state = run(search, classifier, 4, chunk=2, on_chunk=lambda state, metrics: seen.append(metrics))
        >>> int(state.generation), len(seen), seen[0]["median_confidence"].shape
        (4, 2, (2,))
    """
    require_positive(generations=generations, chunk=chunk, pause_every=pause_every)
    if state is None:
        state = search.init(jax.random.key(seed), classifier)
    done, length = int(state.generation), chunk or 1
    while done < generations:
        length = min(length, generations - done, LONGEST_CHUNK)
        if pause_every:
            length = min(length, pause_every - done % pause_every)
        started = time.perf_counter()
        try:
            state, metrics = _advance(search, state, classifier, length)
            metrics = {name: np.asarray(values)[:length] for name, values in metrics.items()}
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise EvofoolError(
                f"the memory of {jax.devices()[0].device_kind} is exhausted by a generation of "
                f"{search.evaluations(classifier):,} images: make it smaller, or use a smaller microbatch"
            ) from error
        seconds = time.perf_counter() - started
        done += length
        if on_chunk is not None and on_chunk(state, metrics):
            break
        # At most doubled: the first chunk includes compilation and a later one may be slowed by others.
        length = chunk or int(np.clip(length * SECONDS_PER_CHUNK / seconds, 1, 2 * length))
    return state


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(search: Search, state: State, classifier: Classifier, length: Any) -> Any:
    """The state `length` generations later, and their metrics in arrays of `LONGEST_CHUNK`.

    A loop whose length is an argument, and not a scan, so that every chunk runs the same program: chunks of
    all lengths compile once and give the same bits.
    """
    shapes = jax.eval_shape(search.step, state, classifier)[1]
    record = jax.tree.map(lambda shape: jnp.zeros((LONGEST_CHUNK, *shape.shape), shape.dtype), shapes)

    def generation(index: Any, carry: Any) -> Any:
        state, record = carry
        state, metrics = search.step(state, classifier)
        return state, jax.tree.map(lambda kept, value: kept.at[index].set(value), record, metrics)

    return jax.lax.fori_loop(0, length, generation, (state, record))
