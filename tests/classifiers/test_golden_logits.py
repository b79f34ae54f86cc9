"""AlexNet, CaffeNet and GoogLeNet against logits that PyTorch computed once, where it is not installed."""

from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from evofool import load_classifier

# Written by `python tests/test_torch_networks.py`, which needs PyTorch: for each network the names and shapes
# of its state dict, and the logits of the images below for the weights below.
GOLDEN = Path(__file__).parent / "golden" / "torch_logits.npz"
SIDES = {"alexnet": 224, "caffenet": 227, "googlenet": 224}
CLASSES = tuple(f"class {index}" for index in range(10))


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


@pytest.mark.parametrize("name", SIDES)
def test_logits_are_those_that_torch_computed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(GOLDEN) as golden:
        shapes = {
            str(layer): tuple(shape[shape > 0].tolist())
            for layer, shape in zip(golden[f"{name}.names"], golden[f"{name}.shapes"], strict=True)
        }
        expected = golden[f"{name}.logits"]
    folder_of_weights(tmp_path, name, random_weights(shapes))
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path))
    classifier = load_classifier(name)
    (tmp_path / "weights" / f"{name}.safetensors").unlink()
    found = jax.jit(lambda classifier, images: classifier.logits(images))(
        classifier, random_images(SIDES[name])
    )
    assert expected.std() > 0.1
    assert np.abs(np.asarray(found) - expected).max() < 2e-5 * np.abs(expected).max()
