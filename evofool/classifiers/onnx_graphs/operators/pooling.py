"""Pooling over windows and over whole images."""

from typing import Any

import jax
import jax.numpy as jnp

from evofool.classifiers.onnx_graphs.operators.registry import Node, Value, operator
from evofool.classifiers.onnx_graphs.operators.windows import pads_of, rounded_up, sizes_of


@operator("MaxPool")
def _max_pool(node: Node, images: Value) -> Value:
    if len([name for name in node.outputs if name]) > 1:
        raise node.error("also returns indices, which are not supported here")
    window, options, _ = _window(node, images)
    return jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, window, **options)


@operator("AveragePool")
def _average_pool(node: Node, images: Value) -> Value:
    window, options, pads = _window(node, images)
    total = jax.lax.reduce_window(images, 0.0, jax.lax.add, window, **options)
    counted = jnp.ones((1, 1, *images.shape[2:]), images.dtype)
    if node.get("count_include_pad", 0):
        # Edges of zeros count; what only a last window reaches does not.
        counted = jnp.pad(counted, ((0, 0), (0, 0), *pads), constant_values=1)
        more = [(0, whole[1] - part[1]) for whole, part in zip(options["padding"][2:], pads, strict=True)]
        options["padding"] = ((0, 0), (0, 0), *more)
    return total / jax.lax.reduce_window(counted, 0.0, jax.lax.add, window, **options)


@operator("GlobalAveragePool")
def _global_average_pool(node: Node, images: Value) -> Value:
    return images.mean(axis=tuple(range(2, images.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def _global_max_pool(node: Node, images: Value) -> Value:
    return images.max(axis=tuple(range(2, images.ndim)), keepdims=True)


def _window(node: Node, images: Value) -> tuple[tuple[int, ...], dict[str, Any], Any]:
    """The window, the options that move it, and the edges without what only a last window reaches."""
    window, axes = node.get("kernel_shape"), images.ndim - 2
    strides, dilations = (sizes_of(node, name, axes) for name in ("strides", "dilations"))
    pads = pads_of(node, images.shape[2:], window, strides, dilations)
    edges = (
        rounded_up(pads, images.shape[2:], window, strides, dilations) if node.get("ceil_mode", 0) else pads
    )
    options = {
        "window_strides": (1, 1, *strides),
        "window_dilation": (1, 1, *dilations),
        "padding": ((0, 0), (0, 0), *edges),
    }
    return (1, 1, *window), options, pads
