"""The residual network against its layers written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool.errors import UsageError


def test_it_computes_what_its_layers_do() -> None:
    classifier = evofool.create_classifier("resnet", (9, 8, 3), ("a", "b"), seed=1)
    classifier.params["block"]["factor"].set_value(np.float32(0.3))
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), classifier.params)
    image = np.random.default_rng(0).random((9, 8, 3))

    def convolve(x: np.ndarray, layer: dict) -> np.ndarray:
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
        out = np.einsum("yxcij,ijco->yxo", windows, layer["kernel"][...]) + layer["bias"][...]
        return np.maximum(out, 0)

    def pool(x: np.ndarray) -> np.ndarray:
        rows, columns, channels = x.shape[0] // 2, x.shape[1] // 2, x.shape[2]
        whole = x[: 2 * rows, : 2 * columns]
        return whole.reshape(rows, 2, columns, 2, channels).max(axis=(1, 3))

    x = pool(convolve(4 * image - 2, weights["conv1"]))
    x = pool(convolve(x, weights["conv2"]))
    x = convolve(x, weights["conv3"])
    block = weights["block"]
    x = x + 0.3 * convolve(convolve(x, block["conv1"]), block["conv2"])
    x = convolve(pool(x), weights["conv4"]).mean(axis=(0, 1))
    logits = x @ weights["fc"]["kernel"][...] + weights["fc"]["bias"][...]
    found = classifier.logits(jnp.asarray(image[None], jnp.float32))[0]
    np.testing.assert_allclose(found, logits, atol=1e-4)


def test_it_needs_eight_pixels() -> None:
    with pytest.raises(UsageError, match="resnet needs images of at least 8x8, not 8x7"):
        evofool.create_classifier("resnet", (8, 7, 3), ("a", "b"))
