"""Running a search: chunks of compiled generations, with the host in between."""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from evofool.classifiers.classifier import Classifier
from evofool.errors import EvofoolError, require_positive
from evofool.search.search import Search, State

LONGEST_CHUNK = 256
"""Generations: the device keeps the metrics of no more than these until the host fetches them."""

SECONDS_PER_CHUNK = 0.5
"""How long a chunk takes if its length is not given: short enough for a progress bar."""


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

    Chunks of all lengths share one compiled program. It updates the state in place: a state that was passed
    in, or passed to `on_chunk`, must not be used after the next chunk has begun.

    Args:
        search: the algorithm.
        classifier: what to fool.
        generations: the number of generations after which to stop, counted from the first one.
        seed: the seed of a new search.
        state: the state to continue from; a new one from `search.init` if not given.
        chunk: generations per chunk, at most 256; if not given, as many as take about half a second. The
            result does not depend on it.
        pause_every: chunks also end at the multiples of this number of generations.
        on_chunk: called after each chunk with the state and the metrics, arrays by name whose leading axis is
            the generations of the chunk; if it returns true the run stops.

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
                f"{search.evaluations(classifier):,} images: use a smaller generation or a smaller microbatch"
            ) from error
        seconds = time.perf_counter() - started
        done += length
        if on_chunk is not None and on_chunk(state, metrics):
            break
        # At most doubled: the first chunk includes compilation, and other work may slow any chunk.
        length = chunk or int(np.clip(length * SECONDS_PER_CHUNK / seconds, 1, 2 * length))
    return state


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(
    search: Search, state: State, classifier: Classifier, length: int | Int[Array, ""]
) -> tuple[State, dict[str, Array]]:
    """The state `length` generations later, and their metrics in arrays of `LONGEST_CHUNK`.

    The length of the loop is an argument, so that chunks of all lengths are the same program with the same
    bits.
    """
    shapes = jax.eval_shape(search.step, state, classifier)[1]
    record = jax.tree.map(lambda shape: jnp.zeros((LONGEST_CHUNK, *shape.shape), shape.dtype), shapes)

    def generation(index: Int[Array, ""], carry: tuple[State, PyTree]) -> tuple[State, PyTree]:
        state, record = carry
        state, metrics = search.step(state, classifier)
        return state, jax.tree.map(lambda kept, value: kept.at[index].set(value), record, metrics)

    return jax.lax.fori_loop(0, length, generation, (state, record))
