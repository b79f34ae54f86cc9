"""What an operator is: a function of a node and its inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from evofool.errors import UsageError, shown

Value: TypeAlias = Any
"""A tensor: NumPy's if it is known when the graph is compiled, as shapes and indices are, else JAX's."""


@dataclass(frozen=True, eq=False)
class Node:
    """A step of a graph.

    Attributes:
        operator: its name in ONNX.
        name: of the step.
        inputs: the names of its inputs; empty where an optional one is left out.
        outputs: the names of its outputs; empty where one is not wanted.
        attributes: by name; tensors are NumPy's, text is `str`.
        opset: the version of the operators.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is by default."""
        return self.attributes.get(name, default)

    def known(self, value: Value | None, what: str, default: Any = None) -> Any:
        """An input that must be known when the graph is compiled, as whole numbers.

        Args:
            value: the input.
            what: it is called; also the attribute that it was in older versions of the operator.
            default: without both.

        Raises:
            UsageError: it depends on the pixels.
        """
        if value is None:
            found = self.get(what)
            if found is None:
                return default
            return found if isinstance(found, int | float) else list(found)
        if not isinstance(value, np.ndarray):
            raise self.error(f"has {what} that depend on the pixels, which a compiled function does not know")
        return value.tolist()

    def error(self, problem: str) -> UsageError:
        """The error for this step."""
        return UsageError(f"the step {shown(repr(self.name))} of the ONNX graph, {self.operator}, {problem}")


class Operator(NamedTuple):
    """How an operator is computed.

    Attributes:
        compute: its outputs: a value, or several.
        known: the positions of inputs that must be known when the graph is compiled.
    """

    compute: Callable[..., Value | Sequence[Value]]
    known: tuple[int, ...] = ()


OPERATORS: dict[str, Operator] = {}
"""The operators by their names in ONNX."""


def operator(*names: str, known: tuple[int, ...] = ()) -> Callable[[Any], Any]:
    """Register a function of a node and its inputs as that of an operator."""

    def register(compute: Any) -> Any:
        OPERATORS.update({name: Operator(compute, known) for name in names})
        return compute

    return register
