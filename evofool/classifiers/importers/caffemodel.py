"""Reading a .caffemodel: the part of the protocol buffer `NetParameter` of caffe.proto that holds weights."""

import math
from collections.abc import Iterator

import numpy as np

_LAYERS = {100: (1, 7), 2: (4, 6)}
"""Fields of a network that hold a layer, today's and the deprecated one: where its name and its blobs are."""

_DATA, _SHAPE, _OLD_SHAPE = 5, 7, (1, 2, 3, 4)


def read_caffemodel(content: bytes) -> dict[str, np.ndarray]:
    r"""The weights of the layers of a network that Caffe trained.

    Args:
        content: of the file.

    Returns:
        `LAYER.weight` and `LAYER.bias` in float32: kernels are OIHW, dense layers (out, in).

    Raises:
        ValueError: this is no such file.

    Example:
        >>> shape, data = b"\x3a\x03\x0a\x01\x02", b"\x2a\x08" + np.float32([0.5, 2]).tobytes()
        >>> blob = b"\x3a\x0f" + shape + data
        >>> layer = b"\x0a\x02fc" + blob
        >>> {name: array.tolist() for name, array in read_caffemodel(b"\xa2\x06\x15" + layer).items()}
        {'fc.weight': [0.5, 2.0]}
    """
    arrays: dict[str, np.ndarray] = {}
    for field, layer in _fields(content):
        if field not in _LAYERS:
            continue
        name_field, blob_field = _LAYERS[field]
        parts = list(_fields(_message(layer)))
        blobs = [_array(_message(part)) for number, part in parts if number == blob_field]
        name = next((_message(part).decode() for number, part in parts if number == name_field), "")
        # A layer may have more blobs than these two, but none of the networks here has such layers.
        arrays |= {f"{name}.{kind}": blob for kind, blob in zip(("weight", "bias"), blobs, strict=False)}
    if not arrays:
        raise ValueError("it is no .caffemodel, or has no weights")
    return arrays


def _array(blob: bytes) -> np.ndarray:
    fields = list(_fields(blob))
    data = b"".join(_message(part) for number, part in fields if number == _DATA)
    shapes = [_message(part) for number, part in fields if number == _SHAPE]
    if shapes:
        packed = b"".join(_message(part) for number, part in _fields(shapes[0]) if number == 1)
        shape: list[int] = []
        position = 0
        while position < len(packed):
            length, position = _varint(packed, position)
            shape.append(length)
    else:
        old = dict(fields)
        shape = [size for number in _OLD_SHAPE if isinstance(size := old.get(number, 1), int)]
        # Four sizes whatever the layer: those of a bias are 1, 1, 1 and its length.
        first = next((axis for axis, size in enumerate(shape) if size != 1), len(shape) - 1)
        shape = shape[first:]
    if len(data) != 4 * math.prod(shape):
        raise ValueError(f"an array of the shape {shape} has {len(data)} bytes")
    return np.frombuffer(data, "<f4").reshape(shape)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: the number of each, and its value."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"it has a field of the unknown type {kind}")
        length, position = _varint(message, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
        if position + length > len(message):
            raise ValueError("it is cut off")
        yield key >> 3, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the position after it."""
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise ValueError("it is cut off")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("it has a number where a message belongs")
    return value
