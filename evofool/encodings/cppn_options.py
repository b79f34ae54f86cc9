"""The settings of CPPNs."""

from dataclasses import dataclass
from typing import Literal, get_args

from evofool.encodings.graphs import INPUTS
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
