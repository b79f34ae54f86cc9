"""Networks with weights that can be made anywhere, and the logits that PyTorch computed for them once."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from safetensors.numpy import save_file

from evofool import Classifier, load_classifier

# Written by `python tests/test_torch_networks.py`, which needs PyTorch: for each network the names and shapes
# of its state dict, and the logits of the images below for the weights below.
GOLDEN = Path(__file__).parent / "golden" / "torch_logits.npz"
SIDES = {"alexnet": 224, "caffenet": 227, "googlenet": 224, "vgg16": 224, "vgg19": 224}
CLASSES = tuple(f"class {index}" for index in range(10))


class Golden(NamedTuple):
    """A network, images in [0, 1], and the logits that it should give them."""

    classifier: Classifier
    images: np.ndarray
    logits: np.ndarray


def golden_network(name: str) -> Golden:
    """One of the networks in SIDES with random weights, and its golden logits."""
    with np.load(GOLDEN) as golden:
        shapes = {
            str(layer): tuple(shape[shape > 0].tolist())
            for layer, shape in zip(golden[f"{name}.names"], golden[f"{name}.shapes"], strict=True)
        }
        expected = golden[f"{name}.logits"]
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"EVOFOOL_DATA": folder}):
        folder_of_weights(Path(folder), name, random_weights(shapes))
        return Golden(load_classifier(name), random_images(SIDES[name]), expected)


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights for a state dict of PyTorch, uniform and of such size that activations neither grow nor vanish.

    They are made of the bits of a generator, the only thing that NumPy promises never to change.
    """
    bits = np.random.PCG64(0)
    weights = {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        levels = bits.random_raw(-(-count // 4)).view(np.uint16)[:count].reshape(shape)
        signed = levels.astype(np.float32) / 2**15 - 1
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros(shape, np.int64)
        elif name.endswith(("bn.weight", "running_var")):
            weights[name] = 1 + signed / 2
        elif len(shape) > 1:
            weights[name] = signed * np.float32((6 / np.prod(shape[1:])) ** 0.5)
        else:
            weights[name] = signed / 5
    return weights


def random_images(side: int) -> np.ndarray:
    """Two images in [0, 1]."""
    levels = np.random.PCG64(1).random_raw(side * side).view(np.uint8)
    return levels[: 2 * side * side * 3].reshape(2, side, side, 3) / np.float32(255)


def folder_of_weights(folder: Path, name: str, weights: dict[str, np.ndarray]) -> None:
    """Make what EVOFOOL_DATA points to, with one network."""
    (folder / "weights").mkdir()
    (folder / "imagenet_classes.txt").write_text("\n".join(CLASSES))
    save_file(weights, folder / "weights" / f"{name}.safetensors")
