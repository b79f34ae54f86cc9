"""What the tests of studies share: what a study has written, and softmax regression in plain NumPy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file


def tables(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The measured rows of each table of a finished study."""
    record = json.loads((out / "study.json").read_text())
    return {name: [row for row in rows if not row["source"]] for name, rows in record["tables"].items()}


def arrays(out: Path, step: str) -> dict[str, np.ndarray]:
    """The arrays of a finished step."""
    with np.load(out / "steps" / f"{step}.npz") as stored:
        return dict(stored)


class SoftmaxRegression:
    """A saved network `linear`, from its file alone."""

    def __init__(self, path: Path) -> None:
        weights = {name: value.astype(np.float64) for name, value in load_file(path).items()}
        (self.kernel,) = (value for value in weights.values() if value.ndim == 2)
        (self.bias,) = (value for value in weights.values() if value.ndim == 1)

    def confidences(self, images: np.ndarray) -> np.ndarray:
        """Of images with 8 bits."""
        logits = (images / 255).reshape(len(images), -1) @ self.kernel + self.bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def classes(self, images: np.ndarray) -> np.ndarray:
        """The class of each image."""
        return self.confidences(images).argmax(axis=1)

    def gradient(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Of the cross-entropy with the labels, by the pixels."""
        one_hot = np.eye(len(self.bias))[labels]
        return ((self.confidences(images) - one_hot) @ self.kernel.T).reshape(images.shape)

    def fgsm(self, images: np.ndarray, labels: np.ndarray, epsilon: float) -> np.ndarray:
        """Images one step of the fast gradient sign method away from their labels, with 8 bits."""
        moved = images / 255 + epsilon * np.sign(self.gradient(images, labels))
        return np.rint(255 * np.clip(moved, 0, 1)).astype(np.uint8)
