"""Operators on one value after the other, and softmax."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evofool.classifiers.onnx_graphs.operators.registry import Node, Value, operator

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": jnp.abs,
    "Acos": jnp.arccos,
    "Add": jnp.add,
    "And": jnp.logical_and,
    "Asin": jnp.arcsin,
    "Atan": jnp.arctan,
    "Ceil": jnp.ceil,
    "Cos": jnp.cos,
    "Cosh": jnp.cosh,
    "Equal": jnp.equal,
    "Erf": jax.scipy.special.erf,
    "Exp": jnp.exp,
    "Floor": jnp.floor,
    "Greater": jnp.greater,
    "GreaterOrEqual": jnp.greater_equal,
    "HardSwish": jax.nn.hard_swish,
    "Identity": lambda x: x,
    "IsNaN": jnp.isnan,
    "Less": jnp.less,
    "LessOrEqual": jnp.less_equal,
    "Log": jnp.log,
    "Mish": jax.nn.mish,
    "Mul": jnp.multiply,
    "Neg": jnp.negative,
    "Not": jnp.logical_not,
    "Or": jnp.logical_or,
    "Reciprocal": jnp.reciprocal,
    "Relu": jax.nn.relu,
    "Round": jnp.round,
    "Sigmoid": jax.nn.sigmoid,
    "Sign": jnp.sign,
    "Sin": jnp.sin,
    "Sinh": jnp.sinh,
    "Softplus": jax.nn.softplus,
    "Softsign": jax.nn.soft_sign,
    "Sqrt": jnp.sqrt,
    "Sub": jnp.subtract,
    "Tan": jnp.tan,
    "Tanh": jnp.tanh,
    "Where": jnp.where,
    "Xor": jnp.logical_xor,
}
"""Those that have no attributes."""


def _register(name: str, function: Callable[..., Any]) -> None:
    operator(name)(lambda node, *inputs: function(*inputs))


for _name, _function in _FUNCTIONS.items():
    _register(_name, _function)


@operator("Sum")
def _sum(node: Node, *inputs: Value) -> Value:
    return reduce(jnp.add, inputs)


@operator("Max")
def _max(node: Node, *inputs: Value) -> Value:
    return reduce(jnp.maximum, inputs)


@operator("Min")
def _min(node: Node, *inputs: Value) -> Value:
    return reduce(jnp.minimum, inputs)


@operator("Mean")
def _mean(node: Node, *inputs: Value) -> Value:
    return reduce(jnp.add, inputs) / len(inputs)


@operator("Div")
def _div(node: Node, left: Value, right: Value) -> Value:
    if jnp.issubdtype(left.dtype, jnp.integer):
        return jax.lax.div(*jnp.broadcast_arrays(left, right))  # towards zero
    return left / right


@operator("Mod")
def _mod(node: Node, left: Value, right: Value) -> Value:
    return jnp.fmod(left, right) if node.get("fmod", 0) else jnp.mod(left, right)


@operator("Pow", known=(1,))
def _pow(node: Node, base: Value, exponent: Value) -> Value:
    if isinstance(exponent, np.ndarray) and exponent.size == 1 and exponent.item() == int(exponent.item()):
        return jnp.power(base, int(exponent.item()))  # a product, which is also faster
    return jnp.power(base, exponent).astype(base.dtype)


@operator("Clip")
def _clip(node: Node, values: Value, low: Value | None = None, high: Value | None = None) -> Value:
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    return jnp.clip(values, low, high)


@operator("Elu")
def _elu(node: Node, values: Value) -> Value:
    return jax.nn.elu(values, node.get("alpha", 1.0))


@operator("Celu")
def _celu(node: Node, values: Value) -> Value:
    return jax.nn.celu(values, node.get("alpha", 1.0))


@operator("Selu")
def _selu(node: Node, values: Value) -> Value:
    alpha, gamma = node.get("alpha", 1.6732632423543772), node.get("gamma", 1.0507009873554805)
    return gamma * jax.nn.elu(values, alpha)


@operator("LeakyRelu")
def _leaky_relu(node: Node, values: Value) -> Value:
    return jnp.where(values >= 0, values, node.get("alpha", 0.01) * values)


@operator("PRelu")
def _p_relu(node: Node, values: Value, slope: Value) -> Value:
    return jnp.where(values >= 0, values, slope * values)


@operator("ThresholdedRelu")
def _thresholded_relu(node: Node, values: Value) -> Value:
    return jnp.where(values > node.get("alpha", 1.0), values, 0)


@operator("HardSigmoid")
def _hard_sigmoid(node: Node, values: Value) -> Value:
    return jnp.clip(node.get("alpha", 0.2) * values + node.get("beta", 0.5), 0, 1)


@operator("Swish")
def _swish(node: Node, values: Value) -> Value:
    return values * jax.nn.sigmoid(node.get("alpha", 1.0) * values)


@operator("Gelu")
def _gelu(node: Node, values: Value) -> Value:
    return jax.nn.gelu(values, approximate=node.get("approximate", "none") == "tanh")


@operator("Softmax")
def _softmax(node: Node, values: Value) -> Value:
    return _along_classes(node, values, jax.nn.softmax)


@operator("LogSoftmax")
def _log_softmax(node: Node, values: Value) -> Value:
    return _along_classes(node, values, jax.nn.log_softmax)


def _along_classes(node: Node, values: Value, function: Callable[..., Any]) -> Value:
    if node.opset >= 13:
        return function(values, axis=node.get("axis", -1))
    # Before, all axes from this one on were one.
    axis = node.get("axis", 1) % values.ndim
    return function(jnp.reshape(values, (*values.shape[:axis], -1)), axis=-1).reshape(values.shape)
