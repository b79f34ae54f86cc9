"""Reductions of axes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from evofool.classifiers.onnx_graphs.operators.registry import Node, Value, operator

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceL1": lambda values, **axes: jnp.sum(jnp.abs(values), **axes),
    "ReduceL2": lambda values, **axes: jnp.sqrt(jnp.sum(values * values, **axes)),
    "ReduceLogSum": lambda values, **axes: jnp.log(jnp.sum(values, **axes)),
    "ReduceLogSumExp": jax.scipy.special.logsumexp,
    "ReduceMax": jnp.max,
    "ReduceMean": jnp.mean,
    "ReduceMin": jnp.min,
    "ReduceProd": jnp.prod,
    "ReduceSum": jnp.sum,
    "ReduceSumSquare": lambda values, **axes: jnp.sum(values * values, **axes),
}


def _register(name: str, reduction: Callable[..., Any]) -> None:
    @operator(name, known=(1,))
    def reduce(node: Node, values: Value, axes: Value | None = None) -> Value:
        over = node.known(axes, "axes")
        if not over and node.get("noop_with_empty_axes", 0):
            return values
        kept = bool(node.get("keepdims", 1))
        return reduction(values, axis=tuple(over) if over else None, keepdims=kept)


for _name, _reduction in _REDUCTIONS.items():
    _register(_name, _reduction)


@operator("ArgMax")
def _arg_max(node: Node, values: Value) -> Value:
    return _first(node, values, jnp.argmax)


@operator("ArgMin")
def _arg_min(node: Node, values: Value) -> Value:
    return _first(node, values, jnp.argmin)


def _first(node: Node, values: Value, function: Callable[..., Any]) -> Value:
    if node.get("select_last_index", 0):
        raise node.error("selects the last index, which is not supported here")
    return function(values, axis=node.get("axis", 0), keepdims=bool(node.get("keepdims", 1)))


@operator("CumSum", known=(1,))
def _cum_sum(node: Node, values: Value, axis: Value) -> Value:
    along = int(jnp.reshape(jnp.asarray(node.known(axis, "axis")), ()))
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise node.error("is exclusive or reversed, which is not supported here")
    return jnp.cumsum(values, axis=along)
