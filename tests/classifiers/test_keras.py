"""Keras models against Keras itself, on its JAX backend."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool import EvofoolError, Preprocessing, UsageError
from evofool.classifiers import weights_digest

keras = pytest.importorskip("keras", reason="needs the extra keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

layers = keras.layers
IMAGES = jax.random.uniform(jax.random.key(0), (7, 16, 16, 3))


def randomised(model: Any, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    for weight in model.weights:
        values = random.normal(size=weight.shape, scale=0.3)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    return model


def residual() -> Any:
    given = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(given)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x)))
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", activation="silu")(x)])
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    return keras.Model(given, layers.Dense(6, activation="softmax")(layers.Dropout(0.5)(x)), name="residual")


def depthwise() -> Any:
    given = keras.Input((16, 16, 3), batch_size=4)
    x = layers.SeparableConv2D(8, 3, strides=2, activation="relu6")(given)
    x = layers.DepthwiseConv2D(3, padding="same", activation="hard_swish")(x)
    return keras.Model(given, layers.Dense(6)(layers.Flatten()(x)), name="depthwise")


def transformer() -> Any:
    given = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(given))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    x = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))
    return keras.Model(given, layers.Dense(6, activation="sigmoid")(layers.Flatten()(x)), name="transformer")


def predicted(model: Any, images: jax.Array) -> np.ndarray:
    filled = jnp.concatenate([images, images[:1]])  # to two batches of four
    return np.concatenate([np.asarray(model(part, training=False)) for part in jnp.split(filled, 2)])[:-1]


def test_a_model_gives_what_keras_gives(tmp_path: Path) -> None:
    model = randomised(residual())
    scaled = Preprocessing(scale=255)
    classifier = evofool.from_keras(model, preprocessing=scaled)
    assert repr(classifier) == "Classifier('residual', 16x16x3, 6 classes, softmax)"
    np.testing.assert_allclose(classifier(IMAGES), predicted(model, IMAGES * 255), atol=1e-5)
    # From a file, with options, and with the same program and digest.
    path = tmp_path / "net.keras"
    model.save(path)
    loaded = [evofool.load_classifier(f"keras({path}, scale=255)") for _ in range(2)]
    np.testing.assert_allclose(loaded[0](IMAGES), classifier(IMAGES), atol=1e-6)
    assert loaded[0].logits_function == loaded[1].logits_function
    assert {weights_digest(each) for each in loaded} == {weights_digest(classifier)}
    with pytest.raises(UsageError, match=r"scaled twice: pass preprocessing with scale=255"):
        evofool.load_classifier(path)
    # The weights are a copy.
    randomised(model, 1)
    assert np.abs(np.asarray(classifier(IMAGES)) - predicted(model, IMAGES * 255)).max() > 0.01


def test_a_depthwise_model_of_one_batch_size_takes_any_number_of_images() -> None:
    model = randomised(depthwise())
    classifier = evofool.from_keras(model)
    np.testing.assert_allclose(classifier.logits(IMAGES), predicted(model, IMAGES), atol=1e-5)


def test_a_transformer_with_a_sigmoid_for_each_class() -> None:
    model = randomised(transformer())
    classifier = evofool.from_keras(model, class_names=list("abcdef"))
    assert classifier.spec.activation == "sigmoid"
    np.testing.assert_allclose(classifier(IMAGES), predicted(model, IMAGES), atol=1e-5)


def test_mistakes_end_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"takes a keras\.Model, not int"):
        evofool.from_keras(3)
    with pytest.raises(UsageError, match="has no weights yet"):
        evofool.from_keras(keras.Sequential([layers.Flatten(), layers.Dense(3)]))
    table = keras.Sequential([keras.Input((64,)), layers.Dense(3)])
    with pytest.raises(UsageError, match="not batches of images"):
        evofool.from_keras(table)
    code = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Lambda(lambda x: x[:, :3])])
    code.save(tmp_path / "code.keras")
    (tmp_path / "damaged.keras").write_bytes((tmp_path / "code.keras").read_bytes()[:500])
    for name in ("code", "damaged", "nowhere"):
        with pytest.raises(EvofoolError, match="cannot read") as caught:
            evofool.load_classifier(tmp_path / f"{name}.keras")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(EvofoolError, match="set KERAS_BACKEND=jax"):
        evofool.from_keras(table)
