"""Reading ONNX: a protocol buffer, and data in files beside it. Nothing in it is ever run."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from evofool.classifiers.checks import cause
from evofool.classifiers.onnx_graphs.graph import Graph
from evofool.classifiers.onnx_graphs.operators import OPERATORS, Node
from evofool.errors import EvofoolError, UsageError
from evofool.extras import extra

_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class ReadGraph:
    """What a file of ONNX holds.

    Attributes:
        graph: the steps.
        weights: by name, in float32 or in the 16 bits that they are stored in.
        input_shape: of the images as the graph takes them, batch first; None for each side that is open.
        metadata: texts by name.
    """

    graph: Graph
    weights: Mapping[str, Array]
    input_shape: tuple[int | None, ...]
    metadata: Mapping[str, str]


def read_graph(content: str | os.PathLike[str] | bytes, name: str) -> ReadGraph:
    """Read a model.

    Args:
        content: a file, with external data in its folder or below; or the bytes of one.
        name: how errors call it.

    Raises:
        EvofoolError: the file cannot be read or is damaged, or the package `onnx` is missing.
        UsageError: it is no model of images.
    """
    onnx = extra("onnx", name)
    model = _parsed(onnx, content, name)
    try:
        if model.functions:
            from onnx import inliner

            model = inliner.inline_local_functions(model)
        tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        return _read(onnx, model, tensors, name)
    except EvofoolError:
        raise
    except Exception as error:  # of protocol buffers that are whole and make no sense
        raise EvofoolError(f"{name} is damaged: {cause(error)}") from error


def _parsed(onnx: Any, content: str | os.PathLike[str] | bytes, name: str) -> Any:
    """The model, with the external data that it names."""
    if isinstance(content, bytes):
        data, folder = content, None
    else:
        folder = Path(content).resolve().parent
        try:
            data = Path(content).read_bytes()
        except OSError as error:
            raise EvofoolError(f"cannot read {content}: {error.strerror}") from error
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:
        raise EvofoolError(f"{name} is no whole ONNX file: {cause(error)}") from error
    if not model.graph.node:
        raise EvofoolError(f"{name} is no ONNX file, or has no steps")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load_external(onnx, tensor, folder, name)
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _load_external(onnx: Any, tensor: Any, folder: Path | None, name: str) -> None:
    """Put the data of a tensor that are in another file into the model.

    Raises:
        EvofoolError: they are not in the folder of the model, links followed, or cannot be read.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = None if folder is None else (folder / location).resolve()
    if folder is None or file is None or Path(location).is_absolute() or not file.is_relative_to(folder):
        raise EvofoolError(
            f"{name} has data in {location!r}, which is not in its folder: move the file there, or save the "
            "model as one file"
        )
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        with file.open("rb") as data:
            data.seek(offset)
            content = data.read(length)
    except (OSError, ValueError) as error:
        raise EvofoolError(f"cannot read {file}, the data of {name}: {cause(error)}") from error
    if len(content) < length:
        raise EvofoolError(f"{file}, the data of {name}, is cut off")
    tensor.raw_data = content
    tensor.data_location = onnx.TensorProto.DEFAULT


def _read(onnx: Any, model: Any, tensors: dict[str, np.ndarray], name: str) -> ReadGraph:
    opset = next((each.version for each in model.opset_import if each.domain in _STANDARD), 1)
    nodes = []
    for number, proto in enumerate(model.graph.node):
        node = _node(onnx, proto, number, opset)
        if node.operator == "Constant":
            tensors[node.outputs[0]] = _constant(node)
        else:
            nodes.append(node)
    inputs = [each for each in model.graph.input if each.name not in tensors]
    if len(inputs) != 1:
        raise UsageError(f"{name} has {len(inputs)} inputs, not one of images")
    if not model.graph.output:
        raise UsageError(f"{name} has no output")
    output = model.graph.output[0].name
    nodes = _needed(nodes, output)
    weights, constants = _divided(nodes, tensors)
    shape = tuple(
        side.dim_value if side.dim_value > 0 else None for side in inputs[0].type.tensor_type.shape.dim
    )
    graph = Graph(
        _digest(nodes, constants, weights, inputs[0].name, output),
        tuple(nodes),
        constants,
        inputs[0].name,
        output,
        _Reference(onnx),
    )
    return ReadGraph(
        graph,
        {name: jnp.asarray(array) for name, array in weights.items()},
        shape,
        {entry.key: entry.value for entry in model.metadata_props},
    )


