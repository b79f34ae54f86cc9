"""Running a search: chunks of compiled generations, with the host in between."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt32

from evofool.classifiers.black_box import AnyClassifier, BlackBox
from evofool.classifiers.classifier import Classifier
from evofool.errors import EvofoolError, UsageError, require_positive
from evofool.numerics.program_memory import tree_bytes
from evofool.processes import agreed, is_first, losses_named, spans_processes
from evofool.search.archive import summarise
from evofool.search.asking import run_asking
from evofool.search.chunks import LONGEST_CHUNK, chunk_length, length_in_time
from evofool.search.generation import Cut, record_of
from evofool.search.independent import Runs, stacked_params
from evofool.search.queries import generations_within, queries_of_compiled
from evofool.search.search import Search, State
from evofool.search.sharding import replicated

_RECORD_BYTES = 2**27
_SMALL_STATE = 2**26
"""Bytes: a smaller state is not overwritten, so that the next chunk can begin before this one is logged."""


def run(
    search: Search,
    classifier: AnyClassifier | Sequence[Classifier],
    generations: int,
    *,
    max_queries: int | None = None,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    state: State | None = None,
    cut: Cut = Cut(),
    chunk: int | None = None,
    pause_every: int | None = None,
    on_chunk: Callable[[State, dict[str, np.ndarray]], bool | None] | None = None,
    progress: bool = False,
) -> State:
    """Run a search up to a number of generations, once or many times in one program.

    A `BlackBox` is asked by the host between compiled parts of each generation. With a `Classifier` chunks of
    all lengths share one compiled program, and a state of more than 64 MB is updated in place: one that was
    passed to `on_chunk` must then not be used after `on_chunk` has returned.

    Args:
        search: the algorithm.
        classifier: what to fool, a `Classifier` or a `BlackBox`; with `seeds` also a classifier for each run,
            the same network with other weights.
        generations: the number of generations after which to stop, counted from the first one.
        max_queries: of how many images each run may ask the classifier, counted from the first generation. A
            generation that would exceed it is not begun.
        seed: the seed of a new search.
        seeds: the seeds of independent runs, in place of `seed`. The arrays of states and metrics then have
            an axis of runs in front, but for the number of the generation. On CPU each run has the bits that
            it has alone.
        state: the state to continue from; a new one from `search.init` if not given.
        cut: how generations are cut up. The result does not depend on it. If its mesh spans several
            processes, each of them calls this, and process 0 decides when to stop and how long chunks are.
        chunk: generations per chunk, at most 256; if not given, as many as take about half a second. The
            result does not depend on it.
        pause_every: chunks also end at the multiples of this number of generations.
        on_chunk: called after each chunk with the state and the metrics, arrays by name whose leading axis is
            the generations of the chunk; if it returns true the run stops. What it raises ends the run. If a
            black box fails for good, it is called once more with the whole generations before that.
        progress: show a bar on a terminal or in a notebook, and plain lines elsewhere; of several processes
            process 0 does.

    Returns:
        The state after the last generation.

    Raises:
        UsageError: a number that is not positive, no seeds, not one classifier for each of them, or fewer
            queries than a generation has images.
        EvofoolError: a generation does not fit into the device's memory.
        Exception: what a black box raised, when it had been asked often enough.

    Example:
        >>> from evofool import MapElitesOptions, direct, load_classifier, map_elites, run
        >>> classifier = load_classifier("lenet-digits")
        >>> search = map_elites(direct(classifier.spec.input_shape), MapElitesOptions(20))
        >>> seen = []
        >>> state = run(search, classifier, 4, chunk=2, on_chunk=lambda state, metrics: seen.append(metrics))
        >>> int(state.generation), len(seen), seen[0]["median_confidence"].shape
        (4, 2, (2,))
        >>> run(search, classifier, 4, seeds=range(3)).archive.confidences.shape
        (3, 10)
    """
    require_positive(generations=generations, max_queries=max_queries, chunk=chunk, pause_every=pause_every)
    network, params = _shared_and_own(classifier, seeds)
    if progress and (is_first() or not spans_processes(cut.mesh)):
        from evofool.progress import watched  # takes long to import

        same = partial(run, search, classifier, generations, seed=seed, seeds=seeds, cut=cut, state=state)
        with watched(search, network, generations, state, on_chunk) as shown:
            return same(max_queries=max_queries, chunk=chunk, pause_every=pause_every, on_chunk=shown)
    generations = generations_within(search, network, generations, max_queries)
    runs = Runs(search, None if seeds is None else len(seeds), cut)
    given = state
    if state is None:
        state = runs.init([seed] if seeds is None else seeds, network)
    if isinstance(network, BlackBox):
        return run_asking(
            search,
            network,
            state,
            generations,
            runs=runs.count,
            cut=cut,
            chunk=chunk,
            pause_every=pause_every,
            on_chunk=on_chunk,
        )
    in_place = tree_bytes(state) > _SMALL_STATE
    if in_place and given is not None:
        state = jax.tree.map(jnp.copy, state)
    advance = _advance_in_place if in_place else _advance
    record = _generation.eval_shape(runs, state, network, params)[1]
    queries = queries_of_compiled(search, network)
    longest = max(1, min(LONGEST_CHUNK, _RECORD_BYTES // tree_bytes(record)))

    def begin(state: State, done: int, length: int) -> tuple[State, UInt32[Array, "n words"], int]:
        length = chunk_length(length, done, generations, pause_every, longest)
        return *advance(runs, longest, state, network, params, length), length

    done, length, before = int(state.generation), chunk or 1, time.perf_counter()
    following = None
    while done < generations:
        with losses_named(), _exhaustion_named(search, network):
            state, rows, length = following or begin(state, done, length)
            done += length
            # The device goes on while the host logs what it has done.
            following = None if in_place or done == generations else begin(state, done, length)
            metrics = summarise(_record_of_rows(np.asarray(rows)[:length], record))
            metrics |= {
                name: np.full(metrics["median_confidence"].shape, count) for name, count in queries.items()
            }
        now = time.perf_counter()
        seconds, before = now - before, now
        stopping = on_chunk is not None and bool(on_chunk(state, metrics))
        length = chunk or length_in_time(length, seconds)
        if spans_processes(cut.mesh):
            stopping, length = agreed([stopping, length])
        if stopping:
            break
    return state


def _shared_and_own(
    classifier: AnyClassifier | Sequence[Classifier], seeds: Sequence[int] | None
) -> tuple[AnyClassifier, PyTree]:
    """The classifier of all runs, and the weights of each run's own, if it has one."""
    if seeds is not None and len(seeds) == 0:
        raise UsageError("seeds must be one or more, not none")
    if isinstance(classifier, Classifier | BlackBox):
        return classifier, None
    if seeds is None or len(seeds) != len(classifier):
        given = "none" if seeds is None else len(seeds)
        raise UsageError(f"{len(classifier)} classifiers need as many seeds, not {given}")
    return classifier[0], stacked_params(classifier)


