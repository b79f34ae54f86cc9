"""Running a search against a black box: ask and tell are compiled, the host asks in between."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from evofool.classifiers.black_box import BlackBox
from evofool.errors import UsageError, require_positive
from evofool.numerics.platform import computes_in_order
from evofool.search.archive import summarise
from evofool.search.chunks import chunk_length, length_in_time
from evofool.search.generation import Cut, record_of
from evofool.search.independent import one_run
from evofool.search.queries import QUERIES
from evofool.search.search import Candidates, Kept, Search, State

_VALUES_AT_ONCE = 2**26
"""Numbers in the images that are made at once, which must fit into memory."""


def run_asking(
    search: Search,
    black_box: BlackBox,
    state: State,
    generations: int,
    *,
    runs: int | None = None,
    cut: Cut = Cut(),
    chunk: int | None = None,
    pause_every: int | None = None,
    on_chunk: Callable[[State, dict[str, np.ndarray]], bool | None] | None = None,
) -> State:
    """`evofool.run` for a black box.

    Args:
        search: the algorithm.
        black_box: what to fool.
        state: to go on from.
        generations: after which to stop, counted from the first one.
        runs: how many runs the state has an axis of; None for one without the axis.
        cut: how generations are cut up; not over devices.
        chunk: as in `evofool.run`, like all that follows.
        pause_every: where chunks also end.
        on_chunk: called after each chunk, and when the black box has failed for good, with the whole
            generations that were made before it.

    Returns:
        The state after the last generation.

    Raises:
        UsageError: a generation cannot be split over devices.
        Exception: what the black box raised.
    """
    if cut.mesh is not None:
        raise UsageError(f"{black_box.spec.name} is asked from one process and device: leave out the mesh")
    states = [state] if runs is None else [one_run(state, index) for index in range(runs)]
    done, wanted = int(state.generation), chunk or 1
    while done < generations:
        started, length = time.perf_counter(), chunk_length(wanted, done, generations, pause_every)
        records: list[dict[str, np.ndarray]] = []
        failure: Exception | None = None
        try:
            for _ in range(length):
                states, record = _generation(search, black_box, states, cut)
                records.append(record)
        except Exception as error:
            failure = error
        done += len(records)
        state, stopping = states[0] if runs is None else _stacked(states), False
        if records and on_chunk is not None:
            metrics = {name: np.stack([each[name] for each in records]) for name in records[0]}
            if runs is None:
                metrics = {name: values[:, 0] for name, values in metrics.items()}
            stopping = bool(on_chunk(state, summarise(metrics)))
        if failure is not None:
            raise failure
        wanted = chunk or length_in_time(length, time.perf_counter() - started)
        if stopping:
            break
    return state


def _generation(
    search: Search, black_box: BlackBox, states: Sequence[State], cut: Cut
) -> tuple[list[State], dict[str, np.ndarray]]:
    """The states after another generation, and its record with an axis of runs in front."""
    results = [_generation_of_one(search, black_box, state, cut) for state in states]
    records = [record for _, record in results]
    return [state for state, _ in results], {
        name: np.stack([record[name] for record in records]) for name in records[0]
    }


def _generation_of_one(
    search: Search, black_box: BlackBox, state: State, cut: Cut
) -> tuple[State, dict[str, np.ndarray]]:
    before = black_box.counts
    parts = [
        _ask_and_score(search, black_box, state, individuals)
        for individuals in _parts(search, black_box, cut)
    ]
    groups = search.individuals(black_box) // search.group
    together = search.together(black_box) // search.group if computes_in_order() else groups
    kept = parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    after, statistics = state, []
    for first in range(0, groups, together):
        some = kept if together == groups else _rows(kept, first, together, groups)
        after, found = _tell(search, after, some)
        statistics.append(found)
    if len(statistics) > 1:
        found = {name: np.concatenate([each[name] for each in statistics]) for name in statistics[0]}
    if search.admit is not None:
        levels = _current_levels(search, after)
        confidences = black_box.confidences_of(black_box.ask(np.asarray(levels)))
        after = _admit(search, after, levels, confidences)
    after, record = _recorded(search, state, after, found)
    asked = black_box.counts.since(before)
    return after, {
        **{name: np.asarray(values) for name, values in record.items()},
        **dict(zip(QUERIES, (np.array(count) for count in (*asked, 0)), strict=True)),
    }


def _parts(search: Search, black_box: BlackBox, cut: Cut) -> Iterator[Int[np.ndarray, " n"]]:
    """The individuals of a generation, in parts of whole groups whose images fit into memory."""
    require_positive(microbatch=cut.microbatch)
    most = cut.microbatch or _VALUES_AT_ONCE // int(np.prod(black_box.spec.input_shape))
    groups, size = search.individuals(black_box) // search.group, max(1, most // search.group)
    size = -(-groups // -(-groups // size))
    for first in range(0, groups, size):
        yield np.arange(first * search.group, min(first + size, groups) * search.group, dtype=np.int32)


def _ask_and_score(
    search: Search, black_box: BlackBox, state: State, individuals: Int[np.ndarray, " n"]
) -> Kept:
    """What the search keeps of some individuals. The box is asked about those that count."""
    candidates, levels, counts = _ask(search, state, individuals)
    wanted = np.flatnonzero(counts)
    confidences = np.zeros((len(individuals), len(black_box.spec.class_names)), np.float32)
    if len(wanted):
        confidences[wanted] = black_box.confidences_of(black_box.ask(np.asarray(levels)[wanted]))
    return _keep(search, candidates, jnp.asarray(confidences))


@partial(jax.jit, static_argnums=0)
def _ask(
    search: Search, state: State, individuals: Int[Array, " n"] | Int[np.ndarray, " n"]
) -> tuple[Candidates, UInt8[Array, "n h w c"], Bool[Array, " n"]]:
    candidates = search.ask(state, jnp.asarray(individuals))
    levels = jnp.round(candidates.images * 255).astype(jnp.uint8)
    return candidates, levels, search.counts(jnp.asarray(individuals))


@partial(jax.jit, static_argnums=0)
def _keep(search: Search, candidates: Candidates, confidences: Float[Array, "n k"]) -> Kept:
    return search.keep(candidates, confidences)


@partial(jax.jit, static_argnums=0)
def _tell(search: Search, state: State, kept: Kept) -> tuple[State, dict[str, Array]]:
    return search.tell(state, kept)


@partial(jax.jit, static_argnums=0)
def _current_levels(search: Search, state: State) -> UInt8[Array, "k h w c"]:
    assert search.current is not None
    images = search.current(state, jnp.arange(len(state.archive.slots)))
    return jnp.round(images * 255).astype(jnp.uint8)


@partial(jax.jit, static_argnums=0)
def _admit(
    search: Search, state: State, levels: UInt8[Array, "k h w c"], confidences: Float[Array, "k classes"]
) -> State:
    assert search.admit is not None
    return search.admit(state, levels, confidences)


@partial(jax.jit, static_argnums=0)
def _recorded(
    search: Search, before: State, after: State, statistics: dict[str, Array]
) -> tuple[State, dict[str, Array]]:
    after = after._replace(generation=before.generation + 1)
    return after, record_of(search, before.archive.replacements, after, statistics)


def _rows(kept: Kept, first: int, count: int, groups: int) -> Kept:
    """What was kept of some groups: the leading axes are those of groups, or multiples of them."""

    def of_groups(leaf: Array) -> Array:
        each = len(leaf) // groups
        return leaf[first * each : (first + count) * each]

    return jax.tree.map(of_groups, kept)


def _stacked(states: Sequence[State]) -> State:
    """The states of several runs in one, with an axis of runs in front of all arrays but the generation."""
    without = [state._replace(generation=None) for state in states]
    stacked: PyTree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *without)
    return stacked._replace(generation=states[0].generation)
