"""Models of ONNX as exporters write them, with random weights, and their outputs by independent programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


class Builder:
    """Collects steps and weights; each step is called by the name of its operator."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant(self.random.normal(size=shape, scale=scale).astype(np.float32))

    def constant(self, values: Any) -> str:
        array = np.asarray(values)
        name = f"weight {len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def step(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{operator} {len(self.nodes)}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, inputs: int, outputs: int, size: int, *, group: int = 1, **options: Any) -> str:
        kernel = self.weight(outputs, inputs // group, size, size, scale=0.3)
        return self.step("Conv", x, kernel, self.weight(outputs), group=group, **options)

    def normalised(self, x: str, channels: int) -> str:
        positive = self.constant(self.random.uniform(0.5, 2, channels).astype(np.float32))
        names = [self.weight(channels), self.weight(channels), self.weight(channels), positive]
        return self.step("BatchNormalization", x, *names)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        kernel, bias = self.weight(outputs, inputs, scale=inputs**-0.5), self.weight(outputs)
        return self.step("Gemm", x, kernel, bias, transB=1)

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        product = self.step("MatMul", x, self.weight(inputs, outputs, scale=inputs**-0.5))
        return self.step("Add", product, self.weight(outputs))

    def model(self, output: str, shape: Sequence[int | str], opset: int = 18, **metadata: str) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", "classes"])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model


def residual(seed: int = 0, **metadata: str) -> Any:
    """Two residual blocks with batch normalisation, for colour images."""
    to = Builder(seed)
    x = to.step("Relu", to.normalised(to.conv("images", 3, 8, 3, pads=[1] * 4), 8))
    y = to.normalised(to.conv(x, 8, 8, 3, pads=[1] * 4), 8)
    x = to.step("Relu", to.step("Add", x, y))
    x = to.step("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = to.conv(x, 8, 12, 3, pads=[1] * 4, strides=[2, 2])
    x = to.step("Relu", to.step("Add", y, to.conv(x, 8, 12, 1, strides=[2, 2])))
    x = to.step("Flatten", to.step("GlobalAveragePool", x))
    return to.model(to.linear(to.step("Dropout", x), 12, 10), ["n", 3, 16, 16], **metadata)


def transformer(seed: int = 0) -> Any:
    """A vision transformer of one block, with the shapes computed from the batch as exporters do."""
    to, width, heads, tokens = Builder(seed), 16, 2, 17
    count = to.step("Gather", to.step("Shape", "images"), to.constant(np.int64(0)), axis=0)
    count = to.step("Unsqueeze", count, to.constant([0]))

    def shape(*sides: int) -> str:
        return to.step("Concat", count, to.constant(np.array(sides)), axis=0)

    def split(x: str) -> str:
        parts = to.step("Reshape", x, shape(tokens, heads, width // heads))
        return to.step("Transpose", parts, perm=[0, 2, 1, 3])

    x = to.step("Reshape", to.conv("images", 3, width, 4, strides=[4, 4]), shape(width, 16))
    x = to.step("Transpose", x, perm=[0, 2, 1])
    first = to.step("Expand", to.weight(1, 1, width), shape(1, width))
    x = to.step("Add", to.step("Concat", first, x, axis=1), to.weight(1, tokens, width))
    y = to.step("LayerNormalization", x, to.weight(width), to.weight(width))
    q, k, v = to.step("Split", to.dense(y, width, 3 * width), outputs=3, axis=2, num_outputs=3)
    scores = to.step("MatMul", split(q), to.step("Transpose", split(k), perm=[0, 1, 3, 2]))
    scores = to.step("Mul", scores, to.constant(np.float32((width // heads) ** -0.5)))
    y = to.step("MatMul", to.step("Softmax", scores, axis=-1), split(v))
    y = to.step("Reshape", to.step("Transpose", y, perm=[0, 2, 1, 3]), shape(tokens, width))
    x = to.step("Add", x, to.dense(y, width, width))
    y = to.dense(to.step("LayerNormalization", x, to.weight(width), to.weight(width)), width, 32)
    gate = to.step("Erf", to.step("Div", y, to.constant(np.float32(2**0.5))))
    gate = to.step("Mul", to.step("Add", gate, to.constant(np.float32(1))), to.constant(np.float32(0.5)))
    x = to.step("Add", x, to.dense(to.step("Mul", y, gate), 32, width))
    ends = [to.constant([value]) for value in (0, 1, 1)]
    x = to.step("Squeeze", to.step("Slice", x, *ends), ends[1])
    return to.model(to.linear(x, width, 10), ["n", 3, 16, 16])


def depthwise(seed: int = 0) -> Any:
    """Depthwise convolutions with squeeze and excitation, channels last and a softmax."""
    to = Builder(seed)
    x = to.step("Transpose", "images", perm=[0, 3, 1, 2])
    x = to.step("HardSwish", to.conv(x, 3, 8, 3, auto_pad="SAME_UPPER", strides=[2, 2]))
    x = to.normalised(to.conv(x, 8, 8, 5, group=8, auto_pad="SAME_LOWER"), 8)
    x = to.step("Clip", x, to.constant(np.float32(0)), to.constant(np.float32(6)))
    x = to.conv(x, 8, 8, 3, group=8, pads=[2] * 4, dilations=[2, 2], strides=[2, 2])
    y = to.step("GlobalAveragePool", x)
    y = to.step("HardSigmoid", to.conv(to.step("Relu", to.conv(y, 8, 4, 1)), 4, 8, 1), alpha=1 / 6, beta=0.5)
    x = to.conv(to.step("Mul", x, y), 8, 12, 3, group=4, pads=[1] * 4)
    x = to.step("ReduceMean", x, to.constant([2, 3]), keepdims=0)
    return to.model(to.step("Softmax", to.linear(x, 12, 10)), ["n", 16, 16, 3])


def fixed(count: int, seed: int = 0) -> Any:
    """A model that was exported for one number of images."""
    to = Builder(seed)
    x = to.step("Reshape", to.conv("images", 1, 4, 3), to.constant([count, 4 * 36]))
    return to.model(to.linear(x, 4 * 36, 3), [count, 1, 8, 8])


def by_onnxruntime(model: Any, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": images})[0]


def by_reference(model: Any, images: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(model).run(None, {"images": images})[0]


def saved(model: Any, path: Path) -> Path:
    onnx.save(model, path)
    return path
