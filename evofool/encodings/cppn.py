"""Compositional pattern producing networks: an image as a function of position, evolved as a graph."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.encodings.cppn_rendering import render_graphs
from evofool.encodings.encoding import Encoding, require_grey_or_rgb
from evofool.encodings.graphs import FUNCTIONS, INPUTS, Graphs, adjacency, leading_to
from evofool.encodings.operators import polynomial_mutation
from evofool.errors import UsageError, require_choice, require_not_negative, require_positive, require_share

Coordinates = Literal["unit", "pixels"]
"""The inputs of a network: coordinates in [-1, 1], or the numbers of column and row."""


@dataclass(frozen=True)
class CPPNOptions:
    """Budgets, coordinates and rates; the default rates are those of the code that Nguyen et al. released.

    Attributes:
        hidden_nodes: room for hidden nodes in each genome, at least 1.
        connections: room for connections, at least 4 for each output.
        coordinates: the inputs of a network. "unit": x and y in [-1, 1] along the longer side, 0 in the
            centre. "pixels": the numbers of column and row, from 0, as in the released code. With these the
            first images are fine textures, and evolution starts slower.
        max_weight: weights are between this and its negative.
        weight_mutation_rate: probability that a weight mutates, in [0, 1].
        weight_mutation_eta: distribution index of that mutation, 0 or more; larger means smaller steps.
        function_mutation_rate: probability that a node's function is drawn anew, in [0, 1].
        add_connection_rate: probability that a connection is added, in [0, 1].
        delete_connection_rate: probability that a connection is deleted, in [0, 1].
        add_node_rate: probability that a connection gets a node in its middle, in [0, 1].
        delete_node_rate: probability that a hidden node is deleted, in [0, 1].

    Raises:
        UsageError: a value outside of its range.
    """

    hidden_nodes: int = 64
    connections: int = 160
    coordinates: Coordinates = "unit"
    max_weight: float = 10.0
    weight_mutation_rate: float = 0.1
    weight_mutation_eta: float = 15.0
    function_mutation_rate: float = 0.1
    add_connection_rate: float = 0.5
    delete_connection_rate: float = 0.3
    add_node_rate: float = 0.5
    delete_node_rate: float = 0.2

    def __post_init__(self) -> None:
        require_positive(hidden_nodes=self.hidden_nodes, max_weight=self.max_weight)
        require_not_negative(weight_mutation_eta=self.weight_mutation_eta)
        require_share(**{name: rate for name, rate in vars(self).items() if name.endswith("_rate")})
        require_positive(connections=self.connections)
        if self.connections < len(INPUTS):
            raise UsageError(
                f"connections must be {len(INPUTS)} or more for each output, not {self.connections}"
            )
        require_choice(get_args(Coordinates), coordinates=self.coordinates)


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
        mutate = partial(_mutate, options, pairs.hidden_nodes.max())
        return jax.vmap(lambda key, pair: jax.vmap(mutate)(jax.random.split(key), pair))(keys, pairs)

    def render(genomes: Graphs) -> Float[Array, "n h w c"]:
        return render_graphs(
            genomes, options.max_weight, _inputs(height, width, options.coordinates), outputs=channels
        )

    return Encoding(init, vary, render, metrics=_metrics)


def _metrics(graphs: Graphs) -> dict[str, Array]:
    return {
        "mean_hidden_nodes": graphs.hidden_nodes.mean(),
        "mean_connections": (graphs.targets > 0).sum(axis=1).mean(),
        "skipped_nodes": graphs.skipped_nodes.sum(),
        "skipped_connections": graphs.skipped_connections.sum(),
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
    uniform = _uniform(key, connections + functions)
    slot = jnp.arange(connections)
    used = slot < len(INPUTS) * outputs
    is_output = jnp.arange(functions) >= hidden_nodes
    return Graphs(
        hidden_nodes=jnp.int32(0),
        functions=jnp.where(is_output, _drawn(len(FUNCTIONS), uniform[connections:]), 0),
        sources=jnp.where(used, slot % len(INPUTS), 0),
        targets=jnp.where(used, len(INPUTS) + hidden_nodes + slot // len(INPUTS), 0),
        weights=jnp.where(used, uniform[:connections], 0),
        skipped_nodes=jnp.bool(False),
        skipped_connections=jnp.bool(False),
    )


def _mutate(options: CPPNOptions, most_hidden: Int[Array, ""], key: Key[Array, ""], graph: Graphs) -> Graphs:
    """One offspring of a graph; no graph of the population has more than `most_hidden` hidden nodes."""
    connections, functions, room = len(graph.weights), len(graph.functions), options.hidden_nodes
    uniform = _uniform(key, connections + functions + 4 * 4)
    per_weight, per_function, rest = jnp.split(uniform, [connections, connections + functions])
    connecting, disconnecting, adding, deleting = rest.reshape(4, 4)

    graph = _mutate_values(options, graph, per_weight, per_function)
    wanted = connecting[0] < options.add_connection_rate
    graph = _add_connection(graph, wanted, connecting, room, most_hidden)
    graph = _delete_connection(graph, disconnecting[0] < options.delete_connection_rate, disconnecting)
    graph = _add_node(graph, adding[0] < options.add_node_rate, adding, room)
    return _delete_node(graph, deleting[0] < options.delete_node_rate, deleting)


def _mutate_values(
    options: CPPNOptions, graph: Graphs, per_weight: Float[Array, " c"], per_function: Float[Array, " f"]
) -> Graphs:
    """Mutate weights and node functions, by a uniform number for each of them."""
    weights = polynomial_mutation(
        graph.weights, per_weight, options.weight_mutation_rate, options.weight_mutation_eta
    )
    redrawn = per_function < options.function_mutation_rate
    drawn = _drawn(len(FUNCTIONS), per_function / jnp.maximum(options.function_mutation_rate, 1e-9))
    return graph._replace(
        weights=jnp.where(graph.targets > 0, weights, 0),
        functions=jnp.where(redrawn, drawn, graph.functions),
    )


def _add_connection(
    graph: Graphs,
    wanted: Bool[Array, ""],
    uniform: Float[Array, " 4"],
    room: int,
    most_hidden: Int[Array, ""],
) -> Graphs:
    """Connect a random node to one of the nodes that do not lead to it."""
    used = graph.targets > 0
    node = jnp.arange(len(INPUTS) + len(graph.functions))
    source = _drawn(len(INPUTS) + graph.hidden_nodes, uniform[1])
    leads = adjacency(graph.sources, graph.targets, len(node))
    leading = leading_to(leads, node == source, most_hidden)
    hidden = (node >= len(INPUTS)) & (node < len(INPUTS) + graph.hidden_nodes)
    output = node >= len(INPUTS) + room
    candidates = (hidden | output) & ~leading & ~leads[source]
    target = _choose(candidates, uniform[2])
    happens = wanted & candidates.any() & ~used.all()
    number = jnp.where(happens, _renumbered(source, target, leading), node)
    free = jnp.argmin(used)
    functions = jnp.zeros_like(graph.functions).at[number[len(INPUTS) :] - len(INPUTS)].set(graph.functions)
    return graph._replace(
        functions=functions,
        sources=_set_where(happens, number[graph.sources], free, number[source]),
        targets=_set_where(happens, number[graph.targets], free, number[target]),
        weights=_set_where(happens, graph.weights, free, uniform[3]),
        skipped_connections=wanted & used.all(),
    )


def _renumbered(
    source: Int[Array, ""], target: Int[Array, ""], leading: Bool[Array, " m"]
) -> Int[Array, " m"]:
    """New numbers for all nodes, by which the source of a new connection is below its target.

    Only nodes between the two change: those that lead to the source, and the source, come first. Both groups
    keep their order.
    """
    node = jnp.arange(len(leading))
    between = (node >= target) & (node <= source)
    before, after = between & leading, between & ~leading
    return jnp.where(
        before,
        target - 1 + jnp.cumsum(before),
        jnp.where(after, target - 1 + before.sum() + jnp.cumsum(after), node),
    )


def _delete_connection(graph: Graphs, wanted: Bool[Array, ""], uniform: Float[Array, " 4"]) -> Graphs:
    used = graph.targets > 0
    return _without(graph, wanted & used & (jnp.arange(len(used)) == _choose(used, uniform[1])))


def _add_node(graph: Graphs, wanted: Bool[Array, ""], uniform: Float[Array, " 4"], room: int) -> Graphs:
    """Put a node in the middle of a connection, numbered just before the connection's target."""
    used = graph.targets > 0
    connection = _choose(used, uniform[1])
    wanted &= used.any()
    happens = wanted & (graph.hidden_nodes < room) & ~used.all()

    unused = len(INPUTS) + graph.hidden_nodes
    added = jnp.minimum(graph.targets[connection], unused)
    function = jnp.arange(len(graph.functions)) + len(INPUTS)
    graph = graph._replace(
        functions=jnp.where(
            happens & (function > added) & (function <= unused), jnp.roll(graph.functions, 1), graph.functions
        ),
        sources=graph.sources + (happens & (graph.sources >= added) & (graph.sources < unused)),
        targets=graph.targets + (happens & (graph.targets >= added) & (graph.targets < unused)),
    )
    free = jnp.argmin(used)
    targets = _set_where(happens, graph.targets, free, graph.targets[connection])
    return graph._replace(
        hidden_nodes=graph.hidden_nodes + happens,
        functions=_set_where(
            happens, graph.functions, added - len(INPUTS), _drawn(len(FUNCTIONS), uniform[2])
        ),
        sources=_set_where(happens, graph.sources, free, added),
        targets=_set_where(happens, targets, connection, added),
        weights=_set_where(happens, graph.weights, free, graph.weights[connection]),
        skipped_nodes=wanted & ~happens,
    )


