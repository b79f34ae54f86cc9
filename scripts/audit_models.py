"""Make the models that docs/audit.md audits: an ONNX file and a Keras file.

    evofool train --network mlp --dataset cifar10 --epochs 10 --out cifar.safetensors
    python scripts/audit_models.py --weights cifar.safetensors --out runs

Both are made without evofool's networks: one of ONNX operators around the trained weights, with the channels
first as PyTorch exports them, the other by Keras, which trains it on scikit-learn's digits.
"""

import os
from pathlib import Path

import numpy as np
from run import run
from safetensors.numpy import load_file

from evofool.datasets import load_dataset

_EPOCHS = 12


def main(weights: Path, out: Path) -> None:
    """Write `cifar.onnx` and `digits.keras`.

    Args:
        weights: a file of the network `mlp`, trained on CIFAR-10.
        out: the folder to write to.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_onnx(weights, out / "cifar.onnx")
    write_keras(out / "digits.keras")


def write_onnx(weights: Path, path: Path) -> None:
    """The network as ONNX operators on images of channels, height and width."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    arrays = load_file(weights)
    side = round((arrays["fc1.kernel"].shape[0] / 3) ** 0.5)
    nodes = [
        helper.make_node("Transpose", ["images"], ["rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["rows"], ["x1"]),
    ]
    for number in (1, 2, 3):
        product = "logits" if number == 3 else f"y{number}"
        inputs = [f"x{number}", f"fc{number}.kernel", f"fc{number}.bias"]
        nodes.append(helper.make_node("Gemm", inputs, [product]))
        if number < 3:
            nodes.append(helper.make_node("Relu", [product], [f"x{number + 1}"]))
    graph = helper.make_graph(
        nodes,
        "cifar",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(arrays["fc3.bias"])])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def write_keras(path: Path) -> None:
    """A small convolutional network that Keras trains on digits."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    keras.utils.set_random_seed(0)
    digits = load_dataset("digits")
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.asarray(digits.train_images, np.float32) / 255
    model.fit(images, digits.train_labels, epochs=_EPOCHS, batch_size=32, verbose=0)
    model.save(path)


if __name__ == "__main__":
    run(main)
