"""A network of one's own: one file and one line in the registry."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array, Float

from evofool import load_classifier
from evofool.classifiers import NETWORKS
from evofool.registry import Entry, NoOptions


class Brightness(nnx.Module):
    """Softmax regression on the mean of each channel."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        self.fc = nnx.Linear(input_shape[2], classes, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        return self.fc(images.mean(axis=(1, 2)))


def test_a_network_in_the_registry_is_trained_saved_loaded_and_evolved_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evofool_main: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setitem(NETWORKS, "brightness", Entry("the mean of each channel", NoOptions, Brightness))
    file, run = tmp_path / "it.safetensors", tmp_path / "run"
    assert "the mean of each channel" in evofool_main("list", "networks")[1]
    code, _, errors = evofool_main("train", "--network", "brightness", "--epochs", "2", "--out", file)
    assert (code, errors) == (0, "")
    classifier = load_classifier(file)
    images = jax.random.uniform(jax.random.key(0), (3, 28, 28, 1))
    level = np.asarray(images).mean(axis=(1, 2))
    expected = level @ np.asarray(classifier.params["fc"]["kernel"]) + np.asarray(
        classifier.params["fc"]["bias"]
    )
    np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-5, atol=1e-6)
    options = ("--generations", "3", "--batch-size", "10", "--out", run)
    code, _, errors = evofool_main("evolve", "--classifier", file, *options)
    assert (code, errors) == (0, "")
    assert len(list((run / "elites").glob("*.png"))) == 10
