"""One safetensors file per classifier: its weights, and in the metadata all that is needed to use them."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as serialise_safetensors

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.networks import NetworkLogits, create_classifier
from evofool.errors import EvofoolError, UsageError
from evofool.files import replacing

_FORMAT = "evofool-classifier-1"


def save_classifier(
    path: str | os.PathLike[str],
    classifier: Classifier,
    *,
    training_data: str,
    test_accuracy: float,
    dtype: Any = np.float32,
) -> None:
    """Write a classifier to one safetensors file that `load_classifier` needs nothing else for.

    Args:
        path: the file; an existing one is replaced as a whole or not at all.
        classifier: one of evofool's networks (`create_classifier`), not a wrapper around one.
        training_data: what it was trained on, in a few words.
        test_accuracy: the share of the test images that it classifies correctly, in [0, 1].
        dtype: how the weights are stored; they are loaded as float32.

    Raises:
        UsageError: the classifier is not one of evofool's networks.

    Example:
        >>> import tempfile
        >>> from evofool import create_classifier, load_classifier
        >>> linear = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_classifier(f"{folder}/it.safetensors", linear, training_data="none", test_accuracy=0.5)
        ...     load_classifier(f"{folder}/it.safetensors").spec.class_names
        ('even', 'odd')
    """
    if not isinstance(classifier.logits_function, NetworkLogits):
        raise UsageError(f"{classifier.spec.name} is not one of evofool's networks, so it cannot be saved")
    spec = classifier.spec
    metadata = {
        "format": _FORMAT,
        "network": classifier.logits_function.network,
        "name": spec.name,
        "input_shape": json.dumps(spec.input_shape),
        "input": "pixel values in [0, 1]",
        "class_names": json.dumps(spec.class_names, ensure_ascii=False),
        "activation": spec.activation,
        "training_data": training_data,
        "test_accuracy": f"{test_accuracy:.4f}",
    }
    weights = traverse_util.flatten_dict(nnx.to_pure_dict(classifier.params), sep=".")
    arrays = {name: np.asarray(value, dtype) for name, value in weights.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(serialise_safetensors(arrays, metadata))


def load_weights_file(path: str | os.PathLike[str]) -> tuple[Classifier, dict[str, str]]:
    """The classifier in a file that `save_classifier` wrote, and the file's metadata.

    Raises:
        EvofoolError: the file cannot be read, is not safetensors, is cut off, holds no classifier of evofool
            or the weights of another network than it says.

    Example:
        >>> from evofool.classifiers.registry import EMBEDDED
        >>> classifier, metadata = load_weights_file(EMBEDDED)
        >>> metadata["network"]
        'lenet'
    """
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != _FORMAT:
        raise EvofoolError(
            f"{path} holds no classifier that evofool saved: its metadata lacks format {_FORMAT!r}. "
            "Classifiers are written by `evofool train` or evofool.save_classifier; of ImageNet networks the "
            "layouts of Caffe, Keras and torchvision are known too, and this is none of them"
        )
    try:
        classifier = create_classifier(
            metadata["network"],
            tuple(json.loads(metadata["input_shape"])),
            tuple(json.loads(metadata["class_names"])),
            activation=metadata["activation"],  # type: ignore[arg-type]
            name=metadata["name"],
            seed=None,
        )
    except (KeyError, ValueError, TypeError, UsageError) as error:
        raise EvofoolError(f"the metadata of {path} is damaged: {error}") from error
    spec = replace(classifier.spec, training_data=metadata.get("training_data", ""))
    return with_weights(replace(classifier, spec=spec), arrays, path), metadata


def with_weights(classifier: Classifier, arrays: Mapping[str, np.ndarray], path: Any) -> Classifier:
    """The classifier with its weights replaced by the arrays of the same names, as float32.

    Args:
        classifier: one of evofool's networks.
        arrays: one array per weight, named as the network names it ("conv1.kernel").
        path: where they come from, for the error.

    Raises:
        EvofoolError: an array is missing, of another shape, not finite, or one too many.
    """
    expected = traverse_util.flatten_dict(nnx.to_pure_dict(classifier.params), sep=".")
    network = classifier.logits_function.network  # type: ignore[attr-defined]
    for name in sorted(expected.keys() | arrays.keys()):
        wanted = tuple(expected[name].shape) if name in expected else "none of that name"
        found = tuple(arrays[name].shape) if name in arrays else "none of that name"
        if wanted != found:
            raise EvofoolError(
                f"{path} does not fit the network {network!r}: for {name} it has {found}, needed is {wanted}"
            )
        if not np.isfinite(arrays[name]).all():
            raise EvofoolError(f"{path} is damaged: {name} holds values that are not finite")
    params = jax.tree.map(lambda leaf: leaf, classifier.params)
    weights = {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}
    nnx.replace_by_pure_dict(params, traverse_util.unflatten_dict(weights, sep="."))
    return Classifier(params, classifier.logits_function, classifier.spec)


def from_channels_first(
    arrays: Mapping[str, np.ndarray], *, flattened: str | None = None, channels: int = 1
) -> dict[str, np.ndarray]:
    """Weights as Caffe and PyTorch lay them out, as Flax does: `.weight` becomes `.kernel`.

    Args:
        arrays: per layer `.weight`, which is OIHW or (out, in), and `.bias`.
        flattened: the dense layer that reads images: theirs are channel, row, column, ours are row, column,
            channel.
        channels: of these images.

    Returns:
        Kernels HWIO, or (in, out) of a dense layer and of a 1x1 convolution; biases; and what is neither.

    Raises:
        ValueError: an array has another number of axes, or `flattened` cannot be parted into channels.

    Example:
        >>> weights = {"conv.weight": np.zeros((8, 3, 5, 5)), "fc.weight": np.zeros((10, 8 * 36))}
        >>> {name: array.shape for name, array in from_channels_first(weights).items()}
        {'conv.kernel': (5, 5, 3, 8), 'fc.kernel': (288, 10)}
    """
    converted = {}
    for name, array in arrays.items():
        layer = name.removesuffix(".weight")
        if layer == name:
            converted[name] = array
            continue
        if layer == flattened:
            outputs = len(array)
            kernel = array.reshape(outputs, channels, -1).transpose(2, 1, 0).reshape(-1, outputs)
        elif array.ndim == 2:
            kernel = array.T
        else:
            kernel = array.transpose(2, 3, 1, 0)
            kernel = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
        converted[f"{layer}.kernel"] = kernel
    return converted


def array_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the arrays of a safetensors file, without reading them.

    Raises:
        EvofoolError: the file cannot be read, is cut off or is not safetensors.
    """
    try:
        Path(path).open("rb").close()
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise _not_whole(path, error) from error


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file.

    Raises:
        EvofoolError: the file cannot be read, is cut off or is not safetensors.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
    try:
        arrays = parse_safetensors(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _not_whole(path, error) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return arrays, header.get("__metadata__", {})


def _not_whole(path: str | os.PathLike[str], error: Exception) -> EvofoolError:
    return EvofoolError(f"{path} is not a whole safetensors file: {error}")
