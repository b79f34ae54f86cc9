"""Convolutions and matrix products."""

from typing import Any

import jax
import jax.numpy as jnp

from evofool.classifiers.onnx_graphs.operators.registry import Node, Value, operator
from evofool.classifiers.onnx_graphs.operators.windows import pads_of, sizes_of
from evofool.numerics.convolution import conv_general_dilated, depthwise
from evofool.numerics.platform import convolves_best_ungrouped
from evofool.numerics.products import rows_times


@operator("Conv")
def _conv(node: Node, images: Value, kernel: Value, bias: Value | None = None) -> Value:
    images, axes = images.astype(kernel.dtype), images.ndim - 2  # of a graph in another precision
    strides, dilations = (sizes_of(node, name, axes) for name in ("strides", "dilations"))
    pads = pads_of(node, images.shape[2:], kernel.shape[2:], strides, dilations)
    groups = node.get("group", 1)
    if axes == 2:
        result = _conv_of_images(images, kernel, strides, pads, dilations, groups)
    else:
        result = jax.lax.conv_general_dilated(
            images, kernel, strides, pads, rhs_dilation=dilations, feature_group_count=groups
        )
    return result if bias is None else result + bias.reshape(-1, *[1] * axes)


def _conv_of_images(
    images: Value, kernel: Value, strides: Any, pads: Any, dilations: Any, groups: int
) -> Value:
    """A convolution with channels last, which a CPU has fast programs for."""
    images, kernel = jnp.transpose(images, (0, 2, 3, 1)), jnp.transpose(kernel, (2, 3, 1, 0))
    if groups == images.shape[-1] == kernel.shape[-1] and convolves_best_ungrouped():
        result = depthwise(jnp.pad(images, ((0, 0), *pads, (0, 0))), kernel[:, :, 0], strides, dilations)
    else:
        result = conv_general_dilated(
            *(images, kernel, strides, pads), rhs_dilation=dilations, feature_group_count=groups
        )
    return result.transpose(0, 3, 1, 2)


@operator("ConvTranspose")
def _conv_transpose(node: Node, images: Value, kernel: Value, bias: Value | None = None) -> Value:
    axes = images.ndim - 2
    if node.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        raise node.error("has auto_pad or output_shape, which are not supported here: export it with pads")
    strides, dilations = (sizes_of(node, name, axes) for name in ("strides", "dilations"))
    groups = node.get("group", 1)
    pads, extra = node.get("pads", [0] * 2 * axes), node.get("output_padding", [0] * axes)
    # The transpose of a convolution is one of spread-out images with the mirrored kernel.
    inputs, outputs, *sides = kernel.shape
    kernel = jnp.flip(kernel, range(2, kernel.ndim)).reshape(groups, inputs // groups, outputs, *sides)
    kernel = jnp.swapaxes(kernel, 1, 2).reshape(groups * outputs, inputs // groups, *sides)
    reach = [(side - 1) * dilation for side, dilation in zip(sides, dilations, strict=True)]
    edges = [
        (reach[axis] - pads[axis], reach[axis] - pads[axes + axis] + extra[axis]) for axis in range(axes)
    ]
    result = jax.lax.conv_general_dilated(
        *(images, kernel, [1] * axes, edges),
        lhs_dilation=strides,
        rhs_dilation=dilations,
        feature_group_count=groups,
    )
    return result if bias is None else result + bias.reshape(-1, *[1] * axes)


@operator("MatMul")
def _mat_mul(node: Node, left: Value, right: Value) -> Value:
    if right.ndim == 2 and left.ndim >= 2:
        return rows_times(left, right)
    return jnp.matmul(left, right)


@operator("Gemm")
def _gemm(node: Node, left: Value, right: Value, added: Value | None = None) -> Value:
    left = left.T if node.get("transA", 0) else left
    right = right.T if node.get("transB", 0) else right
    result = node.get("alpha", 1.0) * rows_times(left, right)
    return result if added is None else result + node.get("beta", 1.0) * added


@operator("Einsum")
def _einsum(node: Node, *inputs: Value) -> Value:
    return jnp.einsum(node.get("equation"), *inputs)
