"""Models in ONNX against onnxruntime and ONNX's own reference implementation; damaged and hostile files."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="compares with onnxruntime, which is not installed")

import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

import evofool
from evofool import EvofoolError, Preprocessing, UsageError
from evofool.classifiers import weights_digest
from evofool.classifiers.onnx_graphs import read_graph
from evofool.classifiers.onnx_graphs.operators import OPERATORS
from evofool.search.parts import images_at_once
from tests.classifiers.onnx_models import (
    Builder,
    by_onnxruntime,
    by_reference,
    depthwise,
    fixed,
    residual,
    saved,
    transformer,
)

COUNT = 7


def images_of(classifier: evofool.Classifier, count: int = COUNT) -> jax.Array:
    return jax.random.uniform(jax.random.key(0), (count, *classifier.spec.input_shape))


@pytest.mark.parametrize(
    ("build", "layout"), [(residual, "nchw"), (transformer, "nchw"), (depthwise, "nhwc")]
)
def test_a_model_gives_what_onnxruntime_gives(build: Callable[..., Any], layout: str, tmp_path: Path) -> None:
    model = build()
    path = saved(model, tmp_path / "net.onnx")
    classifier = evofool.from_onnx(path)
    assert repr(classifier) == "Classifier('net', 16x16x3, 10 classes, softmax)"
    images = images_of(classifier)
    given = np.asarray(images if layout == "nhwc" else images.transpose(0, 3, 1, 2))
    expected = by_onnxruntime(model, given)
    np.testing.assert_allclose(by_reference(model, given), expected, rtol=1e-4, atol=1e-5)
    found = classifier(images) if build is depthwise else classifier.logits(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Two loads share a compiled program, with other weights too.
    other = evofool.from_onnx(saved(build(1), tmp_path / "other.onnx"))
    assert other.logits_function == classifier.logits_function
    assert hash(other.logits_function) == hash(classifier.logits_function)
    assert weights_digest(other) != weights_digest(classifier)
    assert weights_digest(evofool.from_onnx(path)) == weights_digest(classifier)


@pytest.mark.parametrize("count", [1, 4])
def test_a_model_of_one_batch_size_takes_any_number_of_images(count: int, tmp_path: Path) -> None:
    model = fixed(count)
    classifier = evofool.from_onnx(saved(model, tmp_path / "net.onnx"))
    images = images_of(classifier)
    padded = np.zeros((8, 1, 8, 8), np.float32)
    padded[:COUNT] = np.asarray(images).transpose(0, 3, 1, 2)
    expected = np.concatenate([by_onnxruntime(model, part) for part in padded.reshape(-1, count, 1, 8, 8)])
    np.testing.assert_allclose(classifier.logits(images), expected[:COUNT], atol=1e-5)
    assert images_at_once(classifier, 256) == 256


def test_a_model_is_computed_in_another_precision(tmp_path: Path) -> None:
    classifier = evofool.from_onnx(saved(residual(), tmp_path / "net.onnx"))
    images = images_of(classifier)
    half = evofool.with_precision(classifier, "bfloat16")
    assert half.params["weight 0"].dtype == jnp.bfloat16
    spread = float(jnp.abs(classifier.logits(images)).max())
    np.testing.assert_allclose(half.logits(images), classifier.logits(images), atol=0.05 * spread)


def test_preprocessing_and_names_belong_to_the_classifier(tmp_path: Path) -> None:
    path = saved(residual(class_names=json.dumps(list("abcdefghij"))), tmp_path / "net.onnx")
    mean, std = (103.9, 116.8, 123.7), (57.0, 57.1, 57.4)
    options = Preprocessing(255, mean, std, channels="bgr")
    classifier = evofool.from_onnx(path, preprocessing=options)
    assert classifier.spec.class_names == tuple("abcdefghij")
    images = images_of(classifier)
    given = (np.asarray(images)[..., ::-1] * 255 - np.float32(mean)) / np.float32(std)
    expected = by_onnxruntime(onnx.load(path), given.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-4, atol=1e-4)
    assert evofool.from_onnx(path, class_names=list("klmnopqrst")).spec.class_names[0] == "k"


def test_an_open_size_is_given_and_a_wrong_one_refused(tmp_path: Path) -> None:
    to = Builder()
    pooled = to.step("Flatten", to.step("GlobalAveragePool", to.conv("images", 3, 4, 3)))
    path = saved(to.model(pooled, ["n", 3, "h", "w"]), tmp_path / "open.onnx")
    with pytest.raises(UsageError, match="images of any size"):
        evofool.from_onnx(path)
    assert evofool.from_onnx(path, input_shape=(9, 12, 3)).spec.input_shape == (9, 12, 3)
    assert evofool.from_onnx(path, input_shape=(9, 12, None)).spec.input_shape == (9, 12, 3)
    with pytest.raises(UsageError, match=r"height, width and channels \(None, None, 3\), not \(9, 12, 1\)"):
        evofool.from_onnx(path, input_shape=(9, 12, 1))


X = np.linspace(-3, 3, 2 * 4 * 6 * 6, dtype=np.float32).reshape(2, 4, 6, 6)
POSITIVE = np.abs(X) + 0.5
INTEGERS = np.arange(4)


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


ALONE = {
    **dict.fromkeys(("Abs", "Atan", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Identity", "Neg"), X),
    **dict.fromkeys(("Mish", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Tan"), X),
    **dict.fromkeys(("HardSwish", "Softsign", "Tanh", "GlobalAveragePool", "GlobalMaxPool", "Flatten"), X),
    **dict.fromkeys(("Log", "Reciprocal", "Sqrt"), POSITIVE),
    **dict.fromkeys(("Acos", "Asin"), X / 4),
}
REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceMin", "ReduceProd"),
)
CASES: list[tuple[str, np.ndarray, tuple[Any, ...], dict[str, Any], int]] = [
    *[(name, given, (), {}, 22) for name, given in ALONE.items()],
    *[
        (name, X, (f32(4, 1, 1),), {}, 18)
        for name in ("Add", "Mul", "Sub", "Div", "Sum", "Max", "Min", "Mean")
    ],
    ("ArgMax", X, (), {"axis": 1}, 18),
    ("ArgMin", X, (), {"axis": -1, "keepdims": 0}, 18),
    ("AveragePool", X, (), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}, 19),
    *[
        (
            "AveragePool",
            X,
            (),
            {
                "kernel_shape": [3, 3],
                "strides": [2, 2],
                "pads": [1] * 4,
                "ceil_mode": 1,
                "count_include_pad": n,
            },
            19,
        )
        for n in (0, 1)
    ],
    ("BatchNormalization", X, (f32(4), f32(4), f32(4), np.abs(f32(4)) + 1), {"epsilon": 0.01}, 15),
    ("Cast", X, (), {"to": TensorProto.INT32}, 19),
    ("CastLike", X, (INTEGERS,), {}, 19),
    ("Celu", X, (), {"alpha": 0.7}, 12),
    ("Clip", X, (np.float32(-1), np.float32(2)), {}, 13),
    ("Clip", X, (), {"min": -1.0, "max": 2.0}, 6),
    ("Concat", X, (f32(2, 4, 6, 1),), {"axis": -1}, 13),
    ("Conv", X, (f32(6, 2, 3, 3), f32(6)), {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]}, 11),
    ("Conv", X, (f32(4, 1, 3, 2),), {"group": 4, "dilations": [2, 1], "auto_pad": "SAME_UPPER"}, 11),
    ("Conv", X, (f32(8, 1, 3, 3),), {"group": 4, "auto_pad": "VALID"}, 11),
    ("Conv", X[:, :, 0], (f32(3, 4, 2),), {"pads": [1, 0]}, 11),
    (
        "ConvTranspose",
        X,
        (f32(4, 3, 3, 2), f32(6)),
        {"group": 2, "strides": [2, 1], "pads": [1, 0, 0, 1]},
        11,
    ),
    ("CumSum", X, (np.int64(2),), {}, 14),
    ("DepthToSpace", X, (), {"blocksize": 2, "mode": "CRD"}, 13),
    ("DepthToSpace", X, (), {"blocksize": 2}, 13),
    ("Dropout", X, (), {}, 13),
    ("Einsum", X, (f32(6, 3),), {"equation": "nchw,wo->noch"}, 12),
    ("Elu", X, (), {"alpha": 1.5}, 6),
    *[(name, X, (np.float32(0.5),), {}, 18) for name in ("Equal", "Greater", "GreaterOrEqual", "Less")],
    ("LessOrEqual", X, (f32(6),), {}, 18),
    ("Expand", X[:, :, :1], (np.array([4, 3, 1]),), {}, 13),
    ("Flatten", X, (), {"axis": -2}, 13),
    ("Gather", X, (np.array([[0, -1], [2, 1]]),), {"axis": 1}, 13),
    ("GatherElements", X, (np.zeros((2, 4, 6, 2), np.int64),), {"axis": 3}, 13),
    *[("Gelu", X, (), {"approximate": how}, 20) for how in ("none", "tanh")],
    ("Gemm", X[0, 0], (f32(6, 5), f32(5)), {"alpha": 0.5, "beta": 2.0, "transA": 1}, 13),
    ("GroupNormalization", X, (f32(4), f32(4)), {"num_groups": 2}, 21),
    ("HardSigmoid", X, (), {"alpha": 0.3, "beta": 0.4}, 6),
    ("InstanceNormalization", X, (f32(4), f32(4)), {"epsilon": 0.1}, 6),
    ("IsNaN", X, (), {}, 13),
    ("LRN", POSITIVE, (), {"size": 3, "alpha": 0.5, "bias": 2.0}, 13),
    ("LayerNormalization", X, (f32(6, 6), f32(6, 6)), {"axis": 2}, 17),
    ("LeakyRelu", X, (), {"alpha": 0.2}, 16),
    ("LogSoftmax", X, (), {"axis": 1}, 13),
    ("LpNormalization", X, (), {"axis": 1, "p": 1}, 1),
    ("MatMul", X, (f32(6, 5),), {}, 13),
    ("MatMul", X, (f32(4, 6, 5),), {}, 13),
    ("MaxPool", X, (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "dilations": [1, 2]}, 12),
    ("MaxPool", X, (), {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, 12),
    ("Mod", X, (np.float32(0.7),), {"fmod": 1}, 13),
    ("Not", X > 0, (), {}, 1),
    *[(name, X > 0, (f32(6) > 0,), {}, 7) for name in ("And", "Or", "Xor")],
    ("PRelu", X, (f32(4, 1, 1),), {}, 16),
    ("Pad", X, (np.array([0, 0, 1, 2, 0, 0, 0, 1]), np.float32(1.5)), {}, 13),
    ("Pad", X, (np.array([1, 2, 0, 1]), None, np.array([2, 3])), {"mode": "reflect"}, 18),
    ("Pad", X, (), {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 2.0}, 2),
    ("Pow", X, (np.float32(3),), {}, 15),
    ("Pow", POSITIVE, (np.float32(0.4),), {}, 15),
    ("RMSNormalization", X, (f32(6),), {}, 23),
    *[(name, POSITIVE, (np.array([1, -1]),), {}, 18) for name in REDUCTIONS],
    ("ReduceMax", X, (), {"axes": [2, 3], "keepdims": 0}, 13),
    ("ReduceSum", X, (), {}, 13),
    ("ReduceSumSquare", X, (), {"axes": [1]}, 13),
    ("Reshape", X, (np.array([0, -1, 3]),), {}, 14),
    ("Selu", X, (), {}, 6),
    ("Shape", X, (), {"start": 1}, 15),
    ("Size", X, (), {}, 13),
    (
        "Slice",
        X,
        (np.array([-1, 1]), np.array([-(2**62), 2**62]), np.array([2, 3]), np.array([-2, 2])),
        {},
        13,
    ),
    ("Slice", X, (), {"starts": [1], "ends": [3], "axes": [1]}, 9),
    ("Softmax", X, (), {"axis": 1}, 13),
    ("Softmax", X, (), {}, 9),
    ("SpaceToDepth", X, (), {"blocksize": 3}, 13),
    ("Split", X, (np.array([1, 3]),), {"axis": 1}, 13),
    ("Squeeze", X[:, :1], (np.array([1]),), {}, 13),
    ("Squeeze", X[:1, :1], (), {}, 13),
    ("Swish", X, (), {"alpha": 0.5}, 24),
    ("ThresholdedRelu", X, (), {"alpha": 0.5}, 10),
    ("Tile", X, (np.array([1, 2, 1, 1]),), {}, 13),
    ("Transpose", X, (), {"perm": [0, 2, 3, 1]}, 13),
    ("Trilu", X, (np.int64(1),), {"upper": 0}, 14),
    ("Unsqueeze", X, (np.array([0, -1]),), {}, 13),
    ("Where", X > 0, (f32(6), f32(4, 1, 1)), {}, 16),
]


def of_one_step(name: str, given: np.ndarray, others: Any, attributes: Any, opset: int) -> Any:
    to = Builder()
    names = ["" if other is None else to.constant(other) for other in others]
    outputs = 2 if name == "Split" else 1
    output = to.step(name, "images", *names, outputs=outputs, **attributes)
    output = output if outputs == 1 else output[1]
    kind = helper.np_dtype_to_tensor_dtype(given.dtype)
    graph = helper.make_graph(
        to.nodes,
        "step",
        [helper.make_tensor_value_info("images", kind, given.shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        to.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize(
    ("name", "given", "others", "attributes", "opset"),
    CASES,
    ids=[f"{name}-{number}" for number, (name, *_) in enumerate(CASES)],
)
def test_an_operator_computes_what_the_reference_computes(
    name: str, given: np.ndarray, others: Any, attributes: Any, opset: int
) -> None:
    model = of_one_step(name, given, others, attributes, opset)
    wrong_in_reference = name in ("ConvTranspose", "LRN", "LpNormalization") or (name, opset) == (
        "Softmax",
        9,
    )
    expected = (by_onnxruntime if wrong_in_reference else by_reference)(model, given)
    read = read_graph(model.SerializeToString(), name)
    found = np.asarray(read.graph(read.weights, jnp.asarray(given)))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_operator_is_tested() -> None:
    assert set(OPERATORS) == {name for name, *_ in CASES}


def test_unknown_operators_are_named_with_those_that_are_known(tmp_path: Path) -> None:
    to = Builder()
    found = to.step("NonMaxSuppressionOfMine", to.step("Det", "images"))
    model = of_one_step("Det", X[0, 0], (), {}, 11)
    model.graph.node.append(to.nodes[-1])
    del model.graph.node[0]
    model.graph.node.insert(0, to.nodes[0])
    model.graph.output[0].name = found
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8]))
    with pytest.raises(
        UsageError, match=r"not supported here: Det, NonMaxSuppressionOfMine\. Supported are Abs,"
    ):
        evofool.from_onnx(saved(model, tmp_path / "net.onnx"))


def test_data_beside_the_file_are_read_from_its_folder_only(tmp_path: Path) -> None:
    model = residual()
    expected = evofool.from_onnx(saved(model, tmp_path / "one.onnx"))
    folder = tmp_path / "model"
    folder.mkdir()
    convert_model_to_external_data(model, location="weights.data", size_threshold=0, convert_attribute=False)
    path = saved(model, folder / "net.onnx")
    assert weights_digest(evofool.from_onnx(path)) == weights_digest(expected)
    model = onnx.load(path, load_external_data=False)
    (folder / "link.data").symlink_to(tmp_path / "one.onnx")
    for location in ("../one.onnx", str(tmp_path / "one.onnx"), "link.data"):
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = location
        path.write_bytes(model.SerializeToString())
        with pytest.raises(EvofoolError, match="not in its folder"):
            evofool.from_onnx(path)
    (folder / "weights.data").write_bytes(b"short")
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "weights.data"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EvofoolError, match="cut off"):
        evofool.from_onnx(path)


def test_a_damaged_file_ends_in_one_line(tmp_path: Path) -> None:
    whole = residual().SerializeToString()
    path = tmp_path / "net.onnx"
    random = np.random.default_rng(0)
    for number in range(30):
        damaged = bytearray(whole)
        if number < 10:
            damaged = damaged[: random.integers(len(whole))]
        for place in random.integers(len(damaged), size=20) if damaged else ():
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(EvofoolError):  # and nothing else
            evofool.from_onnx(path)
    for content, words in ((b"", "no ONNX file"), (b"not a model", "no whole ONNX file")):
        path.write_bytes(content)
        with pytest.raises(EvofoolError, match=words):
            evofool.from_onnx(path)
    with pytest.raises(EvofoolError, match="cannot read"):
        evofool.from_onnx(tmp_path / "nowhere.onnx")


def test_a_model_of_something_else_is_refused(tmp_path: Path) -> None:
    to = Builder()
    path = saved(to.model(to.linear("images", 64, 3), ["n", 64]), tmp_path / "table.onnx")
    with pytest.raises(UsageError, match="inputs of the shape nx64, not batches of images"):
        evofool.from_onnx(path)


def test_local_functions_are_part_of_the_graph(tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Sqrt", ["y"], ["z"])]
    function = helper.make_function(
        "mine", "RootOfPositive", ["x"], ["z"], body, [helper.make_opsetid("", 18)]
    )
    to = Builder()
    x = to.step("GlobalAveragePool", to.step("RootOfPositive", "images", domain="mine"))
    graph = to.step("Flatten", x)
    model = helper.make_model(
        helper.make_graph(
            to.nodes,
            "graph",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 4, 4])],
            [helper.make_tensor_value_info(graph, TensorProto.FLOAT, None)],
        ),
        functions=[function],
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)],
    )
    classifier = evofool.from_onnx(saved(model, tmp_path / "net.onnx"))
    images = images_of(classifier)
    np.testing.assert_allclose(
        classifier.logits(images), np.sqrt(np.asarray(images)).mean(axis=(1, 2)), rtol=1e-5
    )


def test_gradients_flow_through_a_model(tmp_path: Path) -> None:
    model = transformer()
    classifier = evofool.from_onnx(saved(model, tmp_path / "net.onnx"))
    images = images_of(classifier, 1)
    gradient = jax.jit(jax.grad(lambda images: classifier.logits(images)[0, 3]))(images)
    direction = jax.random.normal(jax.random.key(1), images.shape)
    direction /= jnp.linalg.norm(direction)

    def logit(step: float) -> float:
        moved = np.asarray(images + step * direction, np.float32).transpose(0, 3, 1, 2)
        return float(by_onnxruntime(model, moved)[0, 3])

    slope = (logit(0.02) - logit(-0.02)) / 0.04
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=0.02, abs=1e-3)
