"""Normalisation with statistics of training, or of the values themselves."""

import jax
import jax.numpy as jnp

from evofool.classifiers.onnx_graphs.operators.registry import Node, Value, operator


@operator("BatchNormalization")
def _batch_normalization(
    node: Node, images: Value, scale: Value, shift: Value, mean: Value, variance: Value
) -> Value:
    if node.get("training_mode", 0):
        raise node.error("is in training mode: export the model for inference")
    factor = scale / jnp.sqrt(variance + node.get("epsilon", 1e-5))
    return images * _per_channel(factor, images) + _per_channel(shift - mean * factor, images)


@operator("InstanceNormalization")
def _instance_normalization(node: Node, images: Value, scale: Value, shift: Value) -> Value:
    whole = _standardised(images, tuple(range(2, images.ndim)), node.get("epsilon", 1e-5))
    return whole * _per_channel(scale, images) + _per_channel(shift, images)


@operator("GroupNormalization")
def _group_normalization(node: Node, images: Value, scale: Value, shift: Value) -> Value:
    count, channels = images.shape[:2]
    groups = node.get("num_groups")
    parts = images.reshape(count, groups, -1)
    whole = _standardised(parts, (2,), node.get("epsilon", 1e-5)).reshape(images.shape)
    if len(scale) == groups:  # one per group before version 21
        scale, shift = (jnp.repeat(each, channels // groups) for each in (scale, shift))
    return whole * _per_channel(scale, images) + _per_channel(shift, images)


@operator("LayerNormalization")
def _layer_normalization(node: Node, values: Value, scale: Value, shift: Value | None = None) -> Value:
    axis = node.get("axis", -1) % values.ndim
    whole = scale * _standardised(values, tuple(range(axis, values.ndim)), node.get("epsilon", 1e-5))
    return whole if shift is None else whole + shift


@operator("RMSNormalization")
def _rms_normalization(node: Node, values: Value, scale: Value) -> Value:
    axes = tuple(range(node.get("axis", -1) % values.ndim, values.ndim))
    mean = jnp.mean(values * values, axis=axes, keepdims=True)
    return scale * values * jax.lax.rsqrt(mean + node.get("epsilon", 1e-5))


@operator("LpNormalization")
def _lp_normalization(node: Node, values: Value) -> Value:
    axis = node.get("axis", -1)
    norm = jnp.linalg.norm(values, ord=node.get("p", 2), axis=axis, keepdims=True)
    return values / jnp.where(norm == 0, 1, norm)


@operator("LRN")
def _lrn(node: Node, images: Value) -> Value:
    size = node.get("size")
    around = ((0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (images.ndim - 2))
    window = (1, size, *[1] * (images.ndim - 2))
    squares = jax.lax.reduce_window(images**2, 0.0, jax.lax.add, window, (1,) * images.ndim, around)
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return images / (bias + alpha / size * squares) ** beta


def _standardised(values: Value, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    centred = values - values.mean(axis=axes, keepdims=True)
    variance = jnp.mean(centred * centred, axis=axes, keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


def _per_channel(values: Value, images: Value) -> Value:
    return jnp.reshape(values, (-1, *[1] * (images.ndim - 2)))
