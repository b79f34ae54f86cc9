"""Rendering populations of feed-forward graphs: many small programs over many pixels at once.

On NVIDIA GPUs `cppn_kernel` draws them; what follows here is for all other platforms.

Each graph is first reduced to the hidden nodes that lead to an output. The nodes of all graphs of a chunk are
then computed in lockstep, one node of each at a time: the weighted sum of its inputs, connection by
connection, and its function. Graphs of similar size share a chunk, so that few wait for a larger one.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from evofool.encodings.colour import hls_to_rgb
from evofool.encodings.graphs import INPUTS, Graphs, adjacency, leading_to
from evofool.encodings.node_functions import of_each_row
from evofool.numerics.platform import cache_bytes, may_be_cuda

_VALUES_PER_STEP = 2**24
_VALUES_IN_CACHE = 2**15
"""How many values one step computes: on a CPU few enough that the nodes of a graph stay in the cache."""


def render_graphs(
    graphs: Graphs, max_weight: float, inputs: Float[Array, "4 height width"], *, outputs: int
) -> Float[Array, "n height width o"]:
    """Images in [0, 1] with 256 levels: `int(255 |v|)` of each output v, three outputs read as HLS.

    Always in float32: in bfloat16 many pixels would have another level.

    Args:
        graphs: `n` of them.
        max_weight: the weight that a gene of 1 stands for.
        inputs: the value of each input node at each pixel.
        outputs: 1 for grey images, 3 for RGB.
    """
    _, height, width = inputs.shape
    places = inputs.reshape(len(INPUTS), -1)
    draw = partial(_draw, max_weight=max_weight, outputs=outputs)
    if may_be_cuda():
        from evofool.encodings import cppn_kernel  # a second to import

        kernel = partial(cppn_kernel.draw, max_weight=max_weight, outputs=outputs)
        levels = jax.lax.platform_dependent(graphs, places, cuda=kernel, default=draw)
    else:
        levels = draw(graphs, places)
    return levels.reshape(-1, height, width, outputs).astype(jnp.float32) / 255


def _draw(
    graphs: Graphs, inputs: Float[Array, "4 pixel"], *, max_weight: float, outputs: int
) -> UInt8[Array, "n pixel o"]:
    count, pixels = len(graphs.hidden_nodes), inputs.shape[1]
    room = graphs.functions.shape[1] - outputs
    programs = _compile(graphs, max_weight, room)

    per_step = _VALUES_PER_STEP if cache_bytes() is None else _VALUES_IN_CACHE
    tiles = -(-pixels // per_step)
    tile = -(-pixels // tiles)
    chunk = min(count, max(1, per_step // tile))
    chunks = -(-count // chunk)
    places = jnp.pad(inputs, ((0, 0), (0, tiles * tile - pixels)))

    by_size = jnp.argsort(programs.hidden_nodes)
    programs = jax.tree.map(lambda leaf: leaf[jnp.resize(by_size, (chunks * chunk,))], programs)

    def draw(index: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, images = carry
        start, place = index // tiles * chunk, index % tiles * tile
        here = jax.lax.dynamic_slice_in_dim(places, place, tile, axis=1)
        program = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, chunk), programs)
        values = values.at[: len(INPUTS)].set(here[:, None])
        values, levels = _run(program, values, room, outputs)
        return values, jax.lax.dynamic_update_slice(images, levels.astype(jnp.uint8), (start, place, 0))

    values = jnp.zeros((len(INPUTS) + room, chunk, tile))
    images = jnp.zeros((chunks * chunk, tiles * tile, outputs), jnp.uint8)
    _, images = jax.lax.fori_loop(0, chunks * tiles, draw, (values, images))
    return images[jnp.argsort(by_size), :pixels]


class _Programs(NamedTuple):
    """`n` graphs without the nodes that lead to no output, their connections sorted by target.

    The values of hidden nodes are stored after those of the inputs. Functions and connections are indexed by
    the number of their hidden node; those of the outputs follow after the room for hidden nodes.
    """

    hidden_nodes: Int[Array, "*n"]
    functions: Int[Array, "*n h+o"]
    firsts: Int[Array, "*n h+o"]  # of each node's connections
    counts: Int[Array, "*n h+o"]
    sources: Int[Array, "*n c"]
    weights: Float[Array, "*n c"]


def _compile(graphs: Graphs, max_weight: float, room: int) -> _Programs:
    nodes = len(INPUTS) + graphs.functions.shape[1]
    node = jnp.arange(nodes)
    is_output = node >= len(INPUTS) + room
    is_hidden = (node >= len(INPUTS)) & ~is_output
    # Only a node with a connection from it can lead to an output.
    most_hidden = jnp.maximum(graphs.sources.max() - len(INPUTS) + 1, 0)

    @jax.vmap
    def compile_one(graph: Graphs) -> _Programs:
        needed = leading_to(adjacency(graph.sources, graph.targets, nodes), is_output, most_hidden)
        hidden = needed & is_hidden
        number = jnp.where(hidden, len(INPUTS) - 1 + jnp.cumsum(hidden), node)
        # Unneeded nodes get a number beyond the last one, where they are dropped.
        function_of = jnp.where(needed, number, nodes)[len(INPUTS) :] - len(INPUTS)
        used = (graph.targets > 0) & needed[graph.targets]
        target = jnp.where(used, number[graph.targets], nodes) - len(INPUTS)
        weights = (2 * graph.weights - 1) * max_weight
        zeros = jnp.zeros_like(graph.functions)
        counts = zeros.at[target].add(1, mode="drop")
        # Target and connection in one number: sorting it is faster than sorting three arrays.
        by_target = jnp.sort(target * len(target) + jnp.arange(len(target))) % len(target)
        return _Programs(
            hidden_nodes=hidden.sum(),
            functions=zeros.at[function_of].set(graph.functions, mode="drop"),
            firsts=jnp.cumsum(counts) - counts,
            counts=counts,
            sources=number[graph.sources][by_target],
            weights=weights[by_target],
        )

    return compile_one(graphs)


def _run(
    program: _Programs, values: Float[Array, "v n place"], room: int, outputs: int
) -> tuple[Float[Array, "v n place"], Float[Array, "n place o"]]:
    """All node values, given those of the inputs, and the levels 0..255 of the colours."""

    def compute(node: Int[Array, ""], values: Float[Array, "v n place"]) -> Float[Array, "v n place"]:
        return values.at[len(INPUTS) + node].set(_node_value(program, node, values))

    values = jax.lax.fori_loop(0, program.hidden_nodes.max(), compute, values)
    colour = [_node_value(program, room + output, values) for output in range(outputs)]
    levels = jnp.floor(255 * jnp.abs(jnp.stack(colour, axis=-1)))
    return values, levels if outputs == 1 else hls_to_rgb(levels)


def _node_value(
    program: _Programs, node: int | Int[Array, ""], values: Float[Array, "v n place"]
) -> Float[Array, "n place"]:
    """The value of one node of each of `n` programs at each pixel."""
    first, count = program.firsts[:, node], program.counts[:, node]
    graph = jnp.arange(len(first))

    def add(index: Int[Array, ""], total: Float[Array, "n place"]) -> Float[Array, "n place"]:
        connection = first + index
        weight = jnp.where(index < count, program.weights[graph, connection], 0)
        return total + weight[:, None] * values[program.sources[graph, connection], graph]

    total = jax.lax.fori_loop(0, count.max(), add, jnp.zeros(values.shape[1:]))
    return of_each_row(program.functions[:, node, None], total)
