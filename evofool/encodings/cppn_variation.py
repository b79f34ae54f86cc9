"""How offspring of CPPNs differ from their parents: the operators of Nguyen et al., one graph at a time.

They compute with whole arrays. What reads or writes single places of one, and whatever else another platform
computes in another form, is a function in `Places`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.encodings.cppn_options import CPPNOptions
from evofool.encodings.graphs import FUNCTIONS, INPUTS, Graphs, adjacency, leading_to
from evofool.encodings.operators import polynomial_mutation
from evofool.numerics.platform import may_be_cuda
from evofool.numerics.random_numbers import fold_in_each


def numbers_of_pairs(keys: Key[Array, " p"], pairs: Graphs) -> Float[Array, "p 2 u"]:
    """The uniform numbers that each graph of each pair needs to vary: those of `Uniforms` in a row."""
    count = pairs.weights.shape[-1] + pairs.functions.shape[-1] + 4 * 4
    children = jax.vmap(lambda key: fold_in_each(key, jnp.arange(2)))(keys)
    return jax.vmap(jax.vmap(partial(uniform_numbers, count=count)))(children)


Four = Sequence[Float[Array, ""]] | Float[Array, " 4"]
"""Four uniform numbers: an operator's."""


def vary_graphs(options: CPPNOptions, outputs: int, keys: Key[Array, " p"], pairs: Graphs) -> Graphs:
    """Two offspring of each pair of graphs, one of each of the two.

    Args:
        options: budgets and rates.
        outputs: of the graphs, 1 or 3.
        keys: one for each pair.
        pairs: `p` times two graphs.
    """
    uniform = numbers_of_pairs(keys, pairs)
    connections, functions = pairs.weights.shape[-1], pairs.functions.shape[-1]

    def one_by_one(pairs: Graphs, uniform: Float[Array, "p 2 u"]) -> Graphs:
        places = on_arrays(len(INPUTS) + functions, pairs.hidden_nodes.max())

        def offspring(graph: Graphs, uniform: Float[Array, " u"]) -> Graphs:
            per_weight, per_function, others = jnp.split(uniform, [connections, connections + functions])
            return mutate(
                options, outputs, places, graph, Uniforms(per_weight, per_function, *others.reshape(4, 4))
            )

        return jax.vmap(jax.vmap(offspring))(pairs, uniform)

    if not may_be_cuda():
        return one_by_one(pairs, uniform)
    from evofool.encodings import cppn_kernel  # a second to import

    kernel = partial(cppn_kernel.vary, options=options, outputs=outputs)
    return jax.lax.platform_dependent(pairs, uniform, cuda=kernel, default=one_by_one)


class Places(NamedTuple):
    """What is computed in another way on another platform, for one graph.

    Attributes:
        nodes: how many numbers of nodes there are, used or not: 4 + h + o or more.
        take: `take(array, indices)`, the values at these indices, or at one.
        put: `put(array, indices)`, an array with the values of `array` at these indices, a permutation.
        shift: `shift(array, by)`, the array moved by one place up or down; the end that is left is undefined.
        ancestors: `ancestors(graph, node)`: which nodes lead to a node or are it, and to which ones it has a
            connection.
    """

    nodes: int
    take: Callable[[Array, Int[Array, "..."]], Array]
    put: Callable[[Array, Int[Array, " n"]], Array]
    shift: Callable[[Array, int], Array]
    ancestors: Callable[[Graphs, Int[Array, ""]], tuple[Bool[Array, " m"], Bool[Array, " m"]]]


def on_arrays(nodes: int, most_hidden: Int[Array, ""]) -> Places:
    """The places of arrays as JAX has them; no graph has more than `most_hidden` hidden nodes."""

    def ancestors(graph: Graphs, node: Int[Array, ""]) -> tuple[Bool[Array, " m"], Bool[Array, " m"]]:
        leads = adjacency(graph.sources, graph.targets, nodes)
        return leading_to(leads, jnp.arange(nodes) == node, most_hidden), leads[node]

    return Places(
        nodes=nodes,
        take=lambda array, indices: array[indices],
        put=lambda array, indices: jnp.zeros_like(array).at[indices].set(array),
        shift=jnp.roll,
        ancestors=ancestors,
    )


class Uniforms(NamedTuple):
    """Uniform numbers in [0, 1) for one offspring: for each weight and function, four for each operator."""

    weights: Float[Array, " c"]
    functions: Float[Array, " f"]
    connecting: Four
    disconnecting: Four
    adding: Four
    deleting: Four


def mutate(options: CPPNOptions, outputs: int, places: Places, graph: Graphs, uniforms: Uniforms) -> Graphs:
    """One offspring of a graph.

    Its arrays, and those of the numbers, may be longer than the options say, with zeros at the end.
    """
    _, _, connecting, disconnecting, adding, deleting = uniforms
    graph = _mutate_values(options, graph, uniforms.weights, uniforms.functions)
    wanted = connecting[0] < options.add_connection_rate
    graph = _add_connection(options, outputs, places, graph, wanted, connecting)
    graph = _delete_connection(graph, disconnecting[0] < options.delete_connection_rate, disconnecting)
    graph = _add_node(options, places, graph, adding[0] < options.add_node_rate, adding)
    return _delete_node(places, graph, deleting[0] < options.delete_node_rate, deleting)


def _mutate_values(
    options: CPPNOptions, graph: Graphs, per_weight: Float[Array, " c"], per_function: Float[Array, " f"]
) -> Graphs:
    """Mutate weights and node functions, by a uniform number for each of them."""
    weights = polynomial_mutation(
        graph.weights, per_weight, options.weight_mutation_rate, options.weight_mutation_eta
    )
    redrawn = per_function < options.function_mutation_rate
    redrawn_as = drawn(len(FUNCTIONS), per_function / jnp.maximum(options.function_mutation_rate, 1e-9))
    return graph._replace(
        weights=jnp.where(graph.targets > 0, weights, 0),
        functions=jnp.where(redrawn, redrawn_as, graph.functions),
    )


