"""Feed-forward graphs as arrays, the genomes of compositional pattern producing networks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

INPUTS = ("x", "y", "distance", "bias")
FUNCTIONS = ("sine", "sigmoid", "gaussian", "linear")
"""Node functions of z, the weighted sum of a node's inputs: sin z, 2 / (1 + exp(-z)) - 1, exp(-z^2), and z
clipped to [-3, 3] and divided by 3. A genome refers to them by index."""


class Graphs(NamedTuple):
    """`n` feed-forward networks with room for `h` hidden nodes and `c` connections each.

    Nodes are numbered: the four inputs 0 to 3, the hidden nodes from 4 and, after the room for these, the
    outputs from 4 + h. A connection always leads to a higher number, so there can be no cycle.

    Attributes:
        hidden_nodes: how many hidden nodes are in use: those with the lowest numbers.
        functions: index in `FUNCTIONS` of each hidden and then of each of the `o` output nodes.
        sources: the node that each connection comes from.
        targets: the node that it leads to; 0 where there is no connection.
        weights: its gene in [0, 1], which encodes a weight in [-max_weight, max_weight].
        skipped_nodes: whether a node could not be added when the genome was made, for lack of room.
        skipped_connections: whether a connection could not be added, for lack of room.
    """

    hidden_nodes: Int[Array, "*n"]
    functions: Int[Array, "*n h+o"]
    sources: Int[Array, "*n c"]
    targets: Int[Array, "*n c"]
    weights: Float[Array, "*n c"]
    skipped_nodes: Bool[Array, "*n"]
    skipped_connections: Bool[Array, "*n"]


def adjacency(sources: Int[Array, " c"], targets: Int[Array, " c"], nodes: int) -> Bool[Array, "m m"]:
    """Whether a connection leads from one node (row) to another (column).

    Args:
        sources: the node that each connection comes from.
        targets: the node that it leads to, 0 for no connection. Column 0 is meaningless.
        nodes: how many nodes there are.

    Example:
        >>> adjacency(jnp.array([0, 4, 1]), jnp.array([4, 6, 5]), 7)[4].tolist()
        [False, False, False, False, False, False, True]
    """
    return jnp.zeros((nodes, nodes), bool).at[sources, targets].set(True)


def leading_to(
    leads: Bool[Array, "m m"], goals: Bool[Array, " m"], most_hidden: Int[Array, ""]
) -> Bool[Array, " m"]:
    """Which nodes of a graph are a goal or lead to one. Inputs that are no goals are never marked.

    Args:
        leads: the graph's `adjacency`.
        goals: the nodes that others may lead to.
        most_hidden: at most this many hidden nodes are in use. Under `vmap` one number for all graphs makes
            the loop as short as the largest of them needs.

    Example:
        >>> leads = adjacency(jnp.array([0, 4, 1]), jnp.array([4, 6, 5]), 7)
        >>> leading_to(leads, jnp.arange(7) == 6, jnp.int32(2)).tolist()
        [False, False, False, False, True, False, True]
    """

    def visit(index: Int[Array, ""], leading: Bool[Array, " m"]) -> Bool[Array, " m"]:
        node = len(INPUTS) + most_hidden - 1 - index
        return leading.at[node].set(leading[node] | (leads[node] & leading).any())

    # From the highest number down, so that a node is visited after all nodes that it leads to. Column 0 is
    # never used, because nothing leads to input 0.
    return jax.lax.fori_loop(0, most_hidden, visit, goals)
