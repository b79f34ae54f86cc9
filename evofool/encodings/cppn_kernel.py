"""Varying and drawing populations of graphs on a GPU, in Triton kernels, whose loops cost nothing.

Variation is one kernel, with a program for each graph. Drawing is two. The first one orders the connections
of each graph by the node that they lead to, without those that lead to no output. In the second, each program
takes one graph and some of the pixels after another. It keeps the values of their nodes in memory of its own,
small enough for the cache, and computes node by node.

The operators are those of `cppn_variation`, and the arithmetic of drawing is that of `cppn_rendering`, in the
same order. Arrays in a kernel have powers of two as their lengths, and what is beyond the end of an array is
masked.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int, UInt8

from evofool.encodings.colour import rgb_channels
from evofool.encodings.cppn_options import CPPNOptions
from evofool.encodings.cppn_variation import Places, Uniforms, mutate
from evofool.encodings.graphs import FUNCTIONS, INPUTS, Graphs
from evofool.encodings.node_functions import linear, sigmoid, sine

_PIXELS = 512
"""How many pixels a program draws at once."""

_PROGRAMS = 1024
"""The most programs: several for each processor of a large GPU, so that they wait for memory in turns."""

_LEVELS = 2**31
"""Triton counts places in an array in 32 bits with a sign: more levels than these are drawn in two halves."""

Ref = Any


def vary(
    pairs: Graphs,
    uniform: Float[Array, "p 2 u"],
    *,
    options: CPPNOptions,
    outputs: int,
    interpret: bool = False,
) -> Graphs:
    """One offspring of each of the two graphs of each pair, as `vary_graphs` makes them.

    Args:
        pairs: `p` times two graphs.
        uniform: the numbers of each graph in [0, 1): for each weight and function, four for each operator.
        options: budgets and rates.
        outputs: of the graphs, 1 or 3.
        interpret: compute with XLA what the kernel would compute, on any platform and slowly.
    """
    graphs, uniform = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (pairs, uniform))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), graphs)
    count, functions = graphs.functions.shape
    nodes = pl.next_power_of_2(len(INPUTS) + pl.next_power_of_2(functions))
    *offspring, _ = pl.pallas_call(
        partial(_vary, options, outputs, interpret),
        (*shapes, jax.ShapeDtypeStruct((count, nodes), jnp.int32)),
        grid=(count,),
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
    )(*graphs[:5], uniform)
    return jax.tree.map(lambda leaf, pair: leaf.reshape(pair.shape), Graphs(*offspring), pairs)


def _vary(
    options: CPPNOptions,
    outputs: int,
    interpret: bool,
    hidden_nodes: Ref,
    functions: Ref,
    sources: Ref,
    targets: Ref,
    weights: Ref,
    uniform: Ref,
    *results: Ref,
) -> None:
    """Make one offspring. The last of the results is memory in which a program exchanges places of arrays."""
    number = pl.program_id(0)
    *offspring, places = results
    graph = Graphs(
        hidden_nodes[number],
        _row(functions, number),
        _row(sources, number),
        _row(targets, number),
        _row(weights, number),
        skipped_nodes=jnp.bool(False),
        skipped_connections=jnp.bool(False),
    )
    drawn = (weights.shape[1], functions.shape[1])
    fours = [[uniform[number, sum(drawn) + 4 * row + column] for column in range(4)] for row in range(4)]
    uniforms = Uniforms(_row(uniform, number, 0, drawn[0]), _row(uniform, number, *drawn), *fours)
    result = mutate(options, outputs, _in_memory(places, number, interpret), graph, uniforms)
    for ref, value in zip(offspring, result, strict=True):
        if value.ndim == 0:
            ref[number] = value
        else:
            place = jnp.arange(len(value))
            triton.store(ref.at[number, place], value, mask=place < ref.shape[1])


def _in_memory(memory: Ref, row: Int[Array, ""], interpret: bool) -> Places:
    """The places of arrays in a kernel, exchanged through a row of memory."""
    nodes = memory.shape[1]

    def take(array: Array, indices: Int[Array, "..."]) -> Array:
        own = jnp.arange(len(array))
        if indices.ndim == 0:
            return jnp.sum(jnp.where(own == indices, array, 0))
        return exchanged(own, array, indices)

    def exchanged(to: Int[Array, " n"], array: Int[Array, " n"], indices: Int[Array, " m"]) -> Array:
        """What is at the indices after each value of an array was written to a place."""
        _wait(interpret)
        triton.store(memory.at[row, to], array)
        _wait(interpret)
        return triton.load(memory.at[row, indices])

    def shift(array: Array, by: int) -> Array:
        place = jnp.arange(len(array))
        return take(array, jnp.clip(place - by, 0, len(array) - 1))

    def ancestors(graph: Graphs, node: Int[Array, ""]) -> tuple[Bool[Array, " m"], Bool[Array, " m"]]:
        numbers = jnp.arange(nodes)

        def visit(index: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
            # From the last node down, after all nodes that it leads to.
            leading, kept = carry
            visited = len(INPUTS) + graph.hidden_nodes - 1 - index
            leads = _any(kept & (graph.sources == visited))
            return leading | (leads & (numbers == visited)), kept | (leads & (graph.targets == visited))

        start = (numbers == node, graph.targets == node)
        leading, _ = jax.lax.fori_loop(0, graph.hidden_nodes, visit, start)
        exchanged(numbers, jnp.zeros(nodes, jnp.int32), numbers)
        _wait(interpret)
        follows = (graph.sources == node) & (graph.targets > 0)
        # Masked, and beyond the end too: two places of one number would be in each other's way.
        place = jnp.where(follows, graph.targets, nodes)
        triton.store(memory.at[row, place], jnp.ones_like(place), mask=follows)
        _wait(interpret)
        return leading, triton.load(memory.at[row, numbers]) > 0

    return Places(
        nodes=nodes,
        take=take,
        put=lambda array, indices: exchanged(indices, array, jnp.arange(len(array))),
        shift=shift,
        ancestors=ancestors,
    )


def draw(
    graphs: Graphs,
    inputs: Float[Array, "4 pixel"],
    *,
    max_weight: float,
    outputs: int,
    interpret: bool = False,
) -> UInt8[Array, "n pixel o"]:
    """The levels 0..255 of each graph's image at each pixel, as `render_graphs` draws it.

    Args:
        graphs: `n` of them.
        inputs: the value of each input node at each pixel.
        max_weight: the weight that a gene of 1 stands for.
        outputs: 1 for grey images, 3 for RGB.
        interpret: compute with XLA what the kernels would compute, on any platform and slowly.
    """
    count, nodes = graphs.functions.shape
    pixels = inputs.shape[1]
    if count > 1 and count * pixels * outputs >= _LEVELS:
        same = partial(draw, inputs=inputs, max_weight=max_weight, outputs=outputs, interpret=interpret)
        first, second = (slice(None, count // 2), slice(count // 2, None))
        return jnp.concatenate([same(Graphs(*(leaf[half] for leaf in graphs))) for half in (first, second)])
    programs = min(_PROGRAMS, count * -(-pixels // _PIXELS))
    slots = jax.ShapeDtypeStruct((count, graphs.sources.shape[1]), jnp.int32)
    per_node = jax.ShapeDtypeStruct((count, nodes), jnp.int32)
    firsts, counts, sources, weights = pl.pallas_call(
        partial(_order, max_weight, outputs),
        (per_node, per_node, slots, slots.update(dtype=jnp.float32)),
        grid=(count,),
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
    )(graphs.hidden_nodes, graphs.sources, graphs.targets, graphs.weights)
    images, _ = pl.pallas_call(
        partial(_draw, outputs, interpret),
        (
            jax.ShapeDtypeStruct((count, pixels, outputs), jnp.uint8),
            jax.ShapeDtypeStruct((programs, len(INPUTS) + nodes - outputs, _PIXELS), jnp.float32),
        ),
        grid=(programs,),
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=1),
    )(graphs.hidden_nodes, graphs.functions, firsts, counts, sources, weights, inputs)
    return images


def _order(
    max_weight: float,
    outputs: int,
    hidden_nodes: Ref,
    sources: Ref,
    targets: Ref,
    genes: Ref,
    firsts: Ref,
    counts: Ref,
    ordered_sources: Ref,
    ordered_weights: Ref,
) -> None:
    """The place of each node's first connection and how many it has, -1 for one that leads to no output.

    Nodes are numbered without the inputs. They are visited from the last one down, after all nodes that they
    lead to.
    """
    graph = pl.program_id(0)
    room = firsts.shape[1] - outputs
    source, target = (_row(ref, graph) for ref in (sources, targets))
    weight = (2 * _row(genes, graph) - 1) * max_weight

    def place(
        node: int | Int[Array, ""], is_output: bool, kept: Array, placed: Int[Array, ""]
    ) -> tuple[Array, Int[Array, ""]]:
        number = len(INPUTS) + node
        is_needed = is_output or _any(kept & (source == number))
        into = (target == number) & is_needed
        place = jnp.where(into, placed + jnp.cumsum(into.astype(jnp.int32)) - 1, sources.shape[1])
        triton.store(ordered_sources.at[graph, place], source, mask=into)
        triton.store(ordered_weights.at[graph, place], weight, mask=into)
        count = jnp.sum(into.astype(jnp.int32))
        firsts[graph, node] = placed
        counts[graph, node] = jnp.where(is_needed, count, -1)
        return kept | into, placed + count

    carry = (jnp.zeros(source.shape, bool), jnp.int32(0))
    for output in range(outputs):
        carry = place(room + output, True, *carry)
    hidden = hidden_nodes[graph]
    jax.lax.fori_loop(0, hidden, lambda index, carry: place(hidden - 1 - index, False, *carry), carry)


def _row(ref: Ref, row: Int[Array, ""], first: int = 0, length: int | None = None) -> Array:
    """A part of a row of an array, all of it by default, with zeros up to the next power of two."""
    length = ref.shape[1] if length is None else length
    place = jnp.arange(pl.next_power_of_2(length))
    return triton.load(ref.at[row, first + place], mask=place < length, other=0)


def _any(mask: Bool[Array, " n"]) -> Bool[Array, ""]:
    return jnp.max(mask.astype(jnp.int32)) > 0


def _wait(interpret: bool) -> None:
    """Until all threads of a program are here: what one of them has written another may read."""
    if not interpret:
        triton.debug_barrier()


def _draw(
    outputs: int,
    interpret: bool,
    hidden_nodes: Ref,
    functions: Ref,
    firsts: Ref,
    counts: Ref,
    sources: Ref,
    weights: Ref,
    inputs: Ref,
    images: Ref,
    values: Ref,
) -> None:
    """Draw one piece of an image after another; the row `program` of `values` belongs to this program."""
    program, programs = pl.program_id(0), pl.num_programs(0)
    graphs, pixels, _ = images.shape
    tiles = -(-pixels // _PIXELS)
    room = functions.shape[1] - outputs
    whole_tile = pl.ds(0, _PIXELS)

    def value_of(graph: Int[Array, ""], node: int | Int[Array, ""]) -> Float[Array, " pixel"]:
        first = firsts[graph, node]

        def add(index: Int[Array, ""], total: Float[Array, " pixel"]) -> Float[Array, " pixel"]:
            source = sources[graph, first + index]
            return total + weights[graph, first + index] * values[program, source, whole_tile]

        total = jax.lax.fori_loop(0, counts[graph, node], add, jnp.zeros(_PIXELS))
        return jax.lax.switch(functions[graph, node], _FUNCTIONS, total)

    def piece(index: Int[Array, ""], carry: Int[Array, ""]) -> Int[Array, ""]:
        number = program + index * programs
        graph, tile = jax.lax.div(number, tiles), jax.lax.rem(number, tiles)
        pixel = tile * _PIXELS + jnp.arange(_PIXELS)
        inside = pixel < pixels
        _wait(interpret)
        for node in range(len(INPUTS)):
            values[program, node, whole_tile] = triton.load(inputs.at[node, pixel], mask=inside, other=0)
        _wait(interpret)

        def compute(node: Int[Array, ""], carry: Int[Array, ""]) -> Int[Array, ""]:
            @pl.when(counts[graph, node] >= 0)
            def _() -> None:
                values[program, len(INPUTS) + node, whole_tile] = value_of(graph, node)
                _wait(interpret)

            return carry

        jax.lax.fori_loop(0, hidden_nodes[graph], compute, carry)
        colour = [jnp.floor(255 * jnp.abs(value_of(graph, room + output))) for output in range(outputs)]
        levels = colour if outputs == 1 else map(_half_to_even, rgb_channels(*colour))
        for channel, level in enumerate(levels):
            at = images.at[graph, pixel, channel]
            triton.store(at, level.astype(jnp.int32).astype(jnp.uint8), mask=inside)
        return carry

    pieces = jax.lax.div(graphs * tiles - program + programs - 1, programs)
    jax.lax.fori_loop(0, pieces, piece, jnp.int32(0))


def _half_to_even(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The whole number next to each value, as `jnp.round` has it."""
    below = jnp.floor(x)
    above_half, is_odd = x - below, below - 2 * jnp.floor(below / 2)
    return below + jnp.where((above_half > 0.5) | ((above_half == 0.5) & (is_odd > 0)), 1.0, 0.0)


_FUNCTIONS = [
    {
        "sine": lambda z: sine(z, _half_to_even),
        "sigmoid": lambda z: sigmoid(z, jnp.exp(-jnp.abs(z))),
        "gaussian": lambda z: jnp.exp(-z * z),
        "linear": linear,
    }[name]
    for name in FUNCTIONS
]
