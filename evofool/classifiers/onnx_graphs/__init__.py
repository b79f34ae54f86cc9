"""ONNX graphs as functions in JAX: reading them, and one function per operator."""

from evofool.classifiers.onnx_graphs.graph import Graph
from evofool.classifiers.onnx_graphs.reading import read_graph

__all__ = ["Graph", "read_graph"]
