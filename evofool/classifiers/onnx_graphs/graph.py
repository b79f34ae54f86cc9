"""A graph of ONNX as a function of its weights and images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from evofool.classifiers.checks import cause
from evofool.classifiers.onnx_graphs.operators import OPERATORS, Node, Value
from evofool.errors import EvofoolError, UsageError

Evaluate = Any
"""`evaluate(node, inputs) -> outputs`, all of NumPy."""


@dataclass(frozen=True)
class Graph:
    """A graph without its weights; equal to another of the same steps and constants.

    Steps whose inputs are all known when the graph is compiled, as the computation of shapes is, are left to
    ONNX's own reference implementation on the host; the others become JAX.

    Attributes:
        digest: of everything but the weights.
        nodes: the steps in their order.
        constants: what is known when the graph is compiled, by name: whole numbers, and single values.
        input: the name of the images.
        output: the name of the result.
        evaluate: computes a step on the host.
    """

    digest: str
    nodes: tuple[Node, ...] = field(compare=False, repr=False)
    constants: Mapping[str, np.ndarray] = field(compare=False, repr=False)
    input: str = field(compare=False)
    output: str = field(compare=False)
    evaluate: Evaluate = field(compare=False, repr=False)

    def __call__(self, weights: Mapping[str, Array], images: Shaped[Array, "n *_"]) -> Any:
        """The output for images as the graph takes them.

        Raises:
            UsageError: an operator is not supported, or cannot be compiled.
        """
        values: dict[str, Value] = {**self.constants, **weights, self.input: images}
        for node in self.nodes:
            given = [self._given(node, position, values) for position in range(len(node.inputs))]
            outputs = self._outputs(node, given)
            values.update(zip(node.outputs, outputs, strict=False))
        return jnp.asarray(values[self.output])

    def _given(self, node: Node, position: int, values: Mapping[str, Value]) -> Value | None:
        """An input of a step; None if it is left out."""
        name = node.inputs[position]
        if not name:
            return None
        known = OPERATORS[node.operator].known if node.operator in OPERATORS else ()
        if position in known and name in self.constants:
            return self.constants[name]
        if name not in values:
            raise node.error(f"needs {name!r}, which no step before it computes")
        return values[name]

    def _outputs(self, node: Node, given: list[Value | None]) -> list[Value]:
        known = [
            value if value is None or isinstance(value, np.ndarray) else self.constants.get(name)
            for name, value in zip(node.inputs, given, strict=True)
        ]
        on_host = all(value is not None or not name for name, value in zip(node.inputs, known, strict=True))
        if on_host and given and node.operator != "Dropout":
            return self.evaluate(node, known)
        if node.operator not in OPERATORS:
            raise self._unsupported()
        while given and given[-1] is None:
            given.pop()
        # On the host numbers have 64 bits, on the device 32.
        inputs = [_narrowed(value) for value in given]
        try:
            result = OPERATORS[node.operator].compute(node, *inputs)
        except (EvofoolError, jax.errors.JAXTypeError):
            raise
        except Exception as error:
            raise node.error(f"cannot be compiled: {cause(error)}") from error
        return [result] if isinstance(result, jax.Array | np.ndarray) else list(result)

    def _unsupported(self) -> UsageError:
        missing = sorted({node.operator for node in self.nodes} - OPERATORS.keys())
        return UsageError(
            f"the ONNX graph has operators that are not supported here: {', '.join(missing)}. "
            f"Supported are {', '.join(sorted(OPERATORS))}"
        )


def _narrowed(value: Value | None) -> Value | None:
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(np.float32)
    return value