@contextmanager
def _exhaustion_named(search: Search, classifier: Classifier) -> Iterator[None]:
    """Turn the error of a device whose memory is exhausted into one that says what to do."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise EvofoolError(
            f"the memory of {jax.devices()[0].device_kind} is exhausted by a generation of "
            f"{search.evaluations(classifier):,} images: use a smaller generation or a smaller microbatch"
        ) from error


@partial(jax.jit, static_argnums=0, inline=True)
def _generation(
    runs: Runs, state: State, classifier: Classifier, params: PyTree
) -> tuple[State, dict[str, Array]]:
    """The state after another generation, and its record: what the host computes the metrics from."""
    before = state.archive.replacements
    state, statistics = runs.generation(state, classifier, params)
    return state, record_of(runs.search, before, state, statistics)


def _chunk(
    runs: Runs,
    longest: int,
    state: State,
    classifier: Classifier,
    params: PyTree,
    length: int | Int[Array, ""],
) -> tuple[State, UInt32[Array, "n words"]]:
    """The state `length` generations later, and the record of each of them in one row of `longest`.

    The length of the loop is an argument, so that chunks of all lengths are the same program with the same
    bits.
    """
    record = _generation.eval_shape(runs, state, classifier, params)[1]
    rows = jnp.zeros((longest, tree_bytes(record) // 4), jnp.uint32)

    def step(
        index: Int[Array, ""], carry: tuple[State, UInt32[Array, "n words"]]
    ) -> tuple[State, UInt32[Array, "n words"]]:
        state, rows = carry
        state, record = _generation(runs, state, classifier, params)
        return state, rows.at[index].set(_row_of_record(record))

    # The host of each process reads both.
    return replicated(jax.lax.fori_loop(0, length, step, (state, rows)), runs.cut.mesh)


_advance = jax.jit(_chunk, static_argnums=(0, 1))
_advance_in_place = jax.jit(_chunk, static_argnums=(0, 1), donate_argnums=2)


def _row_of_record(record: dict[str, Array]) -> UInt32[Array, " words"]:
    """The words of all arrays of a record, which have 32 bits."""
    words = [jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1) for leaf in jax.tree.leaves(record)]
    return jnp.concatenate(words)


def _record_of_rows(
    rows: UInt32[np.ndarray, "n words"], record: dict[str, jax.ShapeDtypeStruct]
) -> dict[str, np.ndarray]:
    """The arrays of a record, with the generations in front, from the words of each generation."""
    shapes, structure = jax.tree.flatten(record)
    ends = np.cumsum([shape.size for shape in shapes])
    arrays = [
        np.ascontiguousarray(words).view(shape.dtype).reshape(len(rows), *shape.shape)
        for words, shape in zip(np.split(rows, ends[:-1], axis=1), shapes, strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)