def _delete_node(graph: Graphs, wanted: Bool[Array, ""], uniform: Float[Array, " 4"]) -> Graphs:
    happens = wanted & (graph.hidden_nodes > 0)
    deleted = len(INPUTS) + _drawn(graph.hidden_nodes, uniform[1])
    graph = _without(graph, happens & ((graph.sources == deleted) | (graph.targets == deleted)))
    last = len(INPUTS) + graph.hidden_nodes - 1
    function = jnp.arange(len(graph.functions)) + len(INPUTS)
    functions = jnp.where(
        happens & (function >= deleted) & (function < last), jnp.roll(graph.functions, -1), graph.functions
    )
    return graph._replace(
        hidden_nodes=graph.hidden_nodes - happens,
        functions=_set_where(happens, functions, last - len(INPUTS), 0),
        sources=graph.sources - (happens & (graph.sources > deleted) & (graph.sources <= last)),
        targets=graph.targets - (happens & (graph.targets > deleted) & (graph.targets <= last)),
    )


def _without(graph: Graphs, deleted: Bool[Array, " c"]) -> Graphs:
    return graph._replace(
        sources=jnp.where(deleted, 0, graph.sources),
        targets=jnp.where(deleted, 0, graph.targets),
        weights=jnp.where(deleted, 0, graph.weights),
    )


def _choose(candidates: Bool[Array, " n"], uniform: Float[Array, ""]) -> Int[Array, ""]:
    """The index of a true entry, drawn uniformly; any index if there is none."""
    so_far = jnp.cumsum(candidates)
    return jnp.sum(so_far <= _drawn(so_far[-1], uniform))


def _drawn(below: int | Int[Array, ""], uniform: Float[Array, "*n"]) -> Int[Array, "*n"]:
    """Uniform integers from 0 to `below` - 1, from uniform numbers in [0, 1)."""
    return jnp.clip((uniform * below).astype(jnp.int32), 0, jnp.maximum(below - 1, 0))


def _set_where(condition: Bool[Array, ""], array: Array, index: Int[Array, ""], value: Array | int) -> Array:
    # Under vmap a comparison with every index is vectorised, and an indexed update would be a scatter.
    return jnp.where(condition & (jnp.arange(len(array)) == index), value, array)


def _uniform(key: Key[Array, ""], count: int) -> Float[Array, " n"]:
    """Uniform numbers in [0, 1) from the upper 24 bits of random words."""
    return (jax.random.bits(key, (count,)) >> 8).astype(jnp.float32) * jnp.float32(2**-24)
