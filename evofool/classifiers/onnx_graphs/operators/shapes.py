"""Operators that move, select or repeat values."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from evofool.classifiers.onnx_graphs.operators.registry import Node, Value, operator

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@operator("Shape")
def _shape(node: Node, values: Value) -> Value:
    start, end = node.get("start", 0), node.get("end")
    return np.array(values.shape[start:end], np.int64)


@operator("Size")
def _size(node: Node, values: Value) -> Value:
    return np.array(values.size, np.int64)


@operator("Dropout")
def _dropout(node: Node, values: Value, *_: Value) -> Sequence[Value]:
    return values, jnp.ones(values.shape, bool)


@operator("Cast")
def _cast(node: Node, values: Value) -> Value:
    return values.astype(jax.dtypes.canonicalize_dtype(node.get("to")))


@operator("CastLike")
def _cast_like(node: Node, values: Value, like: Value) -> Value:
    return values.astype(jax.dtypes.canonicalize_dtype(like.dtype))


@operator("Reshape", known=(1,))
def _reshape(node: Node, values: Value, shape: Value | None = None) -> Value:
    wanted = node.known(shape, "shape")
    if not node.get("allowzero", 0):
        wanted = [values.shape[axis] if side == 0 else side for axis, side in enumerate(wanted)]
    return jnp.reshape(values, wanted)


@operator("Flatten")
def _flatten(node: Node, values: Value) -> Value:
    axis = node.get("axis", 1)
    axis += values.ndim if axis < 0 else 0
    rows = int(np.prod(values.shape[:axis]))
    return jnp.reshape(values, (rows, -1 if values.size else 0))


@operator("Transpose")
def _transpose(node: Node, values: Value) -> Value:
    return jnp.transpose(values, node.get("perm"))


@operator("Squeeze", known=(1,))
def _squeeze(node: Node, values: Value, axes: Value | None = None) -> Value:
    chosen = node.known(axes, "axes")
    return jnp.squeeze(values, None if chosen is None else tuple(chosen))


@operator("Unsqueeze", known=(1,))
def _unsqueeze(node: Node, values: Value, axes: Value | None = None) -> Value:
    return jnp.expand_dims(values, tuple(node.known(axes, "axes")))


@operator("Concat")
def _concat(node: Node, *inputs: Value) -> Value:
    return jnp.concatenate(inputs, axis=node.get("axis"))


@operator("Split", known=(1,))
def _split(node: Node, values: Value, sizes: Value | None = None) -> Sequence[Value]:
    axis, parts = node.get("axis", 0), node.known(sizes, "split")
    if parts is None:
        each = -(-values.shape[axis] // len(node.outputs))
        return jnp.split(values, list(range(each, values.shape[axis], each)), axis=axis)
    return jnp.split(values, np.cumsum(parts)[:-1].tolist(), axis=axis)


@operator("Slice", known=(1, 2, 3, 4))
def _slice(
    node: Node,
    values: Value,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Value:
    begin, end = node.known(starts, "starts"), node.known(ends, "ends")
    along = node.known(axes, "axes", list(range(len(begin))))
    stride = node.known(steps, "steps", [1] * len(begin))
    chosen = [slice(None)] * values.ndim
    for axis, first, last, step in zip(along, begin, end, stride, strict=True):
        # Below the first value means all of them when counting down, where Python counts from the end.
        below = step < 0 and last < -values.shape[axis]
        chosen[axis] = slice(first, None if below else last, step)
    return values[tuple(chosen)]


@operator("Gather")
def _gather(node: Node, values: Value, indices: Value) -> Value:
    return jnp.take(values, jnp.asarray(indices), axis=node.get("axis", 0))


@operator("GatherElements")
def _gather_elements(node: Node, values: Value, indices: Value) -> Value:
    return jnp.take_along_axis(values, jnp.asarray(indices), axis=node.get("axis", 0))


@operator("Expand", known=(1,))
def _expand(node: Node, values: Value, shape: Value) -> Value:
    return jnp.broadcast_to(values, np.broadcast_shapes(values.shape, tuple(node.known(shape, "shape"))))


@operator("Tile", known=(1,))
def _tile(node: Node, values: Value, repeats: Value) -> Value:
    return jnp.tile(values, node.known(repeats, "repeats"))


@operator("Pad", known=(1, 3))
def _pad(
    node: Node,
    values: Value,
    pads: Value | None = None,
    constant: Value | None = None,
    axes: Value | None = None,
) -> Value:
    widths, along = node.known(pads, "pads"), node.known(axes, "axes", list(range(values.ndim)))
    edges = [(0, 0)] * values.ndim
    for number, axis in enumerate(along):
        edges[axis] = (widths[number], widths[len(along) + number])
    mode = node.get("mode", "constant")
    if mode != "constant":
        return jnp.pad(values, edges, mode=_PAD_MODES[mode])
    filler = node.get("value", 0.0) if constant is None else jnp.reshape(constant, ())
    # A negative width crops, which jnp.pad does not.
    return jax.lax.pad(values, jnp.asarray(filler, values.dtype), [(*edge, 0) for edge in edges])


@operator("DepthToSpace")
def _depth_to_space(node: Node, images: Value) -> Value:
    count, channels, height, width = images.shape
    size = node.get("blocksize")
    inner = channels // size**2
    if node.get("mode", "DCR") == "DCR":
        parts = images.reshape(count, size, size, inner, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = images.reshape(count, inner, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(count, inner, height * size, width * size)


@operator("SpaceToDepth")
def _space_to_depth(node: Node, images: Value) -> Value:
    count, channels, height, width = images.shape
    size = node.get("blocksize")
    parts = images.reshape(count, channels, height // size, size, width // size, size)
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(count, channels * size**2, height // size, width // size)


@operator("Trilu")
def _trilu(node: Node, values: Value, diagonal: Value | None = None) -> Value:
    offset = 0 if diagonal is None else int(np.asarray(node.known(diagonal, "k")))
    return jnp.triu(values, offset) if node.get("upper", 1) else jnp.tril(values, offset)