def _add_connection(
    options: CPPNOptions,
    outputs: int,
    places: Places,
    graph: Graphs,
    wanted: Bool[Array, ""],
    uniform: Four,
) -> Graphs:
    """Connect a random node to one of the nodes that do not lead to it."""
    used = graph.targets > 0
    is_full = _count(used) == options.connections
    function = jnp.arange(len(graph.functions))
    node = jnp.arange(places.nodes)
    source = drawn(len(INPUTS) + graph.hidden_nodes, uniform[1])
    leading, following = places.ancestors(graph, source)
    first_output = len(INPUTS) + options.hidden_nodes
    hidden = (node >= len(INPUTS)) & (node < len(INPUTS) + graph.hidden_nodes)
    output = (node >= first_output) & (node < first_output + outputs)
    candidates = (hidden | output) & ~leading & ~following
    target = _choose(candidates, uniform[2])
    happens = wanted & (_count(candidates) > 0) & ~is_full
    number = jnp.where(happens, _renumbered(source, target, leading), node)
    free = _first(~used)
    functions = places.put(graph.functions, places.take(number, function + len(INPUTS)) - len(INPUTS))
    return graph._replace(
        functions=functions,
        sources=_set_where(happens, places.take(number, graph.sources), free, places.take(number, source)),
        targets=_set_where(happens, places.take(number, graph.targets), free, places.take(number, target)),
        weights=_set_where(happens, graph.weights, free, uniform[3]),
        skipped_connections=wanted & is_full,
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
        jnp.where(after, target - 1 + _count(before) + jnp.cumsum(after), node),
    )


def _delete_connection(graph: Graphs, wanted: Bool[Array, ""], uniform: Four) -> Graphs:
    used = graph.targets > 0
    return _without(graph, wanted & used & (jnp.arange(len(used)) == _choose(used, uniform[1])))


def _add_node(
    options: CPPNOptions,
    places: Places,
    graph: Graphs,
    wanted: Bool[Array, ""],
    uniform: Four,
) -> Graphs:
    """Put a node in the middle of a connection, numbered just before the connection's target."""
    used = graph.targets > 0
    connections = _count(used)
    connection = _choose(used, uniform[1])
    weight = places.take(graph.weights, connection)
    target = places.take(graph.targets, connection)
    wanted &= connections > 0
    happens = wanted & (graph.hidden_nodes < options.hidden_nodes) & (connections < options.connections)

    unused = len(INPUTS) + graph.hidden_nodes
    added = jnp.minimum(target, unused)
    function = jnp.arange(len(graph.functions)) + len(INPUTS)
    graph = graph._replace(
        functions=jnp.where(
            happens & (function > added) & (function <= unused),
            places.shift(graph.functions, 1),
            graph.functions,
        ),
        sources=graph.sources + (happens & (graph.sources >= added) & (graph.sources < unused)),
        targets=graph.targets + (happens & (graph.targets >= added) & (graph.targets < unused)),
    )
    free = _first(~used)
    targets = _set_where(happens, graph.targets, free, places.take(graph.targets, connection))
    return graph._replace(
        hidden_nodes=graph.hidden_nodes + happens,
        functions=_set_where(
            happens, graph.functions, added - len(INPUTS), drawn(len(FUNCTIONS), uniform[2])
        ),
        sources=_set_where(happens, graph.sources, free, added),
        targets=_set_where(happens, targets, connection, added),
        weights=_set_where(happens, graph.weights, free, weight),
        skipped_nodes=wanted & ~happens,
    )


def _delete_node(
    places: Places,
    graph: Graphs,
    wanted: Bool[Array, ""],
    uniform: Four,
) -> Graphs:
    happens = wanted & (graph.hidden_nodes > 0)
    deleted = len(INPUTS) + drawn(graph.hidden_nodes, uniform[1])
    graph = _without(graph, happens & ((graph.sources == deleted) | (graph.targets == deleted)))
    last = len(INPUTS) + graph.hidden_nodes - 1
    function = jnp.arange(len(graph.functions)) + len(INPUTS)
    functions = jnp.where(
        happens & (function >= deleted) & (function < last),
        places.shift(graph.functions, -1),
        graph.functions,
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
    return _count(jnp.cumsum(candidates) <= drawn(_count(candidates), uniform))


def _count(mask: Bool[Array, " n"]) -> Int[Array, ""]:
    return jnp.sum(mask.astype(jnp.int32))


def _first(mask: Bool[Array, " n"]) -> Int[Array, ""]:
    """The index of the first true entry; 0 if there is none."""
    return jnp.argmax(mask.astype(jnp.int32))


def drawn(below: int | Int[Array, ""], uniform: Float[Array, "*n"]) -> Int[Array, "*n"]:
    """Uniform integers from 0 to `below` - 1, from uniform numbers in [0, 1)."""
    return jnp.clip((uniform * below).astype(jnp.int32), 0, jnp.maximum(below - 1, 0))


def _set_where(condition: Bool[Array, ""], array: Array, index: Int[Array, ""], value: Array | int) -> Array:
    # Under vmap a comparison with every index is vectorised, and an indexed update would be a scatter.
    return jnp.where(condition & (jnp.arange(len(array)) == index), value, array)


def uniform_numbers(key: Key[Array, ""], count: int) -> Float[Array, " n"]:
    """Uniform numbers in [0, 1) from the upper 24 bits of random words."""
    return (jax.random.bits(key, (count,)) >> 8).astype(jnp.float32) * jnp.float32(2**-24)
