"""Classifiers from Keras 3, whose models are functions in JAX with the JAX backend."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from evofool.classifiers.checks import cause
from evofool.classifiers.classifier import Activation, Classifier, Output
from evofool.classifiers.frameworks.imported import filled_shape, imported
from evofool.classifiers.frameworks.preprocessing import Preprocessing
from evofool.errors import EvofoolError, UsageError, shown
from evofool.extras import extra


def from_keras(
    model: Any,
    *,
    input_shape: Sequence[int | None] | None = None,
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
    activation: Activation | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Classifier:
    """A classifier of a Keras model, called for inference, with a copy of its weights.

    Keras must compute with JAX: set `KERAS_BACKEND=jax` before it is imported. Needs the extra `keras`.

    Args:
        model: a `keras.Model`, built.
        input_shape: height, width and channels of an image; the model's own by default, or where one is
            None.
        class_names: one name per class; numbers from "0" on by default.
        preprocessing: what the model expects of images in [0, 1]; by default the images as they are. A model
            that begins with `Rescaling(1 / 255)` expects `Preprocessing(scale=255)`.
        output: "logits", "probabilities" or "labels". By default it is found: probabilities if the model ends
            in a softmax or a sigmoid, else logits.
        activation: read the logits as "softmax" or "sigmoid"; by default sigmoid if the model ends in one.
        batch_size: the only number of images that the model takes; the model's own by default.
        name: what the classifier is called; the model's name by default.

    Raises:
        UsageError: this is no Keras model of images, or it does not fit what is said of it.
        EvofoolError: Keras is missing, or does not compute with JAX.
    """
    keras = _keras("a Keras model")
    if not isinstance(model, keras.Model):
        raise UsageError(f"from_keras takes a keras.Model, not {type(model).__name__}")
    if not model.built:
        raise UsageError(f"{model.name} has no weights yet: call it on one batch of images first")
    preprocessing = preprocessing or Preprocessing()
    stated, own_batch_size = _stated_shape(model, preprocessing.layout == "nchw")
    _require_scaled_once(model, preprocessing, keras)
    return imported(
        _Keras(model, _key(model, keras)),
        _weights(model),
        name=name or model.name,
        input_shape=filled_shape(input_shape, stated, name or model.name),
        class_names=class_names,
        preprocessing=preprocessing,
        layout="nhwc",
        output=output,
        activation=activation,
        batch_size=batch_size or own_batch_size,
    )


def read_keras(path: str | os.PathLike[str]) -> Any:
    """The Keras model in a .keras file; code in it, as of Lambda layers, is refused.

    Raises:
        EvofoolError: Keras is missing, or cannot read the file.
    """
    if not Path(path).is_file():
        raise EvofoolError(f"cannot read {path}: there is no such file")
    keras = _keras(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises what it comes across
        raise EvofoolError(f"Keras cannot read {path}: {cause(error)}") from error


@dataclass(frozen=True)
class _Keras:
    """Keras's own function of the weights, which are handed to it in their order."""

    model: Any = field(compare=False)
    key: Any

    def __call__(self, params: PyTree, images: Array) -> Any:
        outputs, _ = self.model.stateless_call(params["trainable"], params["others"], images, training=False)
        return outputs


def _weights(model: Any) -> dict[str, list[Array]]:
    def copy(variable: Any) -> Array:
        # Dropout draws a seed whenever a model is loaded, and nothing is drawn with it for inference.
        if variable.name == "seed_generator_state":
            return jnp.zeros_like(variable.value)
        # A copy, because Keras gives its own arrays away when it trains.
        return jnp.array(variable.value, copy=True)

    return {
        "trainable": list(map(copy, model.trainable_variables)),
        "others": list(map(copy, model.non_trainable_variables)),
    }


def _key(model: Any, keras: Any) -> Any:
    """What is equal for models of equal structure; unique for one whose structure cannot be told."""
    try:
        return json.dumps(keras.saving.serialize_keras_object(model), sort_keys=True)
    except Exception:  # of a layer that does not say how it is configured
        return id(model)


def _stated_shape(model: Any, channels_first: bool) -> tuple[Sequence[int | None], int | None]:
    """Height, width and channels as a model states them, None where it does not, and its batch size."""
    try:
        batch_size, *sides = model.input_shape
    # Of a model without a fixed structure, or with two inputs.
    except (AttributeError, ValueError, TypeError):
        return (None, None, None), None
    if len(sides) != 3:
        raise UsageError(
            f"{model.name} takes inputs of the shape {model.input_shape}, not batches of images with "
            "height, width and channels"
        )
    return [*sides[1:], sides[0]] if channels_first else sides, batch_size


def _require_scaled_once(model: Any, preprocessing: Preprocessing, keras: Any) -> None:
    """Raise `UsageError` if a model divides pixels by 255 that are in [0, 1]."""
    for layer in getattr(model, "layers", ())[:3]:
        if not isinstance(layer, keras.layers.Rescaling):
            continue
        scale = float(jnp.max(jnp.asarray(layer.scale)))
        if scale < 0.05 and preprocessing.scale == 1:
            raise UsageError(
                f"{model.name} multiplies its images by {shown(scale)} itself, so they would be scaled "
                "twice: pass preprocessing with scale=255"
            )


def _keras(what: object) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = extra("keras", what)
    if keras.backend.backend() != "jax":
        raise EvofoolError(
            f"Keras computes with {keras.backend.backend()}: set KERAS_BACKEND=jax before Keras is "
            "imported, or "
            'export the model with model.export("model.onnx", format="onnx")'
        )
    return keras