def _node(onnx: Any, proto: Any, number: int, opset: int) -> Node:
    domain = "" if proto.domain in _STANDARD else f"{proto.domain}."
    return Node(
        f"{domain}{proto.op_type}",
        proto.name or f"{proto.op_type} {number}",
        tuple(proto.input),
        tuple(proto.output),
        {attribute.name: _attribute(onnx, attribute) for attribute in proto.attribute},
        opset,
    )


def _attribute(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "to":
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, int | float | list):
        return value
    return list(value) if isinstance(value, Sequence) else value


def _constant(node: Node) -> np.ndarray:
    (kind, value), *_ = node.attributes.items()
    if kind == "value":
        return value
    return np.asarray(value, np.float32 if kind.startswith("value_float") else np.int64)


def _needed(nodes: Sequence[Node], output: str) -> list[Node]:
    """The steps that the output depends on."""
    wanted, needed = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            needed.append(node)
            wanted |= set(node.inputs)
    return needed[::-1]


def _divided(
    nodes: Sequence[Node], tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The tensors that are weights, and those that are known when the graph is compiled.

    Floats are weights. Whole numbers are shapes and indices, which must be known; so must what some operators
    take. A single float may be part of the computation of a shape, so it is both.
    """
    must_be_known = {
        node.inputs[position]
        for node in nodes
        if node.operator in OPERATORS
        for position in OPERATORS[node.operator].known
        if position < len(node.inputs)
    }
    used = {name for node in nodes for name in node.inputs}
    weights, constants = {}, {}
    for name, array in tensors.items():
        if name not in used:
            continue
        is_float = jnp.issubdtype(array.dtype, jnp.floating)
        if not is_float or name in must_be_known or array.size == 1:
            constants[name] = array
        if is_float:
            weights[name] = array.astype(np.float32) if array.dtype == np.float64 else array
    return weights, constants


def _digest(
    nodes: Sequence[Node],
    constants: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    *ends: str,
) -> str:
    """A digest of everything but the values of weights."""
    digest = hashlib.sha256(json.dumps(ends).encode())
    for node in nodes:
        steps = [node.operator, node.inputs, node.outputs, node.opset, sorted(node.attributes)]
        digest.update(json.dumps(steps).encode())
        for _, value in sorted(node.attributes.items()):
            digest.update(_bytes(value))
    for name, array in sorted(constants.items()):
        digest.update(name.encode() + _bytes(array))
    for name, array in sorted(weights.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
    return digest.hexdigest()


def _bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}".encode() + value.tobytes()
    return repr(value).encode()


@dataclass(frozen=True)
class _Reference:
    """ONNX's own implementation of a step."""

    onnx: Any

    def __call__(self, node: Node, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        from onnx.reference import ReferenceEvaluator

        helper = self.onnx.helper
        domain, _, operator = node.operator.rpartition(".")
        attributes = {
            name: self._attribute(name, value) for name, value in node.attributes.items() if value is not None
        }
        step = helper.make_node(operator, node.inputs, node.outputs, domain=domain, **attributes)
        given = {name: value for name, value in zip(node.inputs, inputs, strict=True) if name}
        ends = [
            [helper.make_tensor_value_info(name, 0, None) for name in names if name]
            for names in (given, node.outputs)
        ]
        graph = helper.make_graph([step], "step", *ends)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, node.opset)])
        try:
            outputs = iter(ReferenceEvaluator(model).run(None, given))
        except Exception as error:
            raise node.error(f"cannot be computed: {cause(error)}") from error
        return [np.asarray(next(outputs)) if name else np.zeros(0) for name in node.outputs]

    def _attribute(self, name: str, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return self.onnx.helper.np_dtype_to_tensor_dtype(value)
        return self.onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
