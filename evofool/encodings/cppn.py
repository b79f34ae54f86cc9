"""Compositional pattern producing networks: an image as a function of position, evolved as a graph."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from evofool.caching import cached
from evofool.encodings.cppn_options import Coordinates, CPPNOptions
from evofool.encodings.cppn_rendering import render_graphs
from evofool.encodings.cppn_variation import drawn, uniform_numbers, vary_graphs
from evofool.encodings.encoding import Encoding, require_grey_or_rgb
from evofool.encodings.graphs import FUNCTIONS, INPUTS, Graphs
from evofool.errors import UsageError


@cached
def cppn(image_shape: tuple[int, int, int], options: CPPNOptions = CPPNOptions()) -> Encoding:
    """Networks from position to colour, varied as in Nguyen et al. (CVPR 2015, section 2.2).

    CPPNs were introduced by K. O. Stanley (Genetic Programming and Evolvable Machines 8, 2007). They map x,
    y, the distance from the centre and a constant 1 to one output (grey) or three (hue, lightness,
    saturation, converted as OpenCV does with 8 bits); an output v is the level `int(255 |v|)`. The first
    networks have no hidden nodes. Every input is connected to every output, with random weights and random
    output functions. Each offspring is a copy of its parent, because the source's crossover only decides
    which of two children copies which parent. These operators change it in this order, each with its rate:

    1. each weight: polynomial mutation (Deb 2001, p. 124);
    2. each node function: drawn anew;
    3. add a connection from a random node to one of the nodes that do not lead to it;
    4. delete a random connection;
    5. add a node with a random function in the middle of a random connection, whose weight both halves keep;
    6. delete a random hidden node with its connections.

    An operator does nothing if its budget is used up. The metrics `skipped_nodes` and `skipped_connections`
    count the offspring of a generation for which this happened; `mean_hidden_nodes` and `mean_connections`
    are the sizes of its graphs.

    Args:
        image_shape: height, width and channels (1 grey, 3 RGB) of the images.
        options: budgets, coordinates and rates; the defaults if not given.

    Raises:
        UsageError: a size that is not positive, channels other than 1 and 3, or fewer connections than the
            first networks need.

    Example:
        >>> encoding = cppn((28, 28, 1))
        >>> genomes = encoding.init(jax.random.split(jax.random.key(0), 5))
        >>> genomes.hidden_nodes.tolist(), encoding.render(genomes).shape
        ([0, 0, 0, 0, 0], (5, 28, 28, 1))
    """
    require_grey_or_rgb(image_shape)
    height, width, channels = image_shape
    if options.connections < len(INPUTS) * channels:
        raise UsageError(
            f"connections must be {len(INPUTS) * channels} or more for {channels} output(s), "
            f"not {options.connections}"
        )

    def init(keys: Key[Array, " n"]) -> Graphs:
        return jax.vmap(partial(_random_graph, options, channels))(keys)

    def vary(keys: Key[Array, " p"], pairs: Graphs, generation: Int[Array, ""]) -> Graphs:
        return vary_graphs(options, channels, keys, pairs)

    def render(genomes: Graphs) -> Float[Array, "n h w c"]:
        return render_graphs(
            genomes, options.max_weight, _inputs(height, width, options.coordinates), outputs=channels
        )

    return Encoding(init, vary, render, metrics=_metrics)


def _metrics(graphs: Graphs) -> dict[str, Array]:
    connections = (graphs.targets > 0).sum(axis=1)
    counts = (graphs.hidden_nodes, connections, graphs.skipped_nodes, graphs.skipped_connections)
    # Summed together: on a GPU each sum alone is a kernel.
    sums = jnp.stack(counts).sum(axis=1)
    means = sums[:2] / len(graphs.hidden_nodes)
    return {
        "mean_hidden_nodes": means[0],
        "mean_connections": means[1],
        "skipped_nodes": sums[2],
        "skipped_connections": sums[3],
    }


def _inputs(height: int, width: int, coordinates: Coordinates) -> Float[Array, "4 h w"]:
    column, row = jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32)
    longest = max(height, width, 2)
    x, y = (2 * column - (width - 1)) / (longest - 1), (2 * row - (height - 1)) / (longest - 1)
    distance = jnp.sqrt(x[None] ** 2 + y[:, None] ** 2)
    if coordinates == "pixels":
        x, y = column, row
    x, y = jnp.broadcast_to(x[None], (height, width)), jnp.broadcast_to(y[:, None], (height, width))
    return jnp.stack([x, y, distance, jnp.ones_like(x)])


def _random_graph(options: CPPNOptions, outputs: int, key: Key[Array, ""]) -> Graphs:
    hidden_nodes, connections = options.hidden_nodes, options.connections
    functions = hidden_nodes + outputs
    uniform = uniform_numbers(key, connections + functions)
    slot = jnp.arange(connections)
    used = slot < len(INPUTS) * outputs
    is_output = jnp.arange(functions) >= hidden_nodes
    return Graphs(
        hidden_nodes=jnp.int32(0),
        functions=jnp.where(is_output, drawn(len(FUNCTIONS), uniform[connections:]), 0),
        sources=jnp.where(used, slot % len(INPUTS), 0),
        targets=jnp.where(used, len(INPUTS) + hidden_nodes + slot // len(INPUTS), 0),
        weights=jnp.where(used, uniform[:connections], 0),
        skipped_nodes=jnp.bool(False),
        skipped_connections=jnp.bool(False),
    )
