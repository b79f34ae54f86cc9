"""Drawing a population of graphs on a GPU: two Triton kernels, whose loops cost nothing.

The first one orders the connections of each graph by the node that they lead to, without those that lead to no
output. In the second, each program of the grid takes one graph and some of the pixels after another. It keeps
the values of their nodes in memory of its own, small enough for the cache, and computes node by node.

The arithmetic is that of `cppn_rendering`, in the same order. Arrays in a kernel have powers of two as their
lengths, and what is beyond the end of an array is masked.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int, UInt8

from evofool.encodings.colour import rgb_channels
from evofool.encodings.graphs import FUNCTIONS, INPUTS, Graphs
from evofool.encodings.node_functions import linear, sigmoid, sine

_PIXELS = 512
"""How many pixels a program draws at once."""

_PROGRAMS = 1024
"""The most programs: several for each processor of the largest GPUs, so that they wait for memory in turns."""

Ref = Any


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
        is_needed = is_output or jnp.max((kept & (source == number)).astype(jnp.int32)) > 0
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


def _row(ref: Ref, graph: Int[Array, ""]) -> Array:
    """A row of an array, with zeros up to the next power of two."""
    length = ref.shape[1]
    slot = jnp.arange(pl.next_power_of_2(length))
    return triton.load(ref.at[graph, slot], mask=slot < length, other=0)


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

    def wait() -> None:
        """Until all threads are here: what one of them writes another may read."""
        if not interpret:
            triton.debug_barrier()

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
        wait()
        for node in range(len(INPUTS)):
            values[program, node, whole_tile] = triton.load(inputs.at[node, pixel], mask=inside, other=0)
        wait()

        def compute(node: Int[Array, ""], carry: Int[Array, ""]) -> Int[Array, ""]:
            @pl.when(counts[graph, node] >= 0)
            def _() -> None:
                values[program, len(INPUTS) + node, whole_tile] = value_of(graph, node)
                wait()

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
