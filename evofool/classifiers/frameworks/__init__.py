"""Classifiers from the models of other frameworks."""

from evofool.classifiers.frameworks.flax import from_flax
from evofool.classifiers.frameworks.function import from_callable
from evofool.classifiers.frameworks.keras import from_keras
from evofool.classifiers.frameworks.onnx import from_onnx
from evofool.classifiers.frameworks.preprocessing import Preprocessing
from evofool.classifiers.frameworks.torch import from_torch

__all__ = [
    "Preprocessing",
    "from_callable",
    "from_flax",
    "from_keras",
    "from_onnx",
    "from_torch",
]
