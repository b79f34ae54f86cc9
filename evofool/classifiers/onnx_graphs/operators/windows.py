"""Sizes and edges of windows that are moved over images."""

from collections.abc import Sequence

from evofool.classifiers.onnx_graphs.operators.registry import Node

Pads = list[tuple[int, int]]


def sizes_of(node: Node, name: str, axes: int) -> tuple[int, ...]:
    """An attribute with one number for each axis of an image, by default 1."""
    return tuple(node.get(name, [1] * axes))


def pads_of(
    node: Node,
    sides: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:
    """How many values are added before and after each axis of an image."""
    axes, how = len(sides), node.get("auto_pad", "NOTSET")
    if how == "NOTSET":
        pads = node.get("pads", [0] * 2 * axes)
        return [(pads[axis], pads[axes + axis]) for axis in range(axes)]
    if how == "VALID":
        return [(0, 0)] * axes
    pads = []
    for side, size, stride, dilation in zip(sides, window, strides, dilations, strict=True):
        missing = max(0, (-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side)
        less, more = missing // 2, missing - missing // 2
        pads.append((less, more) if how == "SAME_UPPER" else (more, less))
    return pads


def rounded_up(
    pads: Pads, sides: Sequence[int], window: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Pads:
    """The edges with as much more at the end as a last window needs that begins before the end."""
    edges = []
    for (before, after), side, size, stride, dilation in zip(
        pads, sides, window, strides, dilations, strict=True
    ):
        reach = (size - 1) * dilation + 1
        count = -(-(side + before + after - reach) // stride) + 1
        if (count - 1) * stride >= side + before:
            count -= 1  # a window that would begin behind the image is left out
        edges.append((before, max(after, (count - 1) * stride + reach - side - before)))
    return edges
