"""The operators of ONNX that image classifiers use."""

from evofool.classifiers.onnx_graphs.operators import (
    elementwise,
    linear,
    normalisation,
    pooling,
    reductions,
    shapes,
)
from evofool.classifiers.onnx_graphs.operators.registry import OPERATORS, Node, Operator, Value

__all__ = [
    "OPERATORS",
    "Node",
    "Operator",
    "Value",
    "elementwise",
    "linear",
    "normalisation",
    "pooling",
    "reductions",
    "shapes",
]
